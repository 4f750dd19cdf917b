"""Polls SQL every second: queues what is due, reclaims runs of dead processes, and has queued runs executed."""

import asyncio
import time

import structlog

from app.core.errors import Unavailable
from app.jobs import queue
from app.jobs.schedule import is_anything_due, launch_due, sync_schedules
from app.resources import Resources
from worker.arq_queue import ArqQueue
from worker.runner import Runner

log = structlog.get_logger()


class Scheduler:
    def __init__(self, resources: Resources, runner: Runner, arq: ArqQueue | None = None) -> None:
        self.resources = resources
        self.runner = runner
        self.arq = arq
        self.limits = runner.limits
        self._schedules_synced = False
        self._offered: dict[tuple[int, int], float] = {}
        self._suspected: dict[tuple[int, int], float] = {}
        self.started: set[asyncio.Task[None]] = set()

    async def run_forever(self) -> None:
        """Run until cancelled. No failure of SQL or Redis ends it."""
        is_away = False
        while True:
            try:
                await self.tick()
                is_away = False
            except Unavailable as outage:
                if not is_away:
                    log.warning("The schedule cannot be read; jobs due meanwhile run afterwards.", fault=outage.detail)
                is_away = True
            except Exception:  # without this loop no job would run
                log.exception("Scheduler iteration failed; trying again.")
            await asyncio.sleep(self.limits.poll.total_seconds())

    async def tick(self) -> None:
        """Poll once and act on it. Runs go on in tasks of their own. Raises `DatabaseUnavailable`."""
        if not self._schedules_synced:
            async with self.resources.database.write() as db:
                await sync_schedules(db, self.resources.settings.jobs_timezone, now=self.resources.clock.now())
            self._schedules_synced = True
        now, is_live = self.resources.clock.now(), self.resources.backend.fleet.is_live()
        orphans = queue.orphans(self.runner.process_id, set(self.runner.active), is_live)
        async with self.resources.database.read() as db:
            due = await is_anything_due(db, now=now)
            silent = [(row[0], row[1]) for row in await db.execute(orphans)]
        if due:
            async with self.resources.database.write() as db:
                log.info("Jobs are due", jobs=await launch_due(db, now=now))
        await self._reclaim_orphans(silent)
        async with self.resources.database.read() as db:
            ready = [(row[0], row[1]) for row in await db.execute(queue.ready(now))]
        await self._execute(ready)

    async def _reclaim_orphans(self, silent: list[tuple[int, int]]) -> None:
        now = time.monotonic()
        self._suspected = {attempt: self._suspected.get(attempt, now) for attempt in silent}
        for (run_id, attempt), since in self._suspected.items():
            if now - since >= self.limits.suspicion.total_seconds():
                log.warning("A run's process is gone; the run is reclaimed.", run_id=run_id, attempt=attempt)
                async with self.resources.database.write() as db:
                    await queue.reclaim_orphan(db, run_id, attempt, now=self.resources.clock.now())

    async def _execute(self, ready: list[tuple[int, int]]) -> None:
        now = time.monotonic()
        self._offered = {each: since for each, since in self._offered.items() if each in ready}
        for run_id, attempt in ready:
            since = self._offered.get((run_id, attempt))
            if since is None and self.arq and await self.arq.offer(run_id, attempt):
                self._offered[run_id, attempt] = now
            elif since is None or now - since > self.limits.arq_start.total_seconds():
                self._start(run_id)

    def _start(self, run_id: int) -> None:
        if self.runner.has_room and run_id not in self.runner.active:
            task = asyncio.create_task(self.runner.run(run_id))
            self.started.add(task)
            task.add_done_callback(self.started.discard)
