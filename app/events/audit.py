"""The hash chain over the events, one per organisation and one for what belongs to none: sealed by the worker, verified nightly.

Events are sealed in the order of their ids, and only once no lower id can be committed any more. So an event without a
seal below the sealed end was not written by Holdfast, and nobody who selects a deal ever waits for a seal.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from sqlalchemy import Row, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from app.core.clock import Clock
from app.core.database import Database
from app.events.settled import commit_watermark
from app.models import Event, EventSeal
from app.models.event_stream import NO_ORGANISATION

# Events a transaction: read and hashed outside of it, so that it is over in milliseconds.
BATCH = 500
# Events per read of `verify`.
WINDOW = 2000
MAX_FAULTS = 100
BEFORE_THE_FIRST = "0" * 64
# One sealer at a time (PostgreSQL); beside FAILBACK_LOCK of sessions/backend.py.
SEAL_LOCK = 7302

Progress = Callable[[int, int], Awaitable[None]]

_COLUMNS = (
    Event.id,
    Event.kind,
    Event.at,
    Event.organisation_id,
    Event.actor_id,
    Event.user_id,
    Event.deal_id,
    Event.request_id,
    Event.payload,
)


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where: `problem` is changed, removed, inserted or broken_seal."""

    event_id: int
    organisation_id: int
    problem: str
    detail: str

    def __str__(self) -> str:
        chain = f"organisation {self.organisation_id}" if self.organisation_id else "no organisation"
        return f"event {self.event_id} of {chain}: {self.detail}"


@dataclass
class Verdict:
    """`faults` in the order of events, the first of them first, at most `MAX_FAULTS`. `heads`: the end of each chain.

    Whoever can rewrite every table can rewrite the end of a chain too; a head that was kept elsewhere shows that.
    """

    events: int = 0
    faults: list[Fault] = field(default_factory=list)
    heads: dict[int, tuple[int, str]] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return not self.faults


async def seal(database: Database, clock: Clock) -> int:
    """Append settled events to their chains; returns how many. Safe to run twice at once."""
    settled = await commit_watermark(database)
    sealed = 0
    while settled:
        async with database.read() as db:
            end = await db.scalar(select(func.max(EventSeal.event_id))) or 0
            found = select(*_COLUMNS).where(Event.id > end, Event.id <= settled).order_by(Event.id).limit(BATCH)
            events = (await db.execute(found)).all()
            heads = await _heads(db, {event.organisation_id or NO_ORGANISATION for event in events})
        if not events:
            break
        rows = _chained(events, heads, sealed_at=clock.now())
        if not await _insert(database, end, rows):
            break  # another worker was quicker
        sealed += len(rows)
    return sealed


async def verify(database: Database, clock: Clock, *, progress: Progress | None = None) -> Verdict:
    """Seal new events, then check every event and seal. `progress` gets the last id checked and the last of all."""
    await seal(database, clock)
    verdict = Verdict()
    async with database.read() as db:
        end = await db.scalar(select(func.max(EventSeal.event_id))) or 0
    low = 0
    while low < end and len(verdict.faults) < MAX_FAULTS:
        high = min(low + WINDOW, end)
        async with database.read() as db:
            events = {row.id: row for row in await db.execute(select(*_COLUMNS).where(Event.id > low, Event.id <= high))}
            within = (EventSeal.event_id > low) & (EventSeal.event_id <= high)
            seals = {seal.event_id: seal for seal in await db.scalars(select(EventSeal).where(within))}
        for event_id in sorted(events.keys() | seals.keys()):
            _check(verdict, event_id, events.get(event_id), seals.get(event_id))
        verdict.events += len(events)
        low = high
        if progress:
            await progress(low, end)
    return verdict


def _check(verdict: Verdict, event_id: int, event: Row[Any] | None, found: EventSeal | None) -> None:
    """One event and its seal, in the order of events, with `verdict.heads` at what came before."""
    if found is None:
        chain = (event.organisation_id if event else None) or NO_ORGANISATION
        words = "it has no seal although later events are sealed: it was inserted by hand, or its seal was removed"
        verdict.faults.append(Fault(event_id, chain, "inserted", words))
        return
    chain = found.organisation_id
    sequence, previous = verdict.heads.get(chain, (0, BEFORE_THE_FIRST))
    verdict.heads[chain] = (found.sequence, found.hash)
    if found.sequence != sequence + 1:
        words = f"its seal is number {found.sequence} of the chain and follows number {sequence}: seals were removed or renumbered"
        verdict.faults.append(Fault(event_id, chain, "broken_seal", words))
    elif found.previous_hash != previous:
        verdict.faults.append(Fault(event_id, chain, "broken_seal", "its seal does not follow the one before: a seal was changed"))
    elif event is None:
        verdict.faults.append(Fault(event_id, chain, "removed", f"it was sealed as number {found.sequence} and is gone: it was removed"))
    elif found.hash != _hash(event, chain, found.sequence, found.previous_hash):
        verdict.faults.append(Fault(event_id, chain, "changed", f"it is not what was sealed: it ({event.kind}) or its seal was changed"))


def _chained(events: Iterable[Row[Any]], heads: dict[int, tuple[int, str]], **values: Any) -> list[dict[str, Any]]:
    rows = []
    for event in events:
        chain = event.organisation_id or NO_ORGANISATION
        sequence, previous = heads.get(chain, (0, BEFORE_THE_FIRST))
        sequence += 1
        hashed = _hash(event, chain, sequence, previous)
        heads[chain] = (sequence, hashed)
        link = {"organisation_id": chain, "sequence": sequence, "event_id": event.id, "previous_hash": previous, "hash": hashed}
        rows.append(link | values)
    return rows


def _hash(event: Row[Any], chain: int, sequence: int, previous: str) -> str:
    """Over all of the event, its position and the previous hash, in a form that is the same on every database."""
    at = event.at.astimezone(UTC).isoformat(timespec="microseconds")
    ids = [event.id, event.organisation_id, event.actor_id, event.user_id, event.deal_id]
    said = [chain, sequence, previous, *ids, event.kind, at, event.request_id, event.payload]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


async def _heads(db: Any, chains: set[int]) -> dict[int, tuple[int, str]]:
    last = (
        select(EventSeal.organisation_id, func.max(EventSeal.sequence).label("sequence"))
        .where(EventSeal.organisation_id.in_(chains))
        .group_by(EventSeal.organisation_id)
        .subquery()
    )
    at_the_end = (EventSeal.organisation_id == last.c.organisation_id) & (EventSeal.sequence == last.c.sequence)
    rows = await db.execute(select(EventSeal.organisation_id, EventSeal.sequence, EventSeal.hash).join(last, at_the_end))
    return {row.organisation_id: (row.sequence, row.hash) for row in rows}


async def _insert(database: Database, end: int, rows: Sequence[dict[str, Any]]) -> bool:
    """False if the chain has moved on since `rows` were computed."""
    try:
        async with database.write() as db:
            if database.dialect == "postgresql" and not await db.scalar(text(f"SELECT pg_try_advisory_xact_lock({SEAL_LOCK})")):
                return False
            if (await db.scalar(select(func.max(EventSeal.event_id))) or 0) != end:
                return False
            await db.execute(insert(EventSeal), list(rows))
    except IntegrityError:
        return False
    return True
