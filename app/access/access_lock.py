"""Access that stays as it is until the transaction ends: the event and the proof of access in one statement.

Every change of access updates the row that gives it (grant, deal, or person for an administrator) before it strips
sessions. Whoever opens a deal locks that row FOR SHARE first, so the two have one order. Locks are taken in the order
access row, person, sessions.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import access_rule, granted_now
from app.core.clock import from_unix_ms
from app.core.statements import as_columns, execute_dml
from app.events.service import event_row, is_audited
from app.models import Deal, Event, Member, User


async def record_access(
    db: AsyncSession,
    kind: str,
    *,
    user_id: int,
    card: Mapping[str, Any],
    now: datetime,
    also: ColumnElement[bool] | None = None,
    **payload: Any,
) -> bool:
    """Write the event `kind` if this person may see the deal as `card` says, and keep it so until the commit.

    `card` is what the caller read before; False means it is no longer so, and nothing was written: look again.
    `also` is one more condition over `User`, which is then locked too.
    """
    if not is_audited(db):
        locked = _access_as_on(card, select(Deal.id), user_id, now, also)
        return await db.scalar(locked) is not None
    values = event_row(kind, at=now, user_id=user_id, actor_id=user_id, deal_id=card["id"], **payload)
    values.pop("organisation_id")
    unchanged_condition = _access_as_on(card, select(Deal.organisation_id, *as_columns(Event, values)), user_id, now, also)
    event = insert(Event).from_select(["organisation_id", *values], unchanged_condition, include_defaults=False)
    return bool(await execute_dml(db, event))


def _access_as_on(
    card: Mapping[str, Any], statement: Select[Any], user_id: int, now: datetime, also: ColumnElement[bool] | None
) -> Select[Any]:
    role, granted = card["role"], card["role"] in ("editor", "viewer")
    statement = statement.select_from(Deal).join(User, User.id == user_id)
    # An outer join cannot be locked, so the way of access has to be known.
    statement = statement.join(Member, granted_now(now)) if granted else statement.outerjoin(Member, granted_now(now))
    way = and_(Member.role == role, _ends_at(card["access_until"])) if granted else _is_owner_or_admin(role)
    locked: list[Any] = [Deal, Member] if granted else [Deal]
    statement = statement.where(Deal.id == card["id"], Deal.name == card["name"], access_rule(), way)
    if also is not None:
        statement, locked = statement.where(also), [*locked, User]
    return statement.with_for_update(read=True, of=locked)


def _ends_at(until_ms: int | None) -> ColumnElement[bool]:
    """Over `Member`: a card knows milliseconds."""
    if until_ms is None:
        return Member.expires_at.is_(None)
    began = from_unix_ms(until_ms)
    return Member.expires_at.between(began, began + timedelta(microseconds=999))


def _is_owner_or_admin(role: str) -> ColumnElement[bool]:
    return Deal.owner_id == User.id if role == "owner" else User.role == "admin"
