"""Running scenarios against layers, each with a fresh site."""

import asyncio
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cells import Cell, Verdict, worst
from .history import History
from .layer import Layer
from .process import Died
from .scenarios import Pace, Scenario
from .scenarios.scenario import NotReady
from .site import Launcher

# On a machine that is busy elsewhere, what has only short limits may refuse before anything was done to it.
ATTEMPTS = 3


@dataclass
class Findings:
    """What one layer showed, by the names of the scenarios, with its history."""

    layer: Layer
    cells: dict[str, list[Cell]] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    versions: str = ""
    # Scenarios in which the layer did not serve before anything was done to it, or did not start again, and what it said.
    unusable: dict[str, str] = field(default_factory=dict)

    def verdict(self, scenario: str) -> Verdict:
        return worst(self.cells[scenario])


async def run_all(
    layers: Sequence[Layer],
    scenarios: Sequence[Scenario],
    *,
    pace: Pace,
    at_once: int,
    say: Callable[[str], None],
    redis_binary: Path | None = None,
) -> list[Findings]:
    """Most of it is waiting, so several sites run beside each other; what is about the order of requests runs alone."""
    launchers = [Launcher(layer, redis_binary) for layer in layers]
    findings = [Findings(layer, versions=await asyncio.to_thread(find_versions, layer)) for layer in layers]
    try:
        for alone in (False, True):
            room = asyncio.Semaphore(1 if alone else at_once)
            async with asyncio.TaskGroup() as group:
                for scenario in (each for each in scenarios if each.alone is alone):
                    for launcher, found in zip(launchers, findings, strict=True):
                        group.create_task(_run(launcher, scenario, found, pace, room, say))
    finally:
        for launcher in launchers:
            await launcher.close()
    for found in findings:
        found.cells = {scenario.name: found.cells[scenario.name] for scenario in scenarios}
    return findings


async def _run(
    launcher: Launcher, scenario: Scenario, found: Findings, pace: Pace, room: asyncio.Semaphore, say: Callable[[str], None]
) -> None:
    if missing := [need.value for need in scenario.needs - launcher.offers()]:
        found.cells[scenario.name] = [Cell("not run", f"needs {'; '.join(sorted(missing))}", Verdict.NOT_RUN)]
        return
    async with room:
        for attempt in range(ATTEMPTS):
            say(f"{launcher.layer.name}: {scenario.name}{' once more, as it did not serve' if attempt else ''}")
            try:
                async with launcher.open() as site:
                    found.cells[scenario.name] = await scenario.play(site, pace)
                    found.histories[scenario.name] = site.history
                    found.unusable.pop(scenario.name, None)
                    return
            except (NotReady, Died, TimeoutError, subprocess.CalledProcessError, OSError) as failed:
                found.unusable[scenario.name] = str(failed)
        found.cells[scenario.name] = [Cell("not run", "the layer does not serve", Verdict.NOT_RUN)]


def find_versions(layer: Layer) -> str:
    if not layer.versions:
        return ""
    return subprocess.run(shlex.split(layer.versions), cwd=layer.folder, check=True, capture_output=True, text=True).stdout.strip()


def missing_for(layer: Layer) -> str | None:
    """Why a layer of a manifest cannot run here."""
    for need in shlex.split(layer.needs):
        if not (shutil.which(need) if "/" not in need else (layer.folder / need).exists()):
            return f"{need} is not here"
    return None
