"""State of the console in one web process: cached counts, and the recorder of traffic."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import cast

from quart import Quart, current_app

from app.ops.health.doctor import Check, examine_site
from app.ops.jobs.store import figures
from app.ops.jobs.view import RunBucket
from app.ops.sessions.view import SessionCounts, count_sessions_cheaply
from app.ops.statistics.cached import Cached
from app.ops.statistics.site import Sample, measure_site
from app.ops.statistics.traffic import Recorder
from app.ops.statistics.windows import WINDOWS, Window
from app.resources import Resources

# Counting a million rows takes a tenth of a second, so it happens at most this often, for all viewers.
COUNTS_LIFE = timedelta(seconds=10)
FINDINGS_LIFE = timedelta(seconds=5)
# Below any interval of a scraper: two scrapers that ask at once, and ten of a restarted one, cost what one does.
SITE_FIGURES_LIFE = timedelta(seconds=5)
# A week of runs is ranked more seldom than an hour of them, and moves more slowly.
FIGURES_LIFE = {"1h": timedelta(seconds=2), "24h": timedelta(seconds=10), "7d": timedelta(seconds=60)}


class Console:
    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.sessions: Cached[SessionCounts] = Cached(self._count_sessions, COUNTS_LIFE)
        self.findings: Cached[list[Check]] = Cached(self._examine, FINDINGS_LIFE)
        self.site_figures: Cached[list[Sample]] = Cached(partial(measure_site, resources), SITE_FIGURES_LIFE)
        self._run_figures = {name: Cached(partial(self._count_runs, window), FIGURES_LIFE[name]) for name, window in WINDOWS.items()}
        self._recorder: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._recorder = asyncio.create_task(Recorder(self.resources).run(), name="traffic-recorder")

    async def stop(self) -> None:
        if self._recorder:
            self._recorder.cancel()
            await asyncio.gather(self._recorder, return_exceptions=True)

    async def run_figures(self, window: Window) -> list[RunBucket]:
        return await self._run_figures[window.name].get()

    async def _count_runs(self, window: Window) -> list[RunBucket]:
        now = self.resources.clock.now()
        async with self.resources.database.read() as db:
            counted = await figures(db, window, now)
        return [RunBucket.of(start, each) for start, each in zip(window.starts(now), counted, strict=True)]

    async def _count_sessions(self) -> SessionCounts:
        async with self.resources.database.read() as db:
            return await count_sessions_cheaply(db, self.resources.clock.now())

    async def _examine(self) -> list[Check]:
        return await examine_site(self.resources)


def init_console(app: Quart, resources: Resources) -> None:
    """Call it before the hook that closes `resources`, so that the recorder ends first."""
    console = Console(resources)
    app.extensions["console"] = console
    app.before_serving(console.start)
    app.after_serving(console.stop)


def current_console() -> Console:
    return cast(Console, current_app.extensions["console"])
