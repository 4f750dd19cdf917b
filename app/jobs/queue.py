"""The life of a run: queued, claimed by one process, then ended, released or lost. Every step is a compare-and-set in SQL."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, exists, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.statements import execute_dml
from app.jobs.definitions import JOBS, LATE_AFTER
from app.jobs.run import Run
from app.models import JobRun, JobSchedule, Process

LOST = "WorkerLost"
# Literals, because a partial index is used only if the statement itself contains its condition.
QUEUED: ColumnElement[str] = literal_column("'queued'")
RUNNING: ColumnElement[str] = literal_column("'running'")
# More than a worker can start at a time.
MAX_READY = 20
_SCHEDULED = [job.name for job in JOBS.values() if job.cron is not None]


@dataclass(frozen=True)
class Failure:
    """What ended an attempt."""

    error_class: str
    error: str
    traceback: str = ""


def ready(now: datetime) -> Select[int, int]:
    """Id and attempts so far of the runs that may start, the oldest first."""
    other = aliased(JobRun)
    blocked = exists().where(other.name == JobRun.name, other.status == RUNNING) & JobRun.name.in_(_SCHEDULED)
    return select(JobRun.id, JobRun.attempt).where(is_ready(now), ~blocked).order_by(JobRun.id).limit(MAX_READY)


def is_ready(now: datetime) -> ColumnElement[bool]:
    """Over `JobRun`: it may start now."""
    waited = or_(JobRun.not_before.is_(None), JobRun.not_before <= now)
    return (JobRun.status == QUEUED) & waited & JobRun.name.in_(JOBS)


async def claim(db: AsyncSession, run_id: int, *, process_id: str, now: datetime) -> JobRun | None:
    """Take a queued run for this process. None if it is not ready, another process has it, or its job is already running."""
    run: JobRun | None = await db.scalar(select(JobRun).where(JobRun.id == run_id, is_ready(now)).with_for_update(skip_locked=True))
    if run is None or not await _may_start(db, run):
        return None
    if run.attempt == 0:
        run.is_late = run.trigger == "schedule" and now - run.due_at > LATE_AFTER
    run.status, run.process_id, run.attempt = "running", process_id, run.attempt + 1
    run.started_at, run.not_before, run.done, run.total, run.counts = now, None, None, None, {}
    return run


async def succeed(db: AsyncSession, run: Run, *, now: datetime) -> bool:
    """False, here and in the functions below: the run no longer belongs to this attempt, and nothing was written."""
    row = await _lock_mine(db, run)
    if row is None:
        return False
    _end(row, "succeeded", run, now)
    row.error_class = row.error = row.traceback = None
    await execute_dml(db, update(JobSchedule).where(JobSchedule.name == run.name).values(last_success_at=now))
    return True


async def cancel(db: AsyncSession, run: Run, *, now: datetime) -> bool:
    row = await _lock_mine(db, run)
    if row is not None:
        _end(row, "cancelled", run, now)
    return row is not None


async def fail(db: AsyncSession, run: Run, failure: Failure, *, now: datetime) -> bool:
    """Schedules another attempt after a pause, unless this was the last one."""
    row = await _lock_mine(db, run)
    if row is None:
        return False
    _end(row, "failed", run, now)
    _note_failure(row, failure, now, pause=True)
    return True


async def release(db: AsyncSession, run: Run, *, now: datetime) -> bool:
    """Queue the run again because this process stops; the attempt does not count."""
    row = await _lock_mine(db, run)
    if row is not None:
        row.status, row.attempt, row.process_id = "queued", row.attempt - 1, None
        if row.cancel_requested_at is not None:
            _end(row, "cancelled", run, now)
    return row is not None


def orphans(me: str, mine: set[int], is_live: ColumnElement[bool]) -> Select[int, int]:
    """Id and attempt of running runs whose process is dead, or is this process without having them among `mine`."""
    lives = exists().where(Process.id == JobRun.process_id, is_live)
    dead = ~lives & (JobRun.process_id != me)
    forgotten = (JobRun.process_id == me) & JobRun.id.not_in(mine)
    return select(JobRun.id, JobRun.attempt).where(JobRun.status == RUNNING, or_(dead, forgotten))


async def reclaim_orphan(db: AsyncSession, run_id: int, attempt: int, *, now: datetime) -> None:
    """Queue a dead process's run again at once, or fail it if it has used up its tries."""
    found = select(JobRun).where(JobRun.id == run_id, JobRun.status == "running", JobRun.attempt == attempt)
    row: JobRun | None = await db.scalar(found.with_for_update(skip_locked=True))
    if row is not None and row.cancel_requested_at is not None:
        row.status, row.finished_at = "cancelled", now
    elif row is not None:
        _note_failure(row, Failure(LOST, f"The process {row.process_id} ended, or was silent for too long."), now, pause=False)


async def _may_start(db: AsyncSession, run: JobRun) -> bool:
    """A scheduled job runs once at a time; the row of its schedule is the lock."""
    if JOBS[run.name].cron is None:
        return True
    await db.execute(select(JobSchedule.name).where(JobSchedule.name == run.name).with_for_update())
    return await db.scalar(select(JobRun.id).where(JobRun.name == run.name, JobRun.status == RUNNING).limit(1)) is None


async def _lock_mine(db: AsyncSession, run: Run) -> JobRun | None:
    row: JobRun | None = await db.scalar(select(JobRun).where(*run.is_mine()).with_for_update())
    return row


def _end(row: JobRun, status: str, run: Run, now: datetime) -> None:
    row.status, row.finished_at, row.counts = status, now, run.counts
    if row.started_at is not None:
        row.took_ms = max(0, round((now - row.started_at).total_seconds() * 1000))


def _note_failure(row: JobRun, failure: Failure, now: datetime, *, pause: bool) -> None:
    row.error_class, row.error, row.traceback = failure.error_class, failure.error, failure.traceback
    job = JOBS.get(row.name)
    if job is None or row.attempt >= job.tries:
        row.status, row.finished_at = "failed", now
        return
    attempt = {"attempt": row.attempt, "process_id": row.process_id, "started_at": row.started_at and row.started_at.isoformat()}
    what = {"error_class": failure.error_class, "error": failure.error, "traceback": failure.traceback}
    row.earlier_attempts = [*row.earlier_attempts, attempt | {"ended_at": now.isoformat()} | what]
    row.status, row.process_id, row.finished_at = "queued", None, None
    row.not_before = now + job.pause * 2 ** (row.attempt - 1) if pause else None
