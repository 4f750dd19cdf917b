"""From events to notices. A notice holds ids only; its words are chosen when it is read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import insert_into
from app.models import Event, NoticeCounter, User, UserNotice

# The kind of notice to the person an event concerns. Losing a deal has its own words in the session (notice deal_unavailable).
_NOTICE_KINDS = {"member.granted": "deal.shared", "member.changed": "deal.role_changed", "deal.transferred": "deal.transferred"}


async def write_notices(db: AsyncSession, events: Sequence[Event], now: datetime) -> None:
    """Write a notice for each person concerned, except for what they did themselves. Raises for a payload that is not what the kind has."""
    wanted = [event for event in events if event.kind in _NOTICE_KINDS and event.user_id is not None and event.user_id != event.actor_id]
    # In one order, so that two workers wait for each other and do not deadlock; who is gone is told nothing.
    people = sorted(await db.scalars(select(User.id).where(User.id.in_({event.user_id for event in wanted}))))
    for user_id in people:
        mine = [event for event in wanted if event.user_id == user_id]
        last = await _count_up(db, user_id, len(mine))
        rows = [_row(event, sequence, now) for sequence, event in enumerate(mine, start=last - len(mine) + 1)]
        await db.execute(insert_into(db, UserNotice), rows)


async def _count_up(db: AsyncSession, user_id: int, number: int) -> int:
    """Take the next sequences. The counter's row is locked until the commit, so a person's notices appear in their order."""
    statement = insert_into(db, NoticeCounter).values(user_id=user_id, last=number)
    counted = statement.on_conflict_do_update(index_elements=["user_id"], set_={"last": NoticeCounter.last + number})
    return (await db.execute(counted.returning(NoticeCounter.last))).scalar_one()


def _row(event: Event, sequence: int, now: datetime) -> dict[str, Any]:
    role = event.payload.get("role")
    if role is not None and not isinstance(role, str):
        raise ValueError(f"a role is a word, not {role!r}")
    return {
        "user_id": event.user_id,
        "sequence": sequence,
        "kind": _NOTICE_KINDS[event.kind],
        "event_id": event.id,
        "actor_id": event.actor_id,
        "deal_id": event.deal_id,
        "payload": {"role": role} if role else {},
        "created_at": now,
    }
