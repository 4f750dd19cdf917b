"""Jobs in a test's own process: a worker without its loop, so that the test says when it looks."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from app.jobs.service import request_run
from app.jobs.store import get_run
from app.models import JobRun
from app.resources import Resources
from tests.waiting import until
from worker.jobs import BODIES, JobBody
from worker.limits import WorkerLimits
from worker.runner import Runner
from worker.scheduler import Scheduler

HURRIED = WorkerLimits(*[timedelta(milliseconds=milliseconds) for milliseconds in (50, 100, 100, 500, 300, 1000)])


class WorkerHere:
    """Runner and scheduler of one worker; `bodies` replaces what jobs do."""

    def __init__(self, resources: Resources, bodies: Mapping[str, JobBody] = BODIES) -> None:
        self.resources = resources
        self.runner = Runner(resources, BODIES | dict(bodies), HURRIED)
        self.scheduler = Scheduler(resources, self.runner)

    async def tick(self) -> None:
        """One look, and everything it started done."""
        await self.scheduler.tick()
        await self.idle()

    async def idle(self) -> None:
        while under_way := {*self.scheduler.started, *self.runner.active.values()}:
            await asyncio.wait(under_way)

    async def stop(self) -> None:
        await self.runner.stop()


async def run_job(resources: Resources, name: str, **payload: Any) -> JobRun:
    """Ask for a run of this job, and do it here; the run as it ended."""
    async with resources.database.write() as db:
        run_id = await request_run(db, name, at=resources.clock.now(), payload=payload)
    await Runner(resources).run(run_id)
    return await read_run(resources, run_id)


async def read_run(resources: Resources, run_id: int) -> JobRun:
    async with resources.database.read() as db:
        return await get_run(db, run_id)


async def runs_of(resources: Resources, name: str) -> list[JobRun]:
    async with resources.database.read() as db:
        return list(await db.scalars(select(JobRun).where(JobRun.name == name).order_by(JobRun.id)))


async def until_status(resources: Resources, run_id: int, status: str, *, within: float = 10) -> JobRun:
    async def reached() -> bool:
        return (await read_run(resources, run_id)).status == status

    await until(reached, within=within)
    return await read_run(resources, run_id)
