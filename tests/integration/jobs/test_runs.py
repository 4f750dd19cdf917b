"""Runs in SQL: what fails, stops or dies is run again or told, and what is cancelled ends."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core.errors import Conflict, NotFound
from app.jobs import queue, service
from app.jobs.definitions import JOBS
from app.jobs.run import Run, RunCancelled, RunLost
from app.jobs.store import RunFilter, count_waiting, list_failures, list_runs
from app.models import JobRun
from app.resources import Resources
from tests.fakes import FakeClock
from tests.integration.jobs.conftest import Body, Broken, ask, events
from tests.jobs import WorkerHere, read_run, until_status
from tests.waiting import until

pytestmark = pytest.mark.parametrize("redis_url", ["none"], indirect=True)

SWEEP = "sweep_stale_deals"


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
