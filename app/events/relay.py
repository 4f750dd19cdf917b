"""From the outbox to the stream: the outbox row goes only once the event is in the stream, which may have it twice but never misses it."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import Database
from app.core.redis import RedisClient
from app.core.statements import execute_dml
from app.events.streams import GROUPS, STREAM
from app.models import Event, EventMark, Outbox

BATCH = 200
# Beyond this the rest waits in SQL, where it costs nothing, rather than in Redis' memory.
MAX_IN_STREAM = 50_000


async def relay_once(database: Database, redis: RedisClient, *, batch: int = BATCH) -> int:
    """Send the oldest events of the outbox and return how many. On `Unavailable` they stay in the outbox."""
    if database.dialect == "postgresql":
        async with database.write() as db:
            # Two workers share the outbox. No longer than one answer of Redis: the database ends a transaction that idles.
            events = await _oldest(db, batch, lock=True)
            sent = await _send(redis, events)
            await _forget(db, events[:sent])
        return sent
    # One writer must not make the others wait for Redis; what two workers both send is dropped by the groups.
    async with database.read() as db:
        events = await _oldest(db, batch)
    if sent := await _send(redis, events):
        async with database.write() as db:
            await _forget(db, events[:sent])
    return sent


async def empty_without_redis(database: Database) -> None:
    """Without a stream, delete the outbox rows of events that every group has processed."""
    async with database.read() as db:
        marks = {mark.consumer_group: mark.event_id for mark in await db.scalars(select(EventMark))}
        done = min(marks.get(group, 0) for group in GROUPS)
        waits = await db.scalar(select(func.min(Outbox.event_id)))
    if waits is not None and waits <= done:
        async with database.write() as db:
            await execute_dml(db, delete(Outbox).where(Outbox.event_id <= done))


async def _oldest(db: AsyncSession, batch: int, *, lock: bool = False) -> Sequence[Event]:
    oldest = select(Event).join(Outbox, Outbox.event_id == Event.id).order_by(Outbox.event_id).limit(batch)
    if lock:
        oldest = oldest.with_for_update(of=Outbox, skip_locked=True)
    return (await db.scalars(oldest)).all()


async def _send(redis: RedisClient, events: Sequence[Event]) -> int:
    if not events:
        return 0
    async with redis.deadline() as commands:
        stream = redis.keys.name(STREAM)
        room: int = MAX_IN_STREAM - await commands.xlen(stream)
        if room <= 0:
            return 0
        async with commands.pipeline(transaction=False) as pipe:
            for event in events[:room]:
                pipe.xadd(stream, {"event": str(event.id), "body": body_of(event)})
            await pipe.execute()
    return min(len(events), room)


async def _forget(db: AsyncSession, events: Sequence[Event]) -> None:
    await execute_dml(db, delete(Outbox).where(Outbox.event_id.in_([event.id for event in events])))


def body_of(event: Event) -> bytes:
    """The whole event as JSON, for readers without our database. Our own groups take the id and read SQL, which cannot be forged."""
    names = ("id", "kind", "at", "organisation_id", "actor_id", "user_id", "deal_id", "request_id", "payload")
    return msgspec.json.encode({name: getattr(event, name) for name in names})
