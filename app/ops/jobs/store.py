"""Queries of the console on jobs: a history that can be filtered and sorted, and figures over time. Every one follows an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, cast, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.jobs.definitions import LATE_AFTER, names_of
from app.models import JobRun, JobSchedule, User
from app.ops.statistics.windows import Window

# By name in an address: the column, and whether its greatest value comes first.
SORTS: dict[str, tuple[Any, bool]] = {
    "newest": (JobRun.id, True),
    "oldest": (JobRun.id, False),
    "longest": (JobRun.took_ms, True),
    "shortest": (JobRun.took_ms, False),
}
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class RunsWanted:
    job: str | None = None
    status: str | None = None
    trigger: str | None = None
    error_class: str | None = None
    sort: str = "newest"


async def list_history(
    db: AsyncSession, wanted: RunsWanted, *, after: tuple[Any, Any] | None, limit: int
) -> Sequence[tuple[JobRun, str | None]]:
    """Runs with the address of whoever asked for them. `after` is (key, id) of the last row of the page before."""
    key, descending = SORTS[wanted.sort]
    asker = aliased(User)
    found = select(JobRun, asker.email).outerjoin(asker, asker.id == JobRun.requested_by_id).where(*_conditions(wanted))
    columns = [JobRun.id]
    if key is JobRun.took_ms:
        # What has not ended yet has no length, and would only be in the way.
        found, columns = found.where(JobRun.took_ms.is_not(None)), [JobRun.took_ms, JobRun.id]
    if after is not None:
        # As one comparison of rows, which an index answers at any depth.
        position, here = tuple_(*after[-len(columns) :]), tuple_(*columns)
        found = found.where(here < position if descending else here > position)
    order = [column.desc() if descending else column.asc() for column in columns]
    return [(run, email) for run, email in await db.execute(found.order_by(*order).limit(limit))]


def _conditions(wanted: RunsWanted) -> list[ColumnElement[bool]]:
    pairs = (
        (JobRun.status, wanted.status),
        (JobRun.trigger, wanted.trigger),
        (JobRun.error_class, wanted.error_class),
    )
    of_job = [JobRun.name.in_(names_of(wanted.job))] if wanted.job else []
    return [*of_job, *(column == value for column, value in pairs if value)]


async def list_active(db: AsyncSession, *, limit: int) -> list[JobRun]:
    """What runs now, then what waits, the oldest first."""
    running = await db.scalars(select(JobRun).where(JobRun.status == "running").order_by(JobRun.id).limit(limit))
    queued = await db.scalars(select(JobRun).where(JobRun.status == "queued").order_by(JobRun.id).limit(limit))
    return [*running, *queued][:limit]


async def count_active(db: AsyncSession) -> dict[str, int]:
    """By status, of what has not ended; open failures too. Along the indexes on the status."""
    rows = await db.execute(select(JobRun.status, func.count()).where(JobRun.status.in_(("queued", "running"))).group_by(JobRun.status))
    counts = {"queued": 0, "running": 0} | dict(rows.all())
    failed = select(func.count()).select_from(JobRun).where(JobRun.status == "failed", JobRun.retried_at.is_(None))
    return counts | {"failed": await db.scalar(failed) or 0}


async def count_missed(db: AsyncSession, now: datetime) -> int:
    """Schedules whose time came and went without anybody there to queue a run."""
    missed = select(func.count()).select_from(JobSchedule)
    return await db.scalar(missed.where(JobSchedule.next_due_at < now - LATE_AFTER, JobSchedule.paused_at.is_(None))) or 0


@dataclass(frozen=True)
class RunFigures:
    """Of a bucket: how many runs ended in each way, and how long nineteen of twenty took at most."""

    ended: dict[str, int]
    p95_ms: int | None


async def figures(db: AsyncSession, window: Window, now: datetime) -> list[RunFigures]:
    """By bucket of the window, the oldest first. The database counts and ranks."""
    starts = window.starts(now)
    size = int(window.bucket.total_seconds())
    first = int(starts[0].timestamp()) // size
    bucket = (_unix_seconds(db, JobRun.finished_at).op("/")(size)).label("bucket")
    within = JobRun.finished_at >= starts[0]
    ended: list[dict[str, int]] = [dict.fromkeys(ENDED, 0) for _ in starts]
    for number, status, count in await db.execute(
        select(bucket, JobRun.status, func.count()).where(within).group_by(bucket, JobRun.status)
    ):
        if 0 <= number - first < len(starts) and status in ENDED:
            ended[number - first][status] = count
    ranked = (
        select(
            bucket,
            JobRun.took_ms,
            func.row_number().over(partition_by=bucket, order_by=JobRun.took_ms).label("rank"),
            func.count().over(partition_by=bucket).label("total"),
        )
        .where(within, JobRun.took_ms.is_not(None))
        .subquery()
    )
    p95 = select(ranked.c.bucket, func.min(ranked.c.took_ms)).where(ranked.c.rank * 20 >= ranked.c.total * 19).group_by(ranked.c.bucket)
    lengths = {number - first: took_ms for number, took_ms in await db.execute(p95)}
    return [RunFigures(counts, lengths.get(index)) for index, counts in enumerate(ended)]


def _unix_seconds(db: AsyncSession, moment: Any) -> ColumnElement[int]:
    if db.get_bind().dialect.name == "postgresql":
        return cast(func.floor(func.extract("epoch", moment)), Integer)
    return cast(func.strftime("%s", moment), Integer)
