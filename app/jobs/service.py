"""Requests, cancels and retries runs, and pauses schedules. Each action is audited in its own transaction.

SQL is the queue, polled by workers every second, so nothing is published after the commit.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Conflict
from app.events.service import record_event
from app.jobs.cron import Cron
from app.jobs.definitions import get_job
from app.jobs.store import failures, get_schedule, lock_run
from app.models import JobRun

# At once: enough for a whole bad night, and few enough for one transaction.
MAX_RETRIED = 500


async def request_run(
    db: AsyncSession,
    name: str,
    *,
    at: datetime,
    payload: Mapping[str, Any] | None = None,
    requested_by: int | None = None,
    trigger: Literal["cli", "console", "site"] = "site",
) -> int:
    """Queue a run; returns its id. It runs once this transaction is committed. `payload` is plain JSON. Raises `NotFound`."""
    run = await _queue(db, name, at=at, trigger=trigger, payload=dict(payload or {}), requested_by=requested_by)
    await record_event(db, "job.requested", at=at, actor_id=requested_by, job=name, run_id=run.id)
    return run.id


async def retry_run(db: AsyncSession, run_id: int, *, at: datetime, requested_by: int | None) -> int:
    """Queue a copy of a failed or cancelled run; returns the new run's id. Raises `NotFound`, `Conflict`."""
    old = await lock_run(db, run_id)
    if old.status not in ("failed", "cancelled") or old.retried_at is not None:
        raise Conflict("Only a run that failed or was cancelled can be run again, and only once.", code="run_not_retryable")
    return await _retry(db, old, at, requested_by)


async def retry_failures(db: AsyncSession, name: str, error_class: str, *, at: datetime, requested_by: int | None) -> list[int]:
    """Retry this group's open failures, the oldest first and at most `MAX_RETRIED`; returns the new ids."""
    found = await db.scalars(failures(name, error_class).order_by(JobRun.id).limit(MAX_RETRIED).with_for_update())
    return [await _retry(db, old, at, requested_by) for old in found.all()]


async def cancel_run(db: AsyncSession, run_id: int, *, at: datetime, requested_by: int | None) -> Literal["cancelled", "cancelling"]:
    """A queued run is cancelled at once, a running one within seconds. Raises `NotFound`, and `Conflict` for one that is over."""
    run = await lock_run(db, run_id)
    if run.status not in ("queued", "running"):
        raise Conflict(f"This run is over: {run.status}.", code="run_is_over")
    if run.cancel_requested_at is None:
        run.cancel_requested_at = at
        await record_event(db, "job.cancelled", at=at, actor_id=requested_by, job=run.name, run_id=run.id)
    if run.status == "running":
        return "cancelling"
    run.status, run.finished_at = "cancelled", at
    return "cancelled"


async def pause_schedule(db: AsyncSession, name: str, *, at: datetime, requested_by: int | None) -> None:
    """The job is not due until resumed; a run requested by hand still runs. Raises `NotFound`."""
    schedule = await get_schedule(db, name, lock=True)
    if schedule.paused_at is None:
        schedule.paused_at, schedule.paused_by_id = at, requested_by
        await record_event(db, "job.paused", at=at, actor_id=requested_by, job=name)


async def resume_schedule(db: AsyncSession, name: str, *, at: datetime, requested_by: int | None) -> None:
    """Due again from now on; due times during the pause are skipped. Raises `NotFound`."""
    schedule = await get_schedule(db, name, lock=True)
    if schedule.paused_at is not None:
        schedule.paused_at = schedule.paused_by_id = None
        schedule.next_due_at = Cron.parse(schedule.cron).next_after(at, ZoneInfo(schedule.zone))
        await record_event(db, "job.resumed", at=at, actor_id=requested_by, job=name)


async def _retry(db: AsyncSession, old: JobRun, at: datetime, requested_by: int | None) -> int:
    run = await _queue(db, old.name, at=at, trigger="retry", payload=old.payload, requested_by=requested_by, retry_of_id=old.id)
    old.retried_at = at
    await record_event(db, "job.retried", at=at, actor_id=requested_by, job=old.name, run_id=run.id, retry_of=old.id)
    return run.id


async def _queue(
    db: AsyncSession,
    name: str,
    *,
    at: datetime,
    trigger: str,
    payload: dict[str, Any],
    requested_by: int | None,
    retry_of_id: int | None = None,
) -> JobRun:
    run = JobRun(
        name=get_job(name).name,
        trigger=trigger,
        due_at=at,
        queued_at=at,
        payload=payload,
        requested_by_id=requested_by,
        retry_of_id=retry_of_id,
        counts={},
        earlier_attempts=[],
    )
    db.add(run)
    await db.flush()
    return run
