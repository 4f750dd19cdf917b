"""What the jobs of the schedule do and count."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from app.models import Process
from app.resources import Resources
from tests.fakes import FakeClock
from tests.integration.jobs.conftest import ask
from tests.jobs import run_job, runs_of
from tests.waiting import until

pytestmark = pytest.mark.parametrize("redis_url", ["none"], indirect=True)


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
