"""What is due runs once, in time or late, by its time zone, unless it is paused."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from app.core.config import load_settings
from app.jobs import service
from app.jobs.definitions import JOBS
from app.jobs.store import list_schedules
from app.models import JobSchedule, User
from app.resources import Resources, open_resources
from tests.factories import make_deal, make_organisation, make_user
from tests.fakes import FakeClock
from tests.integration.jobs.conftest import events
from tests.jobs import WorkerHere, run_job, runs_of

pytestmark = pytest.mark.parametrize("redis_url", ["none"], indirect=True)

SWEEP = "sweep_stale_deals"


async def test_sunday_at_two_two_workers_sweep_once(each_resources: list[Resources], clock: FakeClock) -> None:
    resources = each_resources[0]
    organisation = await make_organisation(resources.database)
    deal = await make_deal(resources.database, organisation)
    people = [await make_user(resources.database, organisation, last_deal_id=deal.id) for _ in range(3)]
    workers = [WorkerHere(each) for each in each_resources]
    for worker in workers:
        await worker.tick()
    assert await runs_of(resources, SWEEP) == [], "it is 01:59"
    clock.advance(timedelta(minutes=2))
    await asyncio.gather(*(worker.tick() for worker in workers))
    await asyncio.gather(*(worker.tick() for worker in workers))
    [run] = await runs_of(resources, SWEEP)
    assert (run.status, run.attempt, run.is_late, run.trigger) == ("succeeded", 1, False, "schedule")
    assert run.due_at == datetime(2026, 11, 22, 2, tzinfo=UTC)
    assert run.counts == {"deleted": 0, "revoked": 3, "expired": 0, "purged": 0, "places": 0}
    assert len(await events(resources, "deal.swept")) == 3, "each of them once"
    async with resources.database.read() as db:
        assert set(await db.scalars(select(User.last_deal_id).where(User.id.in_([person.id for person in people])))) == {None}
        schedule = await db.get_one(JobSchedule, SWEEP)
    assert (schedule.last_due_at, schedule.next_due_at) == (run.due_at, run.due_at + timedelta(weeks=1))
    assert schedule.last_success_at == clock.now()


async def test_what_was_missed_is_caught_up_once_and_late(resources: Resources, clock: FakeClock) -> None:
    await WorkerHere(resources).tick()
    clock.advance(timedelta(weeks=3))
    await WorkerHere(resources).tick()
    for name, due in ((SWEEP, datetime(2026, 12, 13 - 7, 2, tzinfo=UTC)), ("expire_sessions", datetime(2026, 12, 12, 3, tzinfo=UTC))):
        [run] = await runs_of(resources, name)
        assert (run.due_at, run.is_late, run.status) == (due, True, "succeeded"), name
    clock.advance(timedelta(minutes=2))
    await WorkerHere(resources).tick()
    assert [(run.is_late, run.due_at.hour) for run in await runs_of(resources, SWEEP)] == [(True, 2), (False, 2)], "and then in time again"


async def test_schedule_follows_the_zone_and_keeps_what_is_owed(resources: Resources, environ: dict[str, str], clock: FakeClock) -> None:
    await WorkerHere(resources).tick()
    clock.advance(timedelta(minutes=1))
    moved = load_settings(environ | {"JOBS_TIMEZONE": "Europe/Paris"})
    async with open_resources(moved, kind="worker", clock=clock) as there:
        await WorkerHere(there).tick()
        assert [run.due_at.hour for run in await runs_of(there, SWEEP)] == [2], "02:00 UTC was promised before the zone changed"
        async with there.database.read() as db:
            due = {schedule.name: (schedule.zone, schedule.next_due_at) for schedule, _ in await list_schedules(db)}
    assert due["expire_sessions"] == ("Europe/Paris", datetime(2026, 11, 23, 2, tzinfo=UTC))
    assert due["check_session_backend"][0] == "UTC"
    assert due.keys() == {job.name for job in JOBS.values() if job.cron}


async def test_paused_job_is_not_due_and_not_caught_up(resources: Resources, clock: FakeClock) -> None:
    worker = WorkerHere(resources)
    await worker.tick()
    async with resources.database.write() as db:
        await service.pause_schedule(db, SWEEP, at=clock.now(), requested_by=3)
    clock.advance(timedelta(weeks=2, minutes=2))
    await worker.tick()
    assert await runs_of(resources, SWEEP) == []
    assert (await run_job(resources, SWEEP)).status == "succeeded", "by hand it runs all the same"
    async with resources.database.write() as db:
        await service.resume_schedule(db, SWEEP, at=clock.now(), requested_by=3)
    await worker.tick()
    assert len(await runs_of(resources, SWEEP)) == 1
    clock.advance(timedelta(weeks=1))
    await worker.tick()
    assert len(await runs_of(resources, SWEEP)) == 2
    assert await events(resources, "job.paused") == await events(resources, "job.resumed") == [{"job": SWEEP}]
