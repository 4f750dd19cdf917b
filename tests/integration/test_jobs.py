"""Runs and the schedule in SQL: what is due runs once, in time or late; what fails, stops or dies is run again or told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from app.core.config import Settings, load_settings
from app.core.errors import Conflict, NotFound
from app.jobs import queue, service
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


async def test_a_job_that_this_version_does_not_know_is_left_to_one_that_does(resources: Resources) -> None:
    now = resources.clock.now()
    async with resources.database.write() as db:
        common = {"trigger": "console", "payload": {}, "counts": {}, "earlier_attempts": []}
        db.add(JobRun(name="from_the_future", status="queued", due_at=now, queued_at=now, **common))
    await WorkerHere(resources).tick()
    async with resources.database.write() as db:
        [run] = await db.scalars(select(JobRun).where(JobRun.name == "from_the_future"))
        assert (run.status, run.attempt) == ("queued", 0)
        assert not (await db.execute(queue.ready(now))).all(), "else twenty of them would hide what this version can run"
        assert await queue.claim(db, run.id, process_id="here", now=now) is None


@pytest.mark.parametrize("words", ["zero \0 byte", "half of a pair \ud800"])
async def test_a_failure_whose_words_no_database_takes_is_written_down(resources: Resources, words: str) -> None:
    async def fail(resources: Resources, run: Run) -> dict[str, Any]:
        raise ValueError(words)

    async with resources.database.write() as db:
        run_id = await service.request_run(db, "expire_sessions", at=resources.clock.now(), payload={})
    await WorkerHere(resources, {"expire_sessions": fail}).tick()
    run = await read_run(resources, run_id)
    assert (run.status, run.error_class) != ("running", None)
    assert run.error_class == "ValueError"


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


async def test_failing_job_is_tried_again_after_a_pause_and_told_in_the_end(
    resources: Resources, worker: WorkerHere, body: Body, clock: FakeClock
) -> None:
    body.error = Broken("no such column")
    run_id = await ask(resources)
    await worker.tick()
    run = await read_run(resources, run_id)
    assert (run.status, run.attempt, run.error_class) == ("queued", 1, "Broken")
    await worker.tick()
    assert body.begun == 1, "it pauses"
    clock.advance(timedelta(seconds=30))
    await worker.tick()
    clock.advance(timedelta(seconds=59))
    await worker.tick()
    assert body.begun == 2, "and longer each time"
    clock.advance(timedelta(seconds=1))
    await worker.tick()
    run = await read_run(resources, run_id)
    assert (run.status, run.attempt, run.error, run.finished_at) == ("failed", 3, "no such column", clock.now())
    assert run.traceback
    assert "in __call__" in run.traceback
    assert [earlier["error_class"] for earlier in run.earlier_attempts] == ["Broken"] * 2


async def test_failures_are_run_again_alone_or_as_a_group_but_once(
    resources: Resources, worker: WorkerHere, body: Body, clock: FakeClock
) -> None:
    body.error = Broken("x")
    run_ids = [await ask(resources) for _ in range(3)]
    async with resources.database.write() as db:
        await db.execute(update(JobRun).values(attempt=JOBS["import_deals"].tries - 1))
    await worker.tick()
    async with resources.database.read() as db:
        assert [(group.name, group.error_class, group.count) for group in await list_failures(db)] == [("import_deals", "Broken", 3)]
    body.error = None
    async with resources.database.write() as db:
        again = await service.retry_run(db, run_ids[0], at=clock.now(), requested_by=3)
    with pytest.raises(Conflict):
        async with resources.database.write() as db:
            await service.retry_run(db, run_ids[0], at=clock.now(), requested_by=3)
    async with resources.database.write() as db:
        others = await service.retry_failures(db, "import_deals", "Broken", at=clock.now(), requested_by=3)
    assert len(others) == 2
    await worker.tick()
    runs = [await read_run(resources, run_id) for run_id in (again, *others)]
    assert {(run.status, run.trigger) for run in runs} == {("succeeded", "retry")}
    assert [run.retry_of_id for run in runs] == run_ids
    assert [run.payload for run in runs] == [{"file": 7}] * 3
    async with resources.database.read() as db:
        assert await list_failures(db) == []
    with pytest.raises(NotFound):
        async with resources.database.write() as db:
            await service.retry_run(db, 999, at=clock.now(), requested_by=3)


async def test_cancelling_ends_a_queued_run_at_once_and_a_running_one_soon(
    resources: Resources, worker: WorkerHere, body: Body, clock: FakeClock
) -> None:
    body.go_on.clear()
    running = await ask(resources)
    await worker.scheduler.tick()
    await until(lambda: body.begun == 1)
    queued = await ask(resources)
    async with resources.database.write() as db:
        assert await service.cancel_run(db, queued, at=clock.now(), requested_by=3) == "cancelled"
        assert await service.cancel_run(db, running, at=clock.now(), requested_by=3) == "cancelling"
    await worker.idle()
    assert [(await read_run(resources, each)).status for each in (running, queued)] == ["cancelled"] * 2
    assert (body.begun, body.ended) == (1, 0)
    assert (await read_run(resources, running)).counts == {"begun": 1}
    with pytest.raises(Conflict):
        async with resources.database.write() as db:
            await service.cancel_run(db, running, at=clock.now(), requested_by=3)
    assert [event["run_id"] for event in await events(resources, "job.cancelled")] == [queued, running]


async def test_stopping_lets_short_runs_end_and_queues_long_ones_again(each_resources: list[Resources], body: Body) -> None:
    first, short, long = WorkerHere(each_resources[0]), Body(), body
    first.runner.bodies = {"import_deals": long, SWEEP: short}
    long.go_on.clear()
    short.go_on.clear()
    run_ids = [await ask(each_resources[0]), await ask(each_resources[0], SWEEP)]
    await first.scheduler.tick()
    await until(lambda: long.begun == short.begun == 1)
    stop = asyncio.create_task(first.stop())
    await asyncio.sleep(0)
    late = await ask(each_resources[0])
    await first.scheduler.tick()
    short.go_on.set()
    await stop
    runs = [await read_run(each_resources[0], run_id) for run_id in (*run_ids, late)]
    assert [(run.status, run.attempt, run.process_id is None) for run in runs] == [
        ("queued", 0, True),
        ("succeeded", 1, False),
        ("queued", 0, True),
    ]
    long.go_on.set()
    second = WorkerHere(each_resources[1], {"import_deals": long})
    await second.tick()
    assert (await read_run(each_resources[1], run_ids[0])).status == "succeeded"
    assert long.ended == 2


async def test_run_of_a_silent_process_is_taken_up_and_the_silent_one_has_no_say(each_resources: list[Resources], body: Body) -> None:
    first, second = (WorkerHere(resources, {"import_deals": body}) for resources in each_resources)
    body.go_on.clear()
    run_id = await ask(each_resources[0])
    await first.scheduler.tick()
    await until(lambda: body.begun == 1)
    # As if it hung: it beats no more, and does not know that it is given up.
    await each_resources[0].poll.stop()
    async with each_resources[1].database.read() as db:
        mine = Run(each_resources[0].database, (await db.execute(select(JobRun).where(JobRun.id == run_id))).scalar_one())
    await second.scheduler.tick()
    assert (await read_run(each_resources[1], run_id)).process_id == each_resources[0].backend.fleet.process_id, (
        "not on the first suspicion"
    )

    async def taken_up() -> bool:
        await second.scheduler.tick()
        return body.begun == 2

    await until(taken_up, within=15)
    run = await read_run(each_resources[1], run_id)
    assert (run.status, run.attempt, run.process_id) == ("running", 2, each_resources[1].backend.fleet.process_id)
    assert [earlier["error_class"] for earlier in run.earlier_attempts] == ["WorkerLost"]
    with pytest.raises(RunLost):
        await mine.progress(9, 9, from_the_grave=1)
    await until(lambda: not first.runner.active, within=10)
    body.go_on.set()
    await second.idle()
    run = await read_run(each_resources[1], run_id)
    assert (run.status, run.attempt, run.counts) == ("succeeded", 2, {"begun": 2, "ended": 1})


async def test_lost_too_often_is_failed(resources: Resources, worker: WorkerHere, body: Body) -> None:
    run_id = await ask(resources)
    async with resources.database.write() as db:
        await db.execute(update(JobRun).values(status="running", process_id="gone", attempt=JOBS["import_deals"].tries))

    async def given_up() -> bool:
        await worker.scheduler.tick()
        return (await read_run(resources, run_id)).status == "failed"

    await until(given_up, within=10)
    assert (body.begun, (await read_run(resources, run_id)).error_class) == (0, "WorkerLost")


async def test_one_run_of_a_scheduled_job_at_a_time_and_several_on_demand(each_resources: list[Resources], body: Body) -> None:
    workers = [WorkerHere(resources, {"import_deals": body, SWEEP: body}) for resources in each_resources]
    body.go_on.clear()
    sweeps = [await ask(each_resources[0], SWEEP) for _ in range(2)]
    imports = [await ask(each_resources[0]) for _ in range(2)]
    await asyncio.gather(*(worker.scheduler.tick() for worker in workers))
    await until(lambda: body.begun == 3)
    await asyncio.gather(*(worker.scheduler.tick() for worker in workers))
    async with each_resources[0].database.read() as db:
        running = {run.id for run in await list_runs(db, RunFilter(status="running"))}
        assert (await count_waiting(db)).count == 1
    assert running >= set(imports)
    assert len(running & set(sweeps)) == 1, "whichever was taken first"
    body.go_on.set()
    await asyncio.gather(*(worker.idle() for worker in workers))
    await workers[1].tick()
    assert {(await read_run(each_resources[0], run_id)).status for run_id in (*sweeps, *imports)} == {"succeeded"}
    assert body.ended == 4


async def test_body_learns_of_its_cancellation_between_two_transactions(resources: Resources, clock: FakeClock) -> None:
    seen: list[type[BaseException]] = []

    async def patient(resources: Resources, run: Run) -> dict[str, Any]:
        try:
            while True:
                await run.progress()
                await asyncio.sleep(0.01)
        except RunCancelled as cancelled:
            seen.append(type(cancelled))
            raise

    worker = WorkerHere(resources, {"import_deals": patient})
    run_id = await ask(resources)
    await worker.scheduler.tick()
    await until_status(resources, run_id, "running")
    async with resources.database.write() as db:
        await service.cancel_run(db, run_id, at=clock.now(), requested_by=3)
    await worker.idle()
    assert (await read_run(resources, run_id)).status == "cancelled"
    assert seen == [RunCancelled]


async def test_check_of_the_session_backend_records_what_it_sees(resources: Resources) -> None:
    run = await run_job(resources, "check_session_backend")
    assert run.status == "succeeded"
    assert {name: run.counts[name] for name in ("status", "mode", "redis", "worker_live")} == {
        "status": "healthy",
        "mode": "sql",
        "redis": "not used",
        "worker_live": 2,
    }
    async with resources.database.read() as db:
        assert await db.scalar(select(func.count()).select_from(Process)) == 2


async def test_request_that_is_rolled_back_runs_nothing(resources: Resources, worker: WorkerHere, body: Body) -> None:
    async def change_ones_mind() -> None:
        async with resources.database.write() as db:
            await service.request_run(db, "import_deals", at=resources.clock.now())
            raise Broken

    with pytest.raises(Broken):
        await change_ones_mind()
    await worker.tick()
    assert body.begun == 0
    with pytest.raises(NotFound):
        await ask(resources, "no_such_job")


async def test_old_runs_are_forgotten_by_the_nightly_job(resources: Resources, clock: FakeClock) -> None:
    old = await run_job(resources, "check_session_backend")
    clock.advance(timedelta(days=89))
    young = await run_job(resources, "check_session_backend")
    clock.advance(timedelta(days=2))
    assert (await run_job(resources, "expire_sessions")).counts["runs"] == 1
    assert [run.id for run in await runs_of(resources, "check_session_backend")] == [young.id]
    assert old.id != young.id


async def test_nightly_check_of_the_audit_trail_fails_with_the_first_changed_row(resources: Resources) -> None:
    for _ in range(3):
        await ask(resources)

    async def are_sealed() -> bool:
        # An event is sealed once no earlier one can be committed any more, which the heartbeats beside this may delay.
        counts = (await run_job(resources, "verify_audit_chain")).counts
        assert counts["faults"] == 0
        return bool(counts["events"] >= 3)

    await until(are_sealed, within=20)
    async with resources.database.write() as db:
        trigger = "events_refuse_change ON events" if resources.database.dialect == "postgresql" else "events_refuse_update"
        await db.execute(text(f"DROP TRIGGER {trigger}"))
        await db.execute(text("UPDATE events SET actor_id = 99 WHERE id IN (2, 3)"))
    run = await run_job(resources, "verify_audit_chain")
    assert (run.status, run.attempt, run.error_class, run.counts["faults"]) == ("failed", 1, "AuditChainBroken", 2)
    assert (run.error or "").startswith("event 2 ")


async def test_hourly_roll_up_counts_what_it_made_up_for(resources: Resources) -> None:
    await ask(resources)
    run = await run_job(resources, "roll_up_analytics")
    assert run.status == "succeeded", run.error
    assert run.counts.keys() >= {"analytics", "notify", "deleted"}
