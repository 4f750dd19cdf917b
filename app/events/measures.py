"""Statistics: from an event to the measures it adds to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import insert_into
from app.models import Analytics, Event
from app.models.event_stream import ALL_ORGANISATIONS, NO_ORGANISATION

# Hours, for good, and five minutes, for the last days (events/rollup.py).
HOUR, FIVE_MINUTES = 60, 5
# Upper edges in milliseconds. The targets of a restore are 10 ms at p99 with an alert at 50 ms, so those are edges.
RESTORE_EDGES_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 1000)
SLOWER = "slower"
_BY_KIND = {
    "deal.selected": "selected",
    "deal.cleared": "cleared",
    "login.succeeded": "login",
    "login.failed": "login_failed",
    "login.ended": "login_ended",
    "member.granted": "shared",
    "member.revoked": "revoked",
}
EVERYTHING, RESTORE_MS = "events", "restore_ms"


class Measure(NamedTuple):
    name: str
    amount: float = 0


class _Row(NamedTuple):
    resolution: int
    start: datetime
    organisation_id: int
    measure: str


async def count_events(db: AsyncSession, events: Iterable[Event], _now: datetime) -> None:
    """Add these events to the statistics. Not idempotent: the caller passes each event once."""
    counts: dict[_Row, int] = defaultdict(int)
    totals: dict[_Row, float] = defaultdict(float)
    for event in events:
        for measure in measures_of(event):
            for resolution, organisation in (
                (HOUR, event.organisation_id or NO_ORGANISATION),
                (HOUR, ALL_ORGANISATIONS),
                (FIVE_MINUTES, ALL_ORGANISATIONS),
            ):
                row = _Row(resolution, period_of(event.at, resolution), organisation, measure.name)
                counts[row] += 1
                totals[row] += measure.amount
    if not counts:
        return
    # In one order, so that two workers that count the same hour wait for each other and do not deadlock.
    rows = [{**row._asdict(), "count": counts[row], "total": totals[row]} for row in sorted(counts)]
    statement = insert_into(db, Analytics)
    added = {"count": Analytics.count + statement.excluded["count"], "total": Analytics.total + statement.excluded.total}
    await db.execute(statement.on_conflict_do_update(index_elements=list(_Row._fields), set_=added), rows)


def measures_of(event: Event) -> Iterator[Measure]:
    """Raises for a payload that is not what the kind has."""
    yield Measure(EVERYTHING)
    if event.kind in _BY_KIND:
        yield Measure(_BY_KIND[event.kind])
    elif event.kind == "deal.restored":
        yield Measure(event.payload.get("source", "restored"))
        if (took := event.payload.get("ms")) is not None:
            yield Measure(RESTORE_MS, float(took))
            yield Measure(bucket_of(float(took)))
    elif event.kind == "deal.restore_refused":
        yield Measure(event.payload.get("reason", "refused_revoked"))
    elif event.kind == "backend.flipped":
        yield Measure(f"flip_{event.payload.get('mode', 'sql')}")


def bucket_of(milliseconds: float) -> str:
    """The measure of the histogram's bar."""
    return bucket_name(next((edge for edge in RESTORE_EDGES_MS if milliseconds <= edge), None))


def bucket_name(edge: float | None) -> str:
    return f"{RESTORE_MS}:{SLOWER if edge is None else f'{edge:g}'}"


def period_of(moment: datetime, minutes: int) -> datetime:
    """The beginning of the period `moment` lies in."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day + (moment - day) // timedelta(minutes=minutes) * timedelta(minutes=minutes)
