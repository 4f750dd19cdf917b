"""Runs a job in the calling process, with or without a worker."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.core.errors import Conflict
from app.jobs.service import cancel_run, request_run
from app.jobs.store import get_run
from app.models import JobRun
from app.resources import Resources, open_resources
from worker.runner import Runner

POLL_INTERVAL = timedelta(milliseconds=500)
UNFINISHED_STATES = ("queued", "running")


async def request(db: AsyncSession, name: str, now: datetime) -> int:
    return await request_run(db, name, at=now, trigger="cli")


async def run_here(settings: Settings, name: str, *, show: Callable[[str], None]) -> JobRun:
    """Run a job and return its ended run. If a worker claims it first, its progress is followed. Ctrl-C cancels it."""
    async with open_resources(settings, kind="cli") as resources:
        async with resources.database.write() as db:
            run_id = await request(db, name, resources.clock.now())
        runner = Runner(resources)
        try:
            return await _follow(resources, runner, run_id, show)
        except asyncio.CancelledError:
            with suppress(Conflict):  # it has just ended
                async with resources.database.write() as db:
                    await cancel_run(db, run_id, at=resources.clock.now(), requested_by=None)
            runner.cancel(run_id)
            raise
        finally:
            await runner.stop()


async def _follow(resources: Resources, runner: Runner, run_id: int, show: Callable[[str], None]) -> JobRun:
    shown = ""
    while True:
        turn = asyncio.create_task(runner.run(run_id))
        await asyncio.wait({turn}, timeout=POLL_INTERVAL.total_seconds())
        async with resources.database.read() as db:
            run = await get_run(db, run_id)
        if run.status not in UNFINISHED_STATES:
            await turn
            return run
        if (line := _line(run)) != shown:
            show(shown := line)
        if turn.done():
            await asyncio.sleep(POLL_INTERVAL.total_seconds())


def _line(run: JobRun) -> str:
    counts = " ".join(f"{name}={value}" for name, value in run.counts.items())
    if run.status == "queued":
        return f"{run.name}: {'attempt failed, trying again: ' + run.error if run.error else 'waiting for another run of it to end'}"
    return f"{run.name}: {counts or 'running'}"
