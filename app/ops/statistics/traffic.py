"""Counters of the web processes, stored in SQL by minute, so that charts work with Redis down.

Each process adds what it counted since the last time to the row of the minute, so the table holds one row a minute
whatever the number of processes. A process that is killed loses the minute it had not written yet; nothing else is counted from it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Unavailable
from app.core.metrics import METRICS, RESTORE_BUCKETS
from app.core.statements import execute_dml, insert_into
from app.models import Traffic
from app.ops.statistics.windows import Window
from app.resources import Resources

log = structlog.get_logger()

INTERVAL = timedelta(minutes=1)
RETENTION = timedelta(days=35)
COLUMNS = tuple(column.name for column in Traffic.__table__.columns if column.name != "minute")
BUCKET_COLUMNS = tuple(name for name in COLUMNS if name.startswith(("restore_within_", "restore_over_")))
# Where each counter of `app/core/metrics.py` goes, by its labels.
_RESTORES = {
    "restored": "restored",
    "only_deal": "only_deal",
    "refused_deleted": "restores_refused",
    "refused_revoked": "restores_refused",
    "none": "nothing_to_restore",
    "error": "restores_failed",
}
_READS = {"redis": "reads_redis", "sql": "reads_sql", "redis_failed": "reads_redis_failed"}
_SELECTIONS = {"selected": "selected", "refused": "selections_refused"}


class Recorder:
    """Of one web process."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._recorded = read_counters()

    async def run(self) -> None:
        """Run until cancelled. An outage of SQL only delays: counts are added later."""
        while True:
            await asyncio.sleep(INTERVAL.total_seconds())
            try:
                await self.record()
            except Unavailable as outage:
                log.warning("The figures of the last minute could not be written; they are added to the next.", fault=outage.detail)
            except Exception:  # a chart must not end the process
                log.exception("The figures of the last minute could not be written.")

    async def record(self) -> None:
        """Add what was counted since the last time. Writes nothing where nothing was."""
        now = read_counters()
        new = {name: now[name] - self._recorded[name] for name in COLUMNS if now[name] > self._recorded[name]}
        if new:
            moment = self.resources.clock.now()
            async with self.resources.database.write() as db:
                await add(db, moment, new)
                await execute_dml(db, delete(Traffic).where(Traffic.minute < to_minute(moment - RETENTION)))
        self._recorded = now


async def add(db: AsyncSession, moment: datetime, counts: Mapping[str, int]) -> None:
    statement = insert_into(db, Traffic).values(minute=to_minute(moment), **counts)
    added: dict[str, Any] = {name: getattr(Traffic, name) + statement.excluded[name] for name in counts}
    await db.execute(statement.on_conflict_do_update(index_elements=["minute"], set_=added))


def to_minute(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def read_counters() -> dict[str, int]:
    """What this process has counted since its start, by column."""
    counts = dict.fromkeys(COLUMNS, 0)
    for labels, value in _samples(METRICS.http_requests, "_total"):
        counts["requests"] += value
        counts["failures"] += value if labels["status"] == "5xx" else 0
    for counter, label, columns in (
        (METRICS.restores, "outcome", _RESTORES),
        (METRICS.session_reads, "by", _READS),
        (METRICS.selections, "outcome", _SELECTIONS),
    ):
        for labels, value in _samples(counter, "_total"):
            if column := columns.get(labels[label]):
                counts[column] += value
    within = [value for _, value in _samples(METRICS.restore_seconds, "_bucket")]
    for name, value, before in zip(BUCKET_COLUMNS, within, [0, *within], strict=False):
        counts[name] = value - before
    return counts


def _samples(instrument: Any, suffix: str) -> Iterable[tuple[dict[str, str], int]]:
    for family in instrument.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix):
                yield sample.labels, int(sample.value)


@dataclass
class Counts:
    """Sums over a bucket or a window, by column."""

    of: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.of[name]

    @property
    def hit_ratio(self) -> float | None:
        """Of the session reads that were answered, the share that Redis answered, in per cent."""
        return _share(self["reads_redis"], self["reads_redis"] + self["reads_sql"])

    @property
    def restore_rate(self) -> float | None:
        """Refusals count as failures."""
        done = self["restored"] + self["only_deal"]
        return _share(done, done + self["restores_refused"] + self["restores_failed"])

    @property
    def restore_rate_of_possible(self) -> float | None:
        """Of what could be restored: a deal that is gone could not."""
        done = self["restored"] + self["only_deal"]
        return _share(done, done + self["restores_failed"])

    @property
    def selection_errors(self) -> float | None:
        return _share(self["selections_refused"], self["selected"] + self["selections_refused"])

    @property
    def failure_rate(self) -> float | None:
        return _share(self["failures"], self["requests"])

    def restore_quantile_ms(self, share: float) -> float | None:
        """By straight lines within the buckets of the histogram, as Prometheus estimates it. Above the last edge: that edge."""
        total = sum(self[name] for name in BUCKET_COLUMNS)
        if not total:
            return None
        wanted, seen, lower = share * total, 0, 0.0
        for name, upper in zip(BUCKET_COLUMNS, RESTORE_BUCKETS, strict=False):
            count = self[name]
            if count and seen + count >= wanted:
                return round((lower + (upper - lower) * (wanted - seen) / count) * 1000, 3)
            seen, lower = seen + count, upper
        return RESTORE_BUCKETS[-1] * 1000


async def load(db: AsyncSession, window: Window, now: datetime) -> tuple[list[Counts], Counts]:
    """By bucket, the oldest first, and over the whole window. The database adds up, along the key."""
    starts = window.starts(now)
    minutes = int(window.bucket.total_seconds()) // 60
    first = to_minute(starts[0]) // minutes
    bucket = (Traffic.minute.op("/")(minutes)).label("bucket")
    sums = [func.sum(getattr(Traffic, name)) for name in COLUMNS]
    rows = await db.execute(select(bucket, *sums).where(Traffic.minute >= first * minutes).group_by(bucket))
    buckets = [Counts(dict.fromkeys(COLUMNS, 0)) for _ in starts]
    for number, *values in rows:
        if 0 <= number - first < len(buckets):
            buckets[number - first] = Counts({name: int(value) for name, value in zip(COLUMNS, values, strict=True)})
    return buckets, Counts({name: sum(each[name] for each in buckets) for name in COLUMNS})


def _share(part: int, whole: int) -> float | None:
    return round(part / whole * 100, 3) if whole else None
