"""Two workers on one database, on a Saturday night, and a job that does what a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from app.core.config import Settings
from app.jobs import service
from app.jobs.run import Run
from app.models import Event
from app.resources import Resources, open_resources
from tests.fakes import FakeClock
from tests.jobs import WorkerHere

SATURDAY_NIGHT = datetime(2026, 11, 22, 1, 59, tzinfo=UTC)


class Broken(Exception):
    pass


class Body:
    """A job that does what the test says, and counts how often."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, resources: Resources, run: Run) -> dict[str, Any]:
        self.begun += 1
        await run.progress(1, 2, begun=self.begun)
        await self.go_on.wait()
        if self.error:
            raise self.error
        self.ended += 1
        return {"ended": self.ended}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SATURDAY_NIGHT)


@pytest.fixture
async def each_resources(settings: Settings, clock: FakeClock) -> AsyncIterator[list[Resources]]:
    """Two worker processes on one database, as far as SQL can tell."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_resources(settings, kind="worker", clock=clock)) for _ in range(2)]


@pytest.fixture
def resources(each_resources: list[Resources]) -> Resources:
    return each_resources[0]


@pytest.fixture
def body() -> Body:
    return Body()


@pytest.fixture
async def worker(resources: Resources, body: Body) -> AsyncIterator[WorkerHere]:
    """Its import job, the one without a schedule, is `body`."""
    worker = WorkerHere(resources, {"import_deals": body})
    yield worker
    await worker.stop()


async def ask(resources: Resources, name: str = "import_deals") -> int:
    async with resources.database.write() as db:
        return await service.request_run(db, name, at=resources.clock.now(), payload={"file": 7}, requested_by=3, trigger="console")


async def events(resources: Resources, kind: str) -> list[dict[str, Any]]:
    async with resources.database.read() as db:
        return list(await db.scalars(select(Event.payload).where(Event.kind == kind).order_by(Event.id)))
