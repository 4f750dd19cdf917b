"""A person's notices, put into words as they are read: names are looked up then, and only of what the reader may see."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import visible_to
from app.core.statements import execute_dml, fetch
from app.models import NOW, ROWS, USER_ID, Deal, User, UserNotice
from app.notices.schemas import Actor, NoticeList, NoticeQuery, NoticeView

_SAID = {
    "deal.shared": "{actor} shared {deal} with you",
    "deal.role_changed": "{actor} changed what you may do in {deal}",
    "deal.transferred": "{actor} made you the owner of {deal}",
}
# Kinds of a newer version are left to it.
_KNOWN = UserNotice.kind.in_(_SAID)
_FACTS = (
    UserNotice.sequence,
    UserNotice.kind,
    UserNotice.deal_id,
    UserNotice.actor_id,
    UserNotice.payload,
    UserNotice.created_at,
    UserNotice.read_at,
)
_UNREAD = select(func.count()).where(UserNotice.user_id == USER_ID, UserNotice.read_at.is_(None), _KNOWN)
_ROLES = {"viewer": "you can view it", "editor": "you can edit it"}


async def list_notices(db: AsyncSession, user_id: int, query: NoticeQuery, *, after: int = 0, now: datetime) -> NoticeList:
    """The newest first, from the one after `after` on. Two statements."""
    values = {"user_id": user_id, "now": now}
    page = _page(unread=query.unread, is_first=query.cursor is None)
    rows = await fetch(db, page, after=after, before=query.cursor, rows=query.limit + 1, **values)
    [(unread,)] = await fetch(db, _UNREAD, **values)
    views = [_view(row) for row in rows[: query.limit]]
    return NoticeList(notices=views, unread=unread, next_cursor=views[-1].id if len(rows) > query.limit else None)


@cache
def _page(*, unread: bool, is_first: bool) -> Select[Any]:
    mine = visible_to(USER_ID, Deal.id, Deal.name, now=NOW).subquery()
    found: Select[Any] = (
        select(*_FACTS, User.name.label("actor"), mine.c.name.label("deal"))
        .outerjoin(User, User.id == UserNotice.actor_id)
        .outerjoin(mine, mine.c.id == UserNotice.deal_id)
        .where(UserNotice.user_id == USER_ID, UserNotice.sequence > bindparam("after"), _KNOWN)
    )
    if unread:
        found = found.where(UserNotice.read_at.is_(None))
    if not is_first:
        found = found.where(UserNotice.sequence < bindparam("before"))
    return found.order_by(UserNotice.sequence.desc()).limit(ROWS)


async def update_read(db: AsyncSession, user_id: int, *, up_to: int, now: datetime) -> None:
    mine = update(UserNotice).where(UserNotice.user_id == user_id, UserNotice.sequence <= up_to, UserNotice.read_at.is_(None))
    await execute_dml(db, mine.values(read_at=now))


def _view(row: Row[Any]) -> NoticeView:
    lost = row.deal is None
    said = _SAID[row.kind].format(actor=row.actor or "Somebody", deal="a deal" if lost else row.deal)
    more = "it is no longer available to you" if lost else _ROLES.get(row.payload.get("role", ""))
    return NoticeView(
        id=row.sequence,
        kind=row.kind,
        text=f"{said}; {more}" if more else said,
        deal_id=None if lost else row.deal_id,
        actor=Actor(id=row.actor_id, name=row.actor) if row.actor is not None and row.actor_id is not None else None,
        at=row.created_at,
        read=row.read_at is not None,
    )
