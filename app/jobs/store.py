"""Queries on the schedule and on runs. Lists are keyset pages, the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.errors import NotFound
from app.jobs.definitions import names_of
from app.models import JobRun, JobSchedule

PAGE = 50


@dataclass(frozen=True)
class RunFilter:
    """Filters of a list of runs; None means any. `before_id` is the last id of the previous page."""

    name: str | None = None
    status: str | None = None
    trigger: str | None = None
    error_class: str | None = None
    before_id: int | None = None


@dataclass(frozen=True)
class Waiting:
    """How many runs are queued, and since when the oldest."""

    count: int
    oldest_queued_at: datetime | None


@dataclass(frozen=True)
class FailureGroup:
    """Failed runs of one job with one error class, except those already retried."""

    name: str
    error_class: str
    count: int
    last_id: int


async def get_run(db: AsyncSession, run_id: int) -> JobRun:
    """Raises `NotFound`."""
    return await _found(db, select(JobRun).where(JobRun.id == run_id))


async def lock_run(db: AsyncSession, run_id: int) -> JobRun:
    """The run, locked until the transaction ends. Raises `NotFound`."""
    return await _found(db, select(JobRun).where(JobRun.id == run_id).with_for_update())


async def find_state(db: AsyncSession, which: Sequence[ColumnElement[bool]]) -> Row[str, datetime | None] | None:
    """`status` and `cancel_requested_at` of the run that matches."""
    return (await db.execute(select(JobRun.status, JobRun.cancel_requested_at).where(*which))).first()


async def list_runs(db: AsyncSession, wanted: RunFilter = RunFilter(), *, limit: int = PAGE) -> list[JobRun]:
    runs = select(JobRun).order_by(JobRun.id.desc()).limit(limit)
    for name in ("name", "status", "trigger", "error_class"):
        if (value := getattr(wanted, name)) is not None:
            runs = runs.where(getattr(JobRun, name) == value)
    if wanted.before_id is not None:
        runs = runs.where(JobRun.id < wanted.before_id)
    return list(await db.scalars(runs))


async def get_schedule(db: AsyncSession, name: str, *, lock: bool = False) -> JobSchedule:
    """Raises `NotFound` for a job without a schedule, and before the first worker has started."""
    found = select(JobSchedule).where(JobSchedule.name == name)
    schedule: JobSchedule | None = await db.scalar(found.with_for_update() if lock else found)
    if schedule is None:
        raise NotFound(f"{name} has no schedule, or no worker has started yet.")
    return schedule


async def list_schedules(db: AsyncSession, *statuses: str) -> list[tuple[JobSchedule, JobRun | None]]:
    """Every schedule with its job's last run of any trigger; with `statuses`, the last one in one of these states."""
    run = aliased(JobRun)
    ids = select(run.id).where(run.name == JobSchedule.name, *([run.status.in_(statuses)] if statuses else []))
    last = ids.order_by(run.id.desc()).limit(1).correlate(JobSchedule).scalar_subquery()
    rows = await db.execute(select(JobSchedule, JobRun).outerjoin(JobRun, JobRun.id == last).order_by(JobSchedule.name))
    return [(row[0], row[1]) for row in rows]


async def count_waiting(db: AsyncSession) -> Waiting:
    row = (await db.execute(select(func.count(), func.min(JobRun.queued_at)).where(JobRun.status == literal_column("'queued'")))).one()
    return Waiting(row[0], row[1])


def failures(name: str, error_class: str) -> Select[JobRun]:
    """The open failures of one group."""
    return select(JobRun).where(
        JobRun.status == "failed", JobRun.name.in_(names_of(name)), JobRun.error_class == error_class, JobRun.retried_at.is_(None)
    )


async def list_failures(db: AsyncSession, *, limit: int = PAGE) -> list[FailureGroup]:
    """Open failures by job and error class, the latest group first."""
    last = func.max(JobRun.id)
    open_ones = select(JobRun.name, JobRun.error_class, func.count(), last).where(JobRun.status == "failed", JobRun.retried_at.is_(None))
    rows = await db.execute(open_ones.group_by(JobRun.name, JobRun.error_class).order_by(last.desc()).limit(limit))
    return [FailureGroup(row[0], row[1] or "", row[2], row[3]) for row in rows]


async def _found(db: AsyncSession, statement: Select[JobRun]) -> JobRun:
    run: JobRun | None = await db.scalar(statement)
    if run is None:
        raise NotFound("There is no such run.")
    return run
