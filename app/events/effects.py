"""What the consumer groups do with events, exactly once each.

The effect and the row that says it is done are one transaction, so an event may be delivered any number of times, by the
stream or from SQL. Below a group's mark everything is done; the rows there are deleted, so that they do not pile up.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.database import Database
from app.core.errors import Unavailable
from app.core.statements import execute_dml, insert_into
from app.events.measures import count_events
from app.events.notify import write_notices
from app.events.settled import commit_watermark
from app.models import DeadLetter, Event, EventEffect, EventMark

log = structlog.get_logger()

Effect = Callable[[AsyncSession, Sequence[Event], datetime], Awaitable[None]]
EFFECTS: dict[str, Effect] = {"analytics": count_events, "notify": write_notices}
# Small enough that on SQLite nobody waits noticeably behind one transaction.
BATCH = 200
# After so many failures an event becomes a dead letter.
TRIES = 5
# An outage, or tables that a migration has yet to make, is not the event's fault and does not count.
TRANSIENT_ERRORS = (Unavailable, ProgrammingError)


class UnknownEvent(Exception):
    """The stream names an event that SQL does not have: SQL was restored from a backup, or the entry is forged."""


async def apply(database: Database, clock: Clock, group: str, event_ids: Sequence[int]) -> int:
    """Apply the effect of these events in one transaction, except where already applied. Returns how many were new.

    Raises what the effect raises; then none is applied.
    """
    async with database.write() as db:
        mark = await _hold_mark(db, group)
        wanted = sorted({event_id for event_id in event_ids if event_id > mark})
        if not wanted:
            return 0
        claim = insert_into(db, EventEffect).values([{"consumer_group": group, "event_id": event_id} for event_id in wanted])
        fresh = set(await db.scalars(claim.on_conflict_do_nothing().returning(EventEffect.event_id)))
        events = (await db.scalars(select(Event).where(Event.id.in_(fresh)).order_by(Event.id))).all()
        if len(events) < len(fresh):
            raise UnknownEvent(f"no event {min(fresh - {event.id for event in events})}")
        await EFFECTS[group](db, events, clock.now())
    return len(fresh)


async def dead_letter(
    database: Database,
    clock: Clock,
    group: str,
    *,
    entry_id: str,
    event_id: int | None,
    error: BaseException,
    deliveries: int,
    content: dict[str, Any] | None = None,
) -> bool:
    """Store an event, or an entry that names none, as a dead letter. False if its effect is applied or it is one already."""
    async with database.write() as db:
        if event_id is not None and await db.get(Event, event_id) is not None:
            if event_id <= await _hold_mark(db, group):
                return False
            claim = insert_into(db, EventEffect).values(consumer_group=group, event_id=event_id).on_conflict_do_nothing()
            if not await execute_dml(db, claim):
                return False
        values = {
            "consumer_group": group,
            "entry_id": entry_id,
            "event_id": event_id,
            "content": content or {},
            "error": f"{type(error).__name__}: {error}"[:2000],
            "deliveries": deliveries,
            "dead_at": clock.now(),
        }
        is_new = await execute_dml(db, insert_into(db, DeadLetter).values(**values).on_conflict_do_nothing())
        log.error("An event's effect failed for good; it is a dead letter now.", group=group, event_id=event_id, error=values["error"])
        return bool(is_new)


async def catch_up(
    database: Database,
    clock: Clock,
    group: str,
    *,
    older_than: timedelta = timedelta(0),
    failures: Counter[int] | None = None,
    limit: int = 10_000,
) -> int:
    """Apply missing effects from SQL alone: the stream lost the events, is down, or is not used.

    `older_than` leaves recent events to the stream. `failures` counts by event from call to call; one that failed
    `TRIES` times is put aside. Then moves the mark. Returns how many effects were new.
    """
    settled = await commit_watermark(database)
    applied = 0
    while settled is not None and applied < limit:
        async with database.read() as db:
            ids = (await db.scalars(_undone(group, settled).where(Event.at <= clock.now() - older_than).limit(BATCH))).all()
        done = await _apply_or_count(database, clock, group, ids, Counter() if failures is None else failures) if ids else 0
        applied += done
        if done < len(ids) or not ids:
            break
    if settled:
        await _move_mark(database, group, settled)
    return applied


async def retry_requeued(database: Database, clock: Clock) -> int:
    """Retry requeued dead letters once. Those that fail stay dead letters. Returns how many succeeded."""
    known = DeadLetter.consumer_group.in_(EFFECTS)  # a newer version's groups are for its workers
    asked_for = select(DeadLetter.id).where(known, DeadLetter.requeued_at.is_not(None), DeadLetter.resolved_at.is_(None))
    async with database.read() as db:
        ids = (await db.scalars(asked_for.limit(BATCH))).all()
    resolved = 0
    for letter_id in ids:
        try:
            resolved += await _retry(database, clock, letter_id)
        except TRANSIENT_ERRORS:
            raise
        except Exception as error:
            async with database.write() as db:
                letter = await db.get_one(DeadLetter, letter_id, with_for_update=True)
                letter.requeued_at, letter.deliveries, letter.dead_at = None, letter.deliveries + 1, clock.now()
                letter.error = f"{type(error).__name__}: {error}"[:2000]
    return resolved


async def _retry(database: Database, clock: Clock, letter_id: int) -> bool:
    async with database.write() as db:
        letter = await db.get_one(DeadLetter, letter_id, with_for_update=True)
        if letter.resolved_at is not None or letter.requeued_at is None:
            return False  # another worker was quicker
        event = await db.get(Event, letter.event_id)
        if event is None:
            raise UnknownEvent(f"no event {letter.event_id}")
        letter.resolved_at = clock.now()
        await EFFECTS[letter.consumer_group](db, [event], clock.now())
    return True


async def _apply_or_count(database: Database, clock: Clock, group: str, ids: Sequence[int], failures: Counter[int]) -> int:
    """All at once; if one fails, each half separately, down to the one that fails."""
    try:
        return await apply(database, clock, group, ids)
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:
        if (half := len(ids) // 2) > 0:
            return sum([await _apply_or_count(database, clock, group, part, failures) for part in (ids[:half], ids[half:])])
        failures[ids[0]] += 1
        log.warning("The effect of an event failed.", group=group, event_id=ids[0], error=repr(error), failures=failures[ids[0]])
        if failures[ids[0]] >= TRIES:
            tries = failures.pop(ids[0])
            await dead_letter(database, clock, group, entry_id=f"sql:{ids[0]}", event_id=ids[0], error=error, deliveries=tries)
        return 0


def _undone(group: str, settled: int) -> Any:
    mark = select(func.coalesce(func.max(EventMark.event_id), 0)).where(EventMark.consumer_group == group).scalar_subquery()
    done: ColumnElement[bool] = select(1).where(EventEffect.consumer_group == group, EventEffect.event_id == Event.id).exists()
    return select(Event.id).where(Event.id > mark, Event.id <= settled, ~done).order_by(Event.id)


async def _hold_mark(db: AsyncSession, group: str) -> int:
    """The mark, locked until the transaction ends, so that no row below it is deleted concurrently."""
    held = select(EventMark.event_id).where(EventMark.consumer_group == group).with_for_update(read=True)
    mark = await db.scalar(held)
    if mark is None:
        await db.execute(insert_into(db, EventMark).values(consumer_group=group, event_id=0).on_conflict_do_nothing())
        mark = await db.scalar(held)
    return mark or 0


async def _move_mark(database: Database, group: str, settled: int) -> None:
    """Advance the mark to the first event without its effect, and delete the rows below."""
    async with database.read() as db:
        first = await db.scalar(_undone(group, settled).limit(1))
        mark = await db.scalar(select(EventMark.event_id).where(EventMark.consumer_group == group)) or 0
    target = settled if first is None else first - 1
    if target <= mark:
        return
    # The update waits for whoever holds the mark, so none of them misses a row that says "done".
    async with database.write() as db:
        moved = update(EventMark).where(EventMark.consumer_group == group, EventMark.event_id < target).values(event_id=target)
        await execute_dml(db, moved)
        below = delete(EventEffect).where(EventEffect.consumer_group == group, EventEffect.event_id <= target)
        await execute_dml(db, below)
