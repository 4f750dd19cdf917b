"""Many walks, some of them together, and the figures of all."""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from traceback import extract_tb

from playwright.async_api import Browser, Error

from tests.browser.walks.blows import BLOWS, PERSONAL, under_a_fault
from tests.browser.walks.stage import TO_ALL, Stage, make_world
from tests.browser.walks.walk import Astray, Walk

FIGURES = ("right", "wrong", "lost", "foreign", "errors")
# Of one part of a walk: longer than all its waits.
LONGEST_SECONDS = 300


@dataclass
class Report:
    walks: Counter[str] = field(default_factory=Counter)
    by_blow: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    astray: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return sum(self.by_blow.values(), Counter[str]())

    def add(self, blow: str, walk: Walk) -> None:
        self.walks[blow] += 1
        self.by_blow[blow] += walk.counts
        if walk.astray:
            steps = "\n    ".join(walk.log)
            self.astray.append(f"make chaos-place SEED={walk.seed} WALKS=1   ({blow})\n    {steps}\n  {walk.astray}")
            sys.stderr.write(f"{self.astray[-1]}\n")

    def __str__(self) -> str:
        lines = [f"  {'blow':<16}{'walks':>8}{'returns':>9}" + "".join(f"{name:>9}" for name in FIGURES)]
        for blow, counts in [*self.by_blow.items(), ("all", self.counts)]:
            walks = self.walks[blow] if blow != "all" else self.walks.total()
            returns = counts["right"] + counts["wrong"]
            lines.append(f"  {blow:<16}{walks:>8}{returns:>9}" + "".join(f"{counts[name]:>9}" for name in FIGURES))
        lines += ["  returns: checked after each step; lost: typed characters older than a second; foreign: characters of somebody else;"]
        lines += ["  errors: walks that could not be walked to their end"]
        return "\n".join([*lines, *self.astray])


def blow_of(seed: int) -> str:
    return BLOWS[seed % len(BLOWS)]


async def walk_all(stage: Stage, browser: Browser, seeds: Iterable[int], together: int) -> Report:
    """Up to so many `together`: those whose blow is for all with others of that blow."""
    report = Report()
    companies: dict[str, list[int]] = defaultdict(list)
    for seed in seeds:
        companies["" if blow_of(seed) in PERSONAL else blow_of(seed)].append(seed)
    for blow, chosen in companies.items():
        for at in range(0, len(chosen), together):
            walks = [Walk(seed, stage, browser, await make_world(stage.database)) for seed in chosen[at : at + together]]
            await _walk_together(stage, blow, walks)
            for walk in walks:
                report.add(blow_of(walk.seed), walk)
    return report


async def _walk_together(stage: Stage, blow: str, walks: list[Walk]) -> None:
    async def each(part: Callable[[Walk], Awaitable[None]]) -> None:
        await asyncio.gather(*(_try(walk, part) for walk in walks if not walk.astray))

    await each(Walk.begin)
    if blow:
        await each(lambda walk: walk.screen.rest())
        try:
            async with TO_ALL[blow](stage):
                await each(under_a_fault)
        except Exception as error:  # what broke does not come back
            for walk in walks:
                _fail(walk, error)
    else:
        await each(lambda walk: PERSONAL[blow_of(walk.seed)](walk))
    await each(Walk.end)
    for walk in walks:
        for _, screen in walk.devices.values():
            with suppress(Error):
                await screen.context.close()


async def _try(walk: Walk, part: Callable[[Walk], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            await part(walk)
    except Astray as error:
        walk.counts["wrong"] += 1
        walk.astray = f"astray: {error}"
    except Exception as error:  # whatever it is, the others walk on
        _fail(walk, error)


def _fail(walk: Walk, error: Exception) -> None:
    if walk.astray:
        return
    walk.counts["errors"] += 1
    way = " > ".join(frame.name for frame in extract_tb(error.__traceback__) if "walks" in frame.filename)
    walk.astray = f"{type(error).__name__} in {way}: {error}"
