"""Jobs in an outage: what is due runs once, in time or late, and what a killed process left half done is done exactly once."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from app.core.clock import Clock
from app.core.database import Database
from app.jobs.service import request_run
from app.models import Deal, Event, JobRun, JobSchedule, User
from tests.conftest import StartRedis
from tests.factories import make_deal, make_organisation
from tests.resilience.conftest import StartWorker, Tell
from tests.resilience.matrix import on
from tests.resilience.site import WorkerProcess
from tests.waiting import until

CHECK, SWEEP, EXPIRE = "check_session_backend", "sweep_stale_deals", "expire_sessions"
STOPS_WITHIN = 10
# Enough for the sweep to be under way for a while: it rests between its batches.
PEOPLE = 4000


async def make_stale_people(database: Database) -> Deal:
    """Who come back to a deal that none of them may see."""
    organisation = await make_organisation(database)
    deal = await make_deal(database, organisation)
    facts = {"organisation_id": organisation.id, "name": "X", "password_hash": "", "created_at": Clock().now(), "last_deal_id": deal.id}
    async with database.write() as db:
        await db.run_sync(
            lambda sync: sync.bulk_insert_mappings(User, [facts | {"email": f"{number}@swept.example"} for number in range(PEOPLE)])
        )
    return deal


async def count_stale(database: Database) -> int:
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(User).where(User.last_deal_id.is_not(None))) or 0


async def runs(database: Database, name: str) -> Sequence[JobRun]:
    async with database.read() as db:
        return (await db.scalars(select(JobRun).where(JobRun.name == name).order_by(JobRun.id))).all()


async def is_over(database: Database, name: str, *, due: datetime | None = None) -> bool:
    return any(run.status in ("succeeded", "failed") for run in await runs(database, name) if due is None or run.due_at == due)


async def fall_due(database: Database, name: str, at: datetime) -> None:
    async with database.write() as db:
        await db.execute(update(JobSchedule).where(JobSchedule.name == name).values(next_due_at=at))


async def knows_schedule(database: Database) -> bool:
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(JobSchedule)) != 0


@on("postgresql", fixture="database_url")
async def test_killed_in_the_middle_of_a_job_its_effect_is_there_exactly_once(
    database: Database, database_url: str, start_worker: StartWorker, start_redis: StartRedis, tell: Tell
) -> None:
    """SIGKILL, twice the work for nobody: the other worker goes on where the first one was, and writes no event again."""
    await make_stale_people(database)
    settings = {"DATABASE_URL": database_url, "REDIS_URL": start_redis().url}
    workers = [start_worker(settings) for _ in range(2)]
    for worker in workers:
        await worker.wait_until_ready()
    async with database.write() as db:
        run_id = await request_run(db, SWEEP, at=Clock().now())

    async def is_under_way() -> bool:
        return 0 < await count_stale(database) < PEOPLE

    await until(is_under_way, within=20)
    [first] = await runs(database, SWEEP)
    victim = next(worker for worker in workers if f":{worker.pid}:" in (first.process_id or ""))
    await asyncio.to_thread(victim.kill)
    left, began = await count_stale(database), time.perf_counter()
    assert 0 < left < PEOPLE, "it was killed in the middle"
    await until(lambda: is_over(database, SWEEP), within=60)
    tell("taken up and done after", f"{time.perf_counter() - began:.1f} s, {left} of {PEOPLE} were left")
    [run] = await runs(database, SWEEP)
    assert (run.id, run.status, run.attempt) == (run_id, "succeeded", 2)
    assert run.process_id != first.process_id
    assert [earlier["error_class"] for earlier in run.earlier_attempts] == ["WorkerLost"]
    assert run.counts["revoked"] == left
    assert await count_stale(database) == 0
    async with database.read() as db:
        swept = select(func.count(), func.count(Event.user_id.distinct())).where(Event.kind == "deal.swept")
        assert tuple((await db.execute(swept)).one()) == (PEOPLE, PEOPLE)


@pytest.mark.parametrize("fault", ["killed", "hung"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_falls_due_while_redis_is_away_runs_once_and_in_time(
    database: Database, database_url: str, start_worker: StartWorker, start_redis: StartRedis, fault: str
) -> None:
    redis = start_redis()
    workers = [start_worker({"DATABASE_URL": database_url, "REDIS_URL": redis.url}) for _ in range(2)]
    for worker in workers:
        await until(lambda: worker.says("Starting worker for"), within=30)  # noqa: B023  # awaited before the next turn
    await until(lambda: knows_schedule(database), within=10)
    await asyncio.to_thread(redis.kill if fault == "killed" else redis.stop)
    due = Clock().now() + timedelta(seconds=1)
    for name in (CHECK, EXPIRE):
        await fall_due(database, name, due)
    for name in (CHECK, EXPIRE):
        await until(lambda: is_over(database, name, due=due), within=30)  # noqa: B023
    for worker in workers:
        worker.check_alive()
    began = time.perf_counter()
    assert await asyncio.to_thread(workers[0].terminate, within=STOPS_WITHIN) == 0
    assert time.perf_counter() - began < STOPS_WITHIN
    redis.cont() if fault == "hung" else redis.restart()
    await until(lambda: _has_arq_again(workers[1], fault), within=40)
    for name in (CHECK, EXPIRE):
        # Beside it there may be one more of the check: it is due every five minutes, also in those of this test.
        assert [(run.status, run.is_late) for run in await runs(database, name) if run.due_at == due] == [("succeeded", False)], name


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_fell_due_while_no_worker_lived_runs_once_and_late(
    database: Database, database_url: str, start_worker: StartWorker, start_redis: StartRedis
) -> None:
    settings = {"DATABASE_URL": database_url, "REDIS_URL": start_redis().url}
    first = start_worker(settings)
    await until(lambda: knows_schedule(database), within=30)
    assert await asyncio.to_thread(first.terminate, within=STOPS_WITHIN) == 0
    async with database.read() as db:
        due = (await db.get_one(JobSchedule, EXPIRE)).next_due_at
    await fall_due(database, EXPIRE, due - timedelta(days=7))
    for _ in range(2):
        start_worker(settings)
    await until(lambda: is_over(database, EXPIRE), within=30)
    [run] = await runs(database, EXPIRE)
    assert (run.status, run.attempt, run.is_late) == ("succeeded", 1, True)
    assert run.due_at == due - timedelta(days=1), "of all that was missed the last one counts"
    async with database.read() as db:
        schedule = await db.get_one(JobSchedule, EXPIRE)
    assert (schedule.next_due_at, schedule.last_due_at) == (due, run.due_at)


def _has_arq_again(worker: WorkerProcess, fault: str) -> bool:
    """A new life after the kill; out of the hang it comes with the one it had, unless that ran into a time-out."""
    return worker.says("Starting worker for", times=2 if fault == "killed" else 1)
