"""Jobs at the operators' console: run, paused, retried, missed, and their history."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from app.models import JobSchedule
from app.ops.jobs.store import RunsWanted, figures, list_history
from app.ops.statistics.windows import WINDOWS
from tests.fakes import FakeClock
from tests.integration.desk import Desk
from tests.integration.test_console import statements_of
from worker.runner import Runner

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@on_sqlite
async def test_a_job_is_run_paused_and_resumed_from_the_page_and_audited(desk: Desk) -> None:
    await desk.schedule()
    assert await desk.post("/ops/jobs/expire_sessions/run") == "/ops/jobs?done=queued"
    (queued,) = (await desk.get("/api/ops/jobs"))["active"]
    assert (queued["job"], queued["trigger"], queued["status"]) == ("expire_sessions", "console", "queued")
    await Runner(desk.resources).run(queued["id"])
    done = await desk.get(f"/api/ops/jobs/runs/{queued['id']}")
    assert (done["status"], done["requested_by"]) == ("succeeded", "operator@test.example")
    assert "succeeded" in await desk.page(f"/ops/jobs/runs/{queued['id']}")

    assert await desk.post("/ops/jobs/expire_sessions/pause") == "/ops/jobs?done=paused"
    paused = next(each for each in (await desk.get("/api/ops/jobs"))["schedule"] if each["job"] == "expire_sessions")
    assert (paused["state"], paused["paused_by"], paused["next_due_at"]) == ("paused", "operator@test.example", None)
    await desk.post("/ops/jobs/expire_sessions/resume")
    assert await desk.operators_events() == ["job.requested", "job.paused", "job.resumed"]
    assert (await desk.scene.call("operator", "POST", "/api/ops/jobs/import_deals/run"))[0] == 400
    assert (await desk.scene.call("operator", "POST", "/api/ops/jobs/no_such_job/run"))[0] == 404


async def test_a_group_of_failures_is_retried_and_no_other(desk: Desk) -> None:
    failed = await desk.runs("failed", "failed", error_class="TimeoutError", error="too slow", traceback="Traceback …")
    (other,) = await desk.runs("failed", error_class="KeyError")
    groups = (await desk.get("/api/ops/jobs"))["failures"]
    assert {(each["error_class"], each["count"]) for each in groups} == {("TimeoutError", 2), ("KeyError", 1)}
    assert "Yes, retry them" in await desk.page("/ops/jobs"), "a group is confirmed first"
    assert await desk.post("/ops/jobs/failures/retry", job="expire_sessions", error_class="TimeoutError") == "/ops/jobs?done=retried"
    again = await desk.post("/ops/jobs/failures/retry", job="expire_sessions", error_class="TimeoutError")
    assert again == "/ops/jobs?done=nothing-retried"
    view = await desk.get("/api/ops/jobs")
    assert [each["retry_of_id"] for each in view["active"]] == failed
    assert [each["last_run_id"] for each in view["failures"]] == [other]
    page = await desk.page(f"/ops/jobs/runs/{failed[0]}")
    assert "Traceback …" in page
    assert "Run again as" in page
    assert await desk.operators_events() == ["job.retried"] * 2

    status, body = await desk.scene.call("operator", "POST", f"/api/ops/jobs/runs/{other}/retry")
    assert status == 202
    status, _ = await desk.scene.call("operator", "POST", f"/api/ops/jobs/runs/{body['run_id']}/cancel")
    assert status == 200
    assert (await desk.get(f"/api/ops/jobs/runs/{body['run_id']}"))["status"] == "cancelled"
    assert (await desk.scene.call("operator", "POST", f"/api/ops/jobs/runs/{other}/retry"))[0] == 409, "once only"


@on_sqlite
async def test_runs_under_the_former_name_of_a_job_are_shown_as_runs_of_the_job(desk: Desk) -> None:
    """`import_deals` is what a version before workbooks called `import_file`; what it queued still ends."""
    former = await desk.runs("failed", "succeeded", name="import_deals", error_class="Broken")
    now = await desk.runs("failed", name="import_file", error_class="Broken")
    view = await desk.get("/api/ops/jobs")
    assert [each["job"] for each in view["schedule"]].count("import_file") == 1
    assert [(each["job"], each["count"], each["last_run_id"]) for each in view["failures"]] == [("import_file", 2, now[0])]
    for name in ("import_file", "import_deals"):
        runs = (await desk.get(f"/api/ops/jobs/runs?job={name}"))["runs"]
        assert [(each["id"], each["job"]) for each in runs] == [(run_id, "import_file") for run_id in sorted(former + now, reverse=True)]
        assert "<option selected>import_file" in await desk.page(f"/ops/jobs?job={name}")
    assert "import_deals" not in await desk.page("/ops/jobs")
    assert await desk.post("/ops/jobs/failures/retry", job="import_file", error_class="Broken") == "/ops/jobs?done=retried"
    assert {each["retry_of_id"] for each in (await desk.get("/api/ops/jobs"))["active"]} == {former[0], now[0]}


@on_sqlite
async def test_a_schedule_nobody_saw_to_is_shown_as_missed(desk: Desk, clock: FakeClock) -> None:
    await desk.schedule()
    async with desk.resources.database.write() as db:
        await db.execute(update(JobSchedule).where(JobSchedule.name == "roll_up_analytics").values(next_due_at=clock.now()))
    clock.advance(timedelta(minutes=2))
    view = await desk.get("/api/ops/jobs")
    assert {each["job"]: each["state"] for each in view["schedule"]}["roll_up_analytics"] == "missed"
    assert view["queue"]["missed"] >= 1
    assert "missed" in await desk.page("/ops/jobs")


async def test_history_is_filtered_sorted_and_paged_without_gap_or_repetition(desk: Desk) -> None:
    for took in range(40):
        await desk.runs("succeeded" if took % 4 else "failed", took_ms=took % 7 * 100, error_class=None if took % 4 else "KeyError")
    for sort, expected in (("newest", None), ("oldest", None), ("longest", 40), ("shortest", 40)):
        seen: list[Any] = []
        cursor = ""
        while True:
            page = await desk.get(f"/api/ops/jobs/runs?sort={sort}{'&cursor=' + cursor if cursor else ''}")
            seen += page["runs"]
            cursor = page["next_cursor"]
            if not cursor:
                break
        assert len({each["id"] for each in seen}) == len(seen) == (expected or 40), sort
        keys = [(each["took_ms"], each["id"]) if sort in ("longest", "shortest") else each["id"] for each in seen]
        assert keys == sorted(keys, reverse=sort in ("longest", "newest")), sort
    failed = await desk.get("/api/ops/jobs/runs?status=failed&job=expire_sessions&error=KeyError")
    assert len(failed["runs"]) == 10
    assert (await desk.get("/api/ops/jobs/runs?status=failed&trigger=schedule"))["runs"] == []
    assert (await desk.scene.call("operator", "GET", "/api/ops/jobs/runs?status=sideways"))[0] == 400
    assert "No run fits" in await desk.page("/ops/jobs?status=cancelled")
    assert await desk.page(f"/ops/jobs?sort=oldest&cursor={(await desk.get('/api/ops/jobs/runs?sort=oldest'))['next_cursor']}")


@on_sqlite
async def test_long_histories_are_read_along_indexes(desk: Desk, clock: FakeClock) -> None:
    """A hundred thousand runs cost what fifty do: no statement of the page reads the whole table, or sorts what it reads."""
    await desk.runs(*["succeeded", "failed"] * 200, took_ms=5, error_class="KeyError")
    async with desk.resources.database.write() as db:
        await db.execute(text("ANALYZE"))
    with statements_of(desk) as sent:
        async with desk.resources.database.read() as db:
            for sort in ("newest", "oldest", "longest", "shortest"):
                await list_history(db, RunsWanted(sort=sort), after=(5, 300), limit=26)
                await list_history(db, RunsWanted(job="expire_sessions", status="failed"), after=(None, 300), limit=26)
            await figures(db, WINDOWS["1h"], clock.now() + timedelta(hours=9))
        await desk.page("/ops/jobs?status=failed")
    reading = [(sql, values) for sql, values in sent if "job_runs" in sql]
    assert len(reading) > 12
    async with desk.resources.database.read() as db:
        connection = await db.connection()
        for sql, values in reading:
            plan = [str(tuple(row)[3]) for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
            whole = [
                step for step in plan if step.startswith("SCAN job_runs") and "INDEX" not in step and "ORDER BY job_runs.id" not in sql
            ]
            assert whole == [], (sql, plan)
            if "LIMIT" in sql and "GROUP BY" not in sql:
                assert not [step for step in plan if "TEMP B-TREE FOR ORDER BY" in step], (sql, plan)
