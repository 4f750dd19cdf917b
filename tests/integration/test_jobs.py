"""Runs and the schedule in SQL: what is due runs once, in time or late; what fails, stops or dies is run again or told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from app.config import Settings, load_settings
from app.errors import Conflict, NotFound
from app.jobs import service
from app.jobs.definitions import JOBS
from app.jobs.run import Run, RunCancelled, RunLost
from app.jobs.store import RunFilter, count_waiting, list_failures, list_runs, list_schedules
from app.models import Event, JobRun, JobSchedule, Process, User
from app.resources import Resources, open_resources
from tests.factories import make_deal, make_organisation, make_user
from tests.fakes import FakeClock
from tests.jobs import WorkerHere, read_run, run_job, runs_of, until_status
from tests.waiting import until

pytestmark = pytest.mark.parametrize("redis_url", ["none"], indirect=True)
SATURDAY_NIGHT = datetime(2026, 11, 22, 1, 59, tzinfo=UTC)
SWEEP = "sweep_stale_deals"


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

    async def __call__(self, house: Resources, run: Run) -> dict[str, Any]:
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
async def houses(settings: Settings, clock: FakeClock) -> AsyncIterator[list[Resources]]:
    """Two worker processes on one database, as far as SQL can tell."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_resources(settings, kind="worker", clock=clock)) for _ in range(2)]


@pytest.fixture
def house(houses: list[Resources]) -> Resources:
    return houses[0]


@pytest.fixture
def body() -> Body:
    return Body()


@pytest.fixture
async def worker(house: Resources, body: Body) -> AsyncIterator[WorkerHere]:
    """Its import job, the one without a schedule, is `body`."""
    worker = WorkerHere(house, {"import_deals": body})
    yield worker
    await worker.stop()


async def ask(house: Resources, name: str = "import_deals") -> int:
    async with house.database.write() as db:
        return await service.request_run(db, name, at=house.clock.now(), payload={"file": 7}, requested_by=3, trigger="console")


async def events(house: Resources, kind: str) -> list[dict[str, Any]]:
    async with house.database.read() as db:
        return list(await db.scalars(select(Event.payload).where(Event.kind == kind).order_by(Event.id)))


@pytest.mark.parametrize("words", ["zero \0 byte", "half of a pair \ud800"])
async def test_a_failure_whose_words_no_database_takes_is_written_down(house: Resources, words: str) -> None:
    async def fail(house: Resources, run: Run) -> dict[str, Any]:
        raise ValueError(words)

    async with house.database.write() as db:
        run_id = await service.request_run(db, "expire_sessions", at=house.clock.now(), payload={})
    await WorkerHere(house, {"expire_sessions": fail}).look()
    run = await read_run(house, run_id)
    assert (run.status, run.error_class) != ("running", None)
    assert run.error_class == "ValueError"


async def test_sunday_at_two_two_workers_sweep_once(houses: list[Resources], clock: FakeClock) -> None:
    house = houses[0]
    organisation = await make_organisation(house.database)
    deal = await make_deal(house.database, organisation)
    people = [await make_user(house.database, organisation, last_deal_id=deal.id) for _ in range(3)]
    workers = [WorkerHere(each) for each in houses]
    for worker in workers:
        await worker.look()
    assert await runs_of(house, SWEEP) == [], "it is 01:59"
    clock.advance(timedelta(minutes=2))
    await asyncio.gather(*(worker.look() for worker in workers))
    await asyncio.gather(*(worker.look() for worker in workers))
    [run] = await runs_of(house, SWEEP)
    assert (run.status, run.attempt, run.is_late, run.trigger) == ("succeeded", 1, False, "schedule")
    assert run.due_at == datetime(2026, 11, 22, 2, tzinfo=UTC)
    assert run.counts == {"deleted": 0, "revoked": 3, "expired": 0, "purged": 0}
    assert len(await events(house, "deal.swept")) == 3, "each of them once"
    async with house.database.read() as db:
        assert set(await db.scalars(select(User.last_deal_id).where(User.id.in_([person.id for person in people])))) == {None}
        schedule = await db.get_one(JobSchedule, SWEEP)
    assert (schedule.last_due_at, schedule.next_due_at) == (run.due_at, run.due_at + timedelta(weeks=1))
    assert schedule.last_success_at == clock.now()


async def test_what_was_missed_is_caught_up_once_and_late(house: Resources, clock: FakeClock) -> None:
    await WorkerHere(house).look()
    clock.advance(timedelta(weeks=3))
    await WorkerHere(house).look()
    for name, due in ((SWEEP, datetime(2026, 12, 13 - 7, 2, tzinfo=UTC)), ("expire_sessions", datetime(2026, 12, 12, 3, tzinfo=UTC))):
        [run] = await runs_of(house, name)
        assert (run.due_at, run.is_late, run.status) == (due, True, "succeeded"), name
    clock.advance(timedelta(minutes=2))
    await WorkerHere(house).look()
    assert [(run.is_late, run.due_at.hour) for run in await runs_of(house, SWEEP)] == [(True, 2), (False, 2)], "and then in time again"


async def test_schedule_follows_the_zone_and_keeps_what_is_owed(house: Resources, environ: dict[str, str], clock: FakeClock) -> None:
    await WorkerHere(house).look()
    clock.advance(timedelta(minutes=1))
    moved = load_settings(environ | {"JOBS_TIMEZONE": "Europe/Paris"})
    async with open_resources(moved, kind="worker", clock=clock) as there:
        await WorkerHere(there).look()
        assert [run.due_at.hour for run in await runs_of(there, SWEEP)] == [2], "02:00 UTC was promised before the zone changed"
        async with there.database.read() as db:
            due = {schedule.name: (schedule.zone, schedule.next_due_at) for schedule, _ in await list_schedules(db)}
    assert due["expire_sessions"] == ("Europe/Paris", datetime(2026, 11, 23, 2, tzinfo=UTC))
    assert due["check_session_backend"][0] == "UTC"
    assert due.keys() == {job.name for job in JOBS.values() if job.cron}


async def test_paused_job_is_not_due_and_not_caught_up(house: Resources, clock: FakeClock) -> None:
    worker = WorkerHere(house)
    await worker.look()
    async with house.database.write() as db:
        await service.pause_schedule(db, SWEEP, at=clock.now(), requested_by=3)
    clock.advance(timedelta(weeks=2, minutes=2))
    await worker.look()
    assert await runs_of(house, SWEEP) == []
    assert (await run_job(house, SWEEP)).status == "succeeded", "by hand it runs all the same"
    async with house.database.write() as db:
        await service.resume_schedule(db, SWEEP, at=clock.now(), requested_by=3)
    await worker.look()
    assert len(await runs_of(house, SWEEP)) == 1
    clock.advance(timedelta(weeks=1))
    await worker.look()
    assert len(await runs_of(house, SWEEP)) == 2
    assert await events(house, "job.paused") == await events(house, "job.resumed") == [{"job": SWEEP}]


async def test_failing_job_is_tried_again_after_a_pause_and_told_in_the_end(
    house: Resources, worker: WorkerHere, body: Body, clock: FakeClock
) -> None:
    body.error = Broken("no such column")
    run_id = await ask(house)
    await worker.look()
    run = await read_run(house, run_id)
    assert (run.status, run.attempt, run.error_class) == ("queued", 1, "Broken")
    await worker.look()
    assert body.begun == 1, "it pauses"
    clock.advance(timedelta(seconds=30))
    await worker.look()
    clock.advance(timedelta(seconds=59))
    await worker.look()
    assert body.begun == 2, "and longer each time"
    clock.advance(timedelta(seconds=1))
    await worker.look()
    run = await read_run(house, run_id)
    assert (run.status, run.attempt, run.error, run.finished_at) == ("failed", 3, "no such column", clock.now())
    assert run.traceback
    assert "in __call__" in run.traceback
    assert [earlier["error_class"] for earlier in run.earlier_attempts] == ["Broken"] * 2


async def test_failures_are_run_again_alone_or_as_a_group_but_once(
    house: Resources, worker: WorkerHere, body: Body, clock: FakeClock
) -> None:
    body.error = Broken("x")
    run_ids = [await ask(house) for _ in range(3)]
    async with house.database.write() as db:
        await db.execute(update(JobRun).values(attempt=JOBS["import_deals"].tries - 1))
    await worker.look()
    async with house.database.read() as db:
        assert [(group.name, group.error_class, group.count) for group in await list_failures(db)] == [("import_deals", "Broken", 3)]
    body.error = None
    async with house.database.write() as db:
        again = await service.retry_run(db, run_ids[0], at=clock.now(), requested_by=3)
    with pytest.raises(Conflict):
        async with house.database.write() as db:
            await service.retry_run(db, run_ids[0], at=clock.now(), requested_by=3)
    async with house.database.write() as db:
        others = await service.retry_failures(db, "import_deals", "Broken", at=clock.now(), requested_by=3)
    assert len(others) == 2
    await worker.look()
    runs = [await read_run(house, run_id) for run_id in (again, *others)]
    assert {(run.status, run.trigger) for run in runs} == {("succeeded", "retry")}
    assert [run.retry_of_id for run in runs] == run_ids
    assert [run.payload for run in runs] == [{"file": 7}] * 3
    async with house.database.read() as db:
        assert await list_failures(db) == []
    with pytest.raises(NotFound):
        async with house.database.write() as db:
            await service.retry_run(db, 999, at=clock.now(), requested_by=3)


async def test_cancelling_ends_a_queued_run_at_once_and_a_running_one_soon(
    house: Resources, worker: WorkerHere, body: Body, clock: FakeClock
) -> None:
    body.go_on.clear()
    running = await ask(house)
    await worker.scheduler.look()
    await until(lambda: body.begun == 1)
    queued = await ask(house)
    async with house.database.write() as db:
        assert await service.cancel_run(db, queued, at=clock.now(), requested_by=3) == "cancelled"
        assert await service.cancel_run(db, running, at=clock.now(), requested_by=3) == "cancelling"
    await worker.idle()
    assert [(await read_run(house, each)).status for each in (running, queued)] == ["cancelled"] * 2
    assert (body.begun, body.ended) == (1, 0)
    assert (await read_run(house, running)).counts == {"begun": 1}
    with pytest.raises(Conflict):
        async with house.database.write() as db:
            await service.cancel_run(db, running, at=clock.now(), requested_by=3)
    assert [event["run_id"] for event in await events(house, "job.cancelled")] == [queued, running]


async def test_stopping_lets_short_runs_end_and_queues_long_ones_again(houses: list[Resources], body: Body) -> None:
    first, short, long = WorkerHere(houses[0]), Body(), body
    first.runner.bodies = {"import_deals": long, SWEEP: short}
    long.go_on.clear()
    short.go_on.clear()
    run_ids = [await ask(houses[0]), await ask(houses[0], SWEEP)]
    await first.scheduler.look()
    await until(lambda: long.begun == short.begun == 1)
    stop = asyncio.create_task(first.stop())
    await asyncio.sleep(0)
    late = await ask(houses[0])
    await first.scheduler.look()
    short.go_on.set()
    await stop
    runs = [await read_run(houses[0], run_id) for run_id in (*run_ids, late)]
    assert [(run.status, run.attempt, run.process_id is None) for run in runs] == [
        ("queued", 0, True),
        ("succeeded", 1, False),
        ("queued", 0, True),
    ]
    long.go_on.set()
    second = WorkerHere(houses[1], {"import_deals": long})
    await second.look()
    assert (await read_run(houses[1], run_ids[0])).status == "succeeded"
    assert long.ended == 2


async def test_run_of_a_silent_process_is_taken_up_and_the_silent_one_has_no_say(houses: list[Resources], body: Body) -> None:
    first, second = (WorkerHere(house, {"import_deals": body}) for house in houses)
    body.go_on.clear()
    run_id = await ask(houses[0])
    await first.scheduler.look()
    await until(lambda: body.begun == 1)
    # As if it hung: it beats no more, and does not know that it is given up.
    await houses[0].backend.stop()
    async with houses[1].database.read() as db:
        mine = Run(houses[0].database, (await db.execute(select(JobRun).where(JobRun.id == run_id))).scalar_one())
    await second.scheduler.look()
    assert (await read_run(houses[1], run_id)).process_id == houses[0].backend.fleet.process_id, "not on the first suspicion"

    async def taken_up() -> bool:
        await second.scheduler.look()
        return body.begun == 2

    await until(taken_up, within=15)
    run = await read_run(houses[1], run_id)
    assert (run.status, run.attempt, run.process_id) == ("running", 2, houses[1].backend.fleet.process_id)
    assert [earlier["error_class"] for earlier in run.earlier_attempts] == ["WorkerLost"]
    with pytest.raises(RunLost):
        await mine.progress(9, 9, from_the_grave=1)
    await until(lambda: not first.runner.active, within=10)
    body.go_on.set()
    await second.idle()
    run = await read_run(houses[1], run_id)
    assert (run.status, run.attempt, run.counts) == ("succeeded", 2, {"begun": 2, "ended": 1})


async def test_lost_too_often_is_failed(house: Resources, worker: WorkerHere, body: Body) -> None:
    run_id = await ask(house)
    async with house.database.write() as db:
        await db.execute(update(JobRun).values(status="running", process_id="gone", attempt=JOBS["import_deals"].tries))

    async def given_up() -> bool:
        await worker.scheduler.look()
        return (await read_run(house, run_id)).status == "failed"

    await until(given_up, within=10)
    assert (body.begun, (await read_run(house, run_id)).error_class) == (0, "WorkerLost")


async def test_one_run_of_a_scheduled_job_at_a_time_and_several_on_demand(houses: list[Resources], body: Body) -> None:
    workers = [WorkerHere(house, {"import_deals": body, SWEEP: body}) for house in houses]
    body.go_on.clear()
    sweeps = [await ask(houses[0], SWEEP) for _ in range(2)]
    imports = [await ask(houses[0]) for _ in range(2)]
    await asyncio.gather(*(worker.scheduler.look() for worker in workers))
    await until(lambda: body.begun == 3)
    await asyncio.gather(*(worker.scheduler.look() for worker in workers))
    async with houses[0].database.read() as db:
        running = {run.id for run in await list_runs(db, RunFilter(status="running"))}
        assert (await count_waiting(db)).count == 1
    assert running >= set(imports)
    assert len(running & set(sweeps)) == 1, "whichever was taken first"
    body.go_on.set()
    await asyncio.gather(*(worker.idle() for worker in workers))
    await workers[1].look()
    assert {(await read_run(houses[0], run_id)).status for run_id in (*sweeps, *imports)} == {"succeeded"}
    assert body.ended == 4


async def test_body_learns_of_its_cancellation_between_two_transactions(house: Resources, clock: FakeClock) -> None:
    seen: list[type[BaseException]] = []

    async def patient(house: Resources, run: Run) -> dict[str, Any]:
        try:
            while True:
                await run.progress()
                await asyncio.sleep(0.01)
        except RunCancelled as cancelled:
            seen.append(type(cancelled))
            raise

    worker = WorkerHere(house, {"import_deals": patient})
    run_id = await ask(house)
    await worker.scheduler.look()
    await until_status(house, run_id, "running")
    async with house.database.write() as db:
        await service.cancel_run(db, run_id, at=clock.now(), requested_by=3)
    await worker.idle()
    assert (await read_run(house, run_id)).status == "cancelled"
    assert seen == [RunCancelled]


async def test_check_of_the_session_backend_records_what_it_sees(house: Resources) -> None:
    run = await run_job(house, "check_session_backend")
    assert run.status == "succeeded"
    assert {name: run.counts[name] for name in ("status", "mode", "redis", "worker_live")} == {
        "status": "healthy",
        "mode": "sql",
        "redis": "not used",
        "worker_live": 2,
    }
    async with house.database.read() as db:
        assert await db.scalar(select(func.count()).select_from(Process)) == 2


async def test_request_that_is_rolled_back_runs_nothing(house: Resources, worker: WorkerHere, body: Body) -> None:
    async def change_ones_mind() -> None:
        async with house.database.write() as db:
            await service.request_run(db, "import_deals", at=house.clock.now())
            raise Broken

    with pytest.raises(Broken):
        await change_ones_mind()
    await worker.look()
    assert body.begun == 0
    with pytest.raises(NotFound):
        await ask(house, "no_such_job")


async def test_old_runs_are_forgotten_by_the_nightly_job(house: Resources, clock: FakeClock) -> None:
    old = await run_job(house, "check_session_backend")
    clock.advance(timedelta(days=89))
    young = await run_job(house, "check_session_backend")
    clock.advance(timedelta(days=2))
    assert (await run_job(house, "expire_sessions")).counts["runs"] == 1
    assert [run.id for run in await runs_of(house, "check_session_backend")] == [young.id]
    assert old.id != young.id


async def test_nightly_check_of_the_audit_trail_fails_with_the_first_changed_row(house: Resources) -> None:
    for _ in range(3):
        await ask(house)

    async def are_sealed() -> bool:
        # An event is sealed once no earlier one can be committed any more, which the heartbeats beside this may delay.
        counts = (await run_job(house, "verify_audit_chain")).counts
        assert counts["faults"] == 0
        return bool(counts["events"] >= 3)

    await until(are_sealed, within=20)
    async with house.database.write() as db:
        trigger = "events_refuse_change ON events" if house.database.dialect == "postgresql" else "events_refuse_update"
        await db.execute(text(f"DROP TRIGGER {trigger}"))
        await db.execute(text("UPDATE events SET actor_id = 99 WHERE id IN (2, 3)"))
    run = await run_job(house, "verify_audit_chain")
    assert (run.status, run.attempt, run.error_class, run.counts["faults"]) == ("failed", 1, "AuditChainBroken", 2)
    assert (run.error or "").startswith("event 2 ")


async def test_hourly_roll_up_counts_what_it_made_up_for(house: Resources) -> None:
    await ask(house)
    run = await run_job(house, "roll_up_analytics")
    assert run.status == "succeeded", run.error
    assert run.counts.keys() >= {"analytics", "notify", "deleted"}
