"""Many walks, some of them together, and the figures of all."""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from playwright.async_api import Browser, Error

from tests.browser.walks.blows import BLOWS, PERSONAL, under_a_fault
from tests.browser.walks.stage import TO_ALL, Stage, make_world
from tests.browser.walks.walk import Astray, Walk

GOAL = 0.999


@dataclass
class Report:
    walks: Counter[str] = field(default_factory=Counter)
    by_blow: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    astray: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return sum(self.by_blow.values(), Counter[str]())

    @property
    def share(self) -> float:
        counts = self.counts
        return counts["right"] / max(counts["returns"], 1)

    def add(self, blow: str, walk: Walk) -> None:
        self.walks[blow] += 1
        self.by_blow[blow] += walk.counts
        if walk.astray:
            steps = "\n    ".join(walk.log)
            self.astray.append(f"make chaos-place SEED={walk.seed} WALKS=1   ({blow})\n    {steps}\n  {walk.astray}")
            sys.stderr.write(f"{self.astray[-1]}\n")

    def __str__(self) -> str:
        names = ("returns", "right", "wrong", "lost", "foreign")
        lines = [f"  {'blow':<16}{'walks':>8}" + "".join(f"{name:>9}" for name in names)]
        for blow, counts in [*self.by_blow.items(), ("all", self.counts)]:
            counts["wrong"] = counts["returns"] - counts["right"]
            walks = self.walks[blow] if blow != "all" else self.walks.total()
            lines.append(f"  {blow:<16}{walks:>8}" + "".join(f"{counts[name]:>9}" for name in names))
        lines.append(f"  right {self.share:.2%}; lost: typed characters older than a second; foreign: characters of somebody else")
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
        async with TO_ALL[blow](stage):
            await each(under_a_fault)
    else:
        await each(lambda walk: PERSONAL[blow_of(walk.seed)](walk))
    await each(Walk.end)
    for walk in walks:
        for _, screen in walk.devices.values():
            await screen.context.close()


async def _try(walk: Walk, part: Callable[[Walk], Awaitable[None]]) -> None:
    try:
        await part(walk)
    except (Astray, Error, AssertionError, TimeoutError) as error:
        walk.astray = f"{type(error).__name__}: {error}"
        walk.counts["returns"] = max(walk.counts["returns"], walk.counts["right"] + 1)
