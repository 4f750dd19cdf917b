"""State of the event stream, for operators: from SQL, and from Redis if it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import Select, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import from_unix_ms
from app.core.database import Database
from app.core.errors import StoreUnavailable
from app.core.redis import RedisClient
from app.core.statements import execute_dml
from app.events.service import record_event
from app.models import DeadLetter, Event, EventEffect, EventMark, Outbox

# After the prefix of the installation (app/core/redis_keys.py).
STREAM, DEAD_STREAM = "events", "events:dead"
GROUPS = ("analytics", "notify")
# Beyond this a backlog is shown as "more than".
MAX_COUNTED = 10_000


@dataclass(frozen=True)
class GroupState:
    """The backlog of a consumer group. What only Redis knows is None while it does not answer.

    `lag` is what is in the stream and was not handed out yet; `behind` are events in SQL, wherever they are on their way.
    """

    name: str
    behind: int
    dead_letters: int
    lag: int | None = None
    pending: int | None = None
    oldest_pending: timedelta | None = None
    consumers: int | None = None


@dataclass(frozen=True)
class StreamState:
    """`redis` is "ok", "not used" or the fault. A `length` includes what has been read and not been trimmed yet."""

    redis: str
    length: int | None
    groups: list[GroupState]
    outbox_backlog: int
    outbox_oldest_at: datetime | None
    dead_letters: int


async def read_stream_state(database: Database, redis: RedisClient | None, *, now: datetime) -> StreamState:
    """Raises `DatabaseUnavailable`; Redis may be in any state."""
    async with database.read() as db:
        backlog = await db.scalar(_count_some(select(Outbox.event_id))) or 0
        oldest = await db.scalar(select(Event.at).join(Outbox, Outbox.event_id == Event.id).order_by(Event.id).limit(1))
        dead: dict[str, int] = {row.consumer_group: row.number for row in await db.execute(_unresolved_by_group())}
        groups = [GroupState(name, await _count_behind(db, name), dead.get(name, 0)) for name in GROUPS]
    state = StreamState("not used", None, groups, backlog, oldest, sum(dead.values()))
    if redis is None:
        return state
    try:
        async with redis.deadline() as commands:
            return await _with_redis(state, commands, redis.keys.name(STREAM), now)
    except StoreUnavailable as fault:
        return StreamState(fault.detail, None, groups, backlog, oldest, state.dead_letters)


async def list_dead_letters(
    db: AsyncSession, *, group: str | None = None, resolved: bool = False, before: int | None = None, limit: int = 50
) -> Sequence[DeadLetter]:
    """The newest first; `before` is the id the last page ended with."""
    found = select(DeadLetter).where(DeadLetter.resolved_at.is_not(None) if resolved else DeadLetter.resolved_at.is_(None))
    if group:
        found = found.where(DeadLetter.consumer_group == group)
    if before is not None:
        found = found.where(DeadLetter.id < before)
    return (await db.scalars(found.order_by(DeadLetter.id.desc()).limit(limit))).all()


async def requeue_dead_letters(
    db: AsyncSession, ids: Sequence[int] | None = None, *, group: str | None = None, by: str, actor_id: int | None, now: datetime
) -> int:
    """Have the worker retry these, or all of a group, from SQL without Redis; returns how many. In the caller's transaction."""
    waiting = update(DeadLetter).where(DeadLetter.resolved_at.is_(None), DeadLetter.requeued_at.is_(None), DeadLetter.event_id.is_not(None))
    if ids is not None:
        waiting = waiting.where(DeadLetter.id.in_(ids))
    if group:
        waiting = waiting.where(DeadLetter.consumer_group == group)
    number = await execute_dml(db, waiting.values(requeued_at=now, requeued_by=by))
    if number:
        await record_event(db, "dead_letter.requeued", at=now, actor_id=actor_id, ids=list(ids or ()), group=group, count=number)
    return number


def _unresolved_by_group() -> Select[str, int]:
    return (
        select(DeadLetter.consumer_group, func.count().label("number"))
        .where(DeadLetter.resolved_at.is_(None))
        .group_by(DeadLetter.consumer_group)
    )


async def _count_behind(db: AsyncSession, group: str) -> int:
    mark = select(EventMark.event_id).where(EventMark.consumer_group == group).scalar_subquery()
    done = select(EventEffect.event_id).where(EventEffect.consumer_group == group, EventEffect.event_id == Event.id).exists()
    return await db.scalar(_count_some(select(Event.id).where(Event.id > func.coalesce(mark, 0), ~done))) or 0


def _count_some(rows: Select[Any]) -> Select[Any]:
    return select(func.count()).select_from(
        rows.with_only_columns(literal(1), maintain_column_froms=True).limit(MAX_COUNTED + 1).subquery()
    )


async def _with_redis(state: StreamState, commands: Redis, stream: str, now: datetime) -> StreamState:
    length = await commands.xlen(stream)
    try:
        reported: dict[str, Any] = {each["name"].decode(): each for each in await commands.xinfo_groups(stream)}
    except ResponseError:  # there is no stream yet
        reported = {}
    groups = [await _with_group(group, reported.get(group.name), commands, stream, now) for group in state.groups]
    return StreamState("ok", length, groups, state.outbox_backlog, state.outbox_oldest_at, state.dead_letters)


async def _with_group(group: GroupState, reported: dict[str, Any] | None, commands: Redis, stream: str, now: datetime) -> GroupState:
    if reported is None:
        return GroupState(group.name, group.behind, group.dead_letters, lag=0, pending=0, consumers=0)
    oldest = None
    if reported["pending"]:
        first = (await commands.xpending(stream, group.name))["min"]
        oldest = now - from_unix_ms(int(first.decode().split("-")[0])) if first else None
    return GroupState(group.name, group.behind, group.dead_letters, reported.get("lag"), reported["pending"], oldest, reported["consumers"])
