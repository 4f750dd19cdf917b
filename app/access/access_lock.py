"""Access that stays as it is until the transaction ends: the event and the proof of access in one statement.

Every change of access updates the row that gives it (grant, deal, or person for an administrator) before it strips
sessions. Whoever opens a deal locks that row FOR SHARE first, so the two have one order. Locks are taken in the order
access row, person, sessions.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Insert, Select, and_, bindparam, insert, select

from app.access.permissions import access_rule, granted_now
from app.core.clock import from_unix_ms
from app.core.statements import Running, fetch, new, run
from app.events.service import event_row, is_audited
from app.models import DEAL_ID, NOW, USER_ID, Deal, Event, Member, User

NOTHING: Mapping[str, Any] = {}


async def record_access(
    db: Running,
    kind: str,
    *,
    user_id: int,
    card: Mapping[str, Any],
    now: datetime,
    also: ColumnElement[bool] | None = None,
    also_values: Mapping[str, Any] = NOTHING,
    **payload: Any,
) -> bool:
    """Write the event `kind` if this person may see the deal as `card` says, and keep it so until the commit.

    `card` is what the caller read before; False means it is no longer so, and nothing was written: look again.
    `also` is one more condition over `User`, which is then locked too: one that is made once, with its values.
    """
    statement, values = access_recorded(
        is_audited(db), kind, user_id=user_id, card=card, now=now, also=also, also_values=also_values, **payload
    )
    return bool(await (run(db, statement, **values) if isinstance(statement, Insert) else fetch(db, statement, **values)))


def access_recorded(
    audit: bool,
    kind: str,
    *,
    user_id: int,
    card: Mapping[str, Any],
    now: datetime,
    also: ColumnElement[bool] | None = None,
    also_values: Mapping[str, Any] = NOTHING,
    **payload: Any,
) -> tuple[Insert | Select[Any], Mapping[str, Any]]:
    """The statement of `record_access`, for a transaction with more of them. Where no events are kept it only locks."""
    deal_id, until_ms = card["id"], card["access_until"]
    values = {"user_id": user_id, "deal_id": deal_id, "now": now, "deal_name": card["name"], **also_values}
    if until_ms is not None:  # a card knows milliseconds
        began = from_unix_ms(until_ms)
        values |= {"ends_from": began, "ends_to": began + timedelta(microseconds=999)}
    if not audit:
        return _lock(card["role"], until_ms is not None, also), values
    event = event_row(kind, at=now, user_id=user_id, actor_id=user_id, deal_id=deal_id, **payload)
    return _event(card["role"], until_ms is not None, also), values | {f"new_{name}": event[name] for name in _SAID}


# What the rows do not know of the event.
_SAID = ("kind", "request_id", "payload")


@cache
def _lock(role: str, ends: bool, also: ColumnElement[bool] | None) -> Select[Any]:
    return _access_as_on(role, select(Deal.id), also, ends=ends)


@cache
def _event(role: str, ends: bool, also: ColumnElement[bool] | None) -> Insert:
    known = {"organisation_id": Deal.organisation_id, "at": NOW, "actor_id": USER_ID, "user_id": USER_ID, "deal_id": Deal.id}
    columns = known | new(Event, *_SAID)
    unchanged = _access_as_on(role, select(*(column.label(name) for name, column in columns.items())), also, ends=ends)
    return insert(Event).from_select(list(columns), unchanged, include_defaults=False)


def _access_as_on(role: str, statement: Select[Any], also: ColumnElement[bool] | None, *, ends: bool) -> Select[Any]:
    """As a card with this role says, on which the access `ends` by itself or does not."""
    granted = role in ("editor", "viewer")
    statement = statement.select_from(Deal).join(User, User.id == USER_ID)
    # An outer join cannot be locked, so the way of access has to be known.
    statement = statement.join(Member, granted_now(NOW)) if granted else statement.outerjoin(Member, granted_now(NOW))
    way = and_(Member.role == role, _ends(ends)) if granted else _is_owner_or_admin(role)
    locked: list[Any] = [Deal, Member] if granted else [Deal]
    statement = statement.where(Deal.id == DEAL_ID, Deal.name == bindparam("deal_name"), access_rule(), way)
    if also is not None:
        statement, locked = statement.where(also), [*locked, User]
    return statement.with_for_update(read=True, of=locked)


def _ends(ends: bool) -> ColumnElement[bool]:
    return Member.expires_at.between(bindparam("ends_from"), bindparam("ends_to")) if ends else Member.expires_at.is_(None)


def _is_owner_or_admin(role: str) -> ColumnElement[bool]:
    return Deal.owner_id == User.id if role == "owner" else User.role == "admin"
