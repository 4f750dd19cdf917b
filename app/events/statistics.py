"""Statistics of the last hour, day or week for operators and administrators, from the roll-ups alone."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.events.measures import FIVE_MINUTES, HOUR, RESTORE_EDGES_MS, RESTORE_MS, bucket_name, period_of
from app.models import Analytics
from app.models.event_stream import ALL_ORGANISATIONS

StatisticsWindow = Literal["1h", "24h", "7d"]
WINDOWS: dict[StatisticsWindow, timedelta] = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
# What came back without a click, and what had to be refused; the measures of `measures.py`.
CAME_BACK = ("restored", "only_deal")
REFUSED = ("refused_deleted", "refused_revoked")


@dataclass(frozen=True)
class Period:
    """What happened from `start` on, by measure; a measure that is absent did not happen."""

    start: datetime
    counts: dict[str, int] = field(default_factory=dict)

    def of(self, *measures: str) -> int:
        return sum(self.counts.get(each, 0) for each in measures)


@dataclass(frozen=True)
class RestoreTimes:
    """How long restores took. A percentile is the upper edge of the bar it falls into, None where it is beyond the last."""

    measured: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    # (upper edge in ms, None for what took longer; how many)
    histogram: list[tuple[float | None, int]]


@dataclass(frozen=True)
class Figures:
    """`periods` are all of the window, in order, those in which nothing happened too: 5 minutes each for 1h, else an hour."""

    window: StatisticsWindow
    since: datetime
    counts: dict[str, int]
    restore_rate: float | None
    restore_times: RestoreTimes
    periods: list[Period]

    def of(self, *measures: str) -> int:
        return sum(self.counts.get(each, 0) for each in measures)


async def read_figures(db: AsyncSession, window: StatisticsWindow, *, now: datetime, organisation_id: int | None = None) -> Figures:
    """Over all organisations, or of one; then the last hour is the hours it touches. One statement.

    `restore_rate` counts refusals as failures, as the targets do; None where there was nothing to restore.
    """
    resolution = FIVE_MINUTES if window == "1h" and organisation_id is None else HOUR
    # The period under way, and as many full ones before it as the window has.
    since = period_of(now - WINDOWS[window], resolution)
    chosen = ALL_ORGANISATIONS if organisation_id is None else organisation_id
    rows = select(Analytics.start, Analytics.measure, Analytics.count, Analytics.total).where(
        Analytics.resolution == resolution, Analytics.start >= since, Analytics.organisation_id == chosen
    )
    starts = _starts(since, now, resolution)
    by_period: dict[datetime, dict[str, int]] = {start: {} for start in starts}
    counts: dict[str, int] = {}
    milliseconds = 0.0
    for start, measure, number, total in await db.execute(rows):
        by_period.setdefault(start, {})[measure] = number
        counts[measure] = counts.get(measure, 0) + number
        milliseconds += total if measure == RESTORE_MS else 0
    came_back, refused = (sum(counts.get(each, 0) for each in group) for group in (CAME_BACK, REFUSED))
    return Figures(
        window=window,
        since=since,
        counts=counts,
        restore_rate=came_back / (came_back + refused) if came_back + refused else None,
        restore_times=_times(counts, milliseconds),
        periods=[Period(start, found) for start, found in sorted(by_period.items())],
    )


def _starts(since: datetime, now: datetime, minutes: int) -> list[datetime]:
    step = timedelta(minutes=minutes)
    return [since + number * step for number in range((now - since) // step + 1)]


def _times(counts: dict[str, int], milliseconds: float) -> RestoreTimes:
    edges: list[float | None] = [*RESTORE_EDGES_MS, None]
    histogram = [(edge, counts.get(bucket_name(edge), 0)) for edge in edges]
    measured = counts.get(RESTORE_MS, 0)
    p50, p95, p99 = (_percentile(histogram, measured, share) for share in (0.5, 0.95, 0.99))
    return RestoreTimes(measured, milliseconds / measured if measured else None, p50, p95, p99, histogram)


def _percentile(histogram: list[tuple[float | None, int]], measured: int, share: float) -> float | None:
    seen = 0
    for edge, number in histogram:
        seen += number
        if measured and seen >= share * measured:
            return edge
    return None
