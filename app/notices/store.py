"""A person's notices, put into words as they are read: names are looked up then, and only of what the reader may see."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import visible_to
from app.core.statements import execute_dml
from app.models import Deal, User, UserNotice
from app.notices.schemas import Actor, NoticeList, NoticeQuery, NoticeView

_SAID = {
    "deal.shared": "{actor} shared {deal} with you",
    "deal.role_changed": "{actor} changed what you may do in {deal}",
    "deal.transferred": "{actor} made you the owner of {deal}",
}
# Kinds of a newer version are left to it.
_KNOWN = UserNotice.kind.in_(_SAID)
_ROLES = {"viewer": "you can view it", "editor": "you can edit it"}


async def list_notices(db: AsyncSession, user_id: int, query: NoticeQuery, *, after: int = 0, now: datetime) -> NoticeList:
    """The newest first, from the one after `after` on. Two statements."""
    mine = visible_to(user_id, Deal.id, Deal.name, now=now).subquery()
    found = (
        select(UserNotice, User.name.label("actor"), mine.c.name.label("deal"))
        .outerjoin(User, User.id == UserNotice.actor_id)
        .outerjoin(mine, mine.c.id == UserNotice.deal_id)
        .where(UserNotice.user_id == user_id, UserNotice.sequence > after, _KNOWN)
    )
    if query.unread:
        found = found.where(UserNotice.read_at.is_(None))
    if query.cursor is not None:
        found = found.where(UserNotice.sequence < query.cursor)
    rows = (await db.execute(found.order_by(UserNotice.sequence.desc()).limit(query.limit + 1))).all()
    unread = select(func.count()).where(UserNotice.user_id == user_id, UserNotice.read_at.is_(None), _KNOWN)
    views = [_view(row) for row in rows[: query.limit]]
    return NoticeList(notices=views, unread=await db.scalar(unread) or 0, next_cursor=views[-1].id if len(rows) > query.limit else None)


async def update_read(db: AsyncSession, user_id: int, *, up_to: int, now: datetime) -> None:
    mine = update(UserNotice).where(UserNotice.user_id == user_id, UserNotice.sequence <= up_to, UserNotice.read_at.is_(None))
    await execute_dml(db, mine.values(read_at=now))


def _view(row: Any) -> NoticeView:
    notice: UserNotice = row.UserNotice
    lost = row.deal is None
    said = _SAID[notice.kind].format(actor=row.actor or "Somebody", deal="a deal" if lost else row.deal)
    more = "it is no longer available to you" if lost else _ROLES.get(notice.payload.get("role", ""))
    return NoticeView(
        id=notice.sequence,
        kind=notice.kind,
        text=f"{said}; {more}" if more else said,
        deal_id=None if lost else notice.deal_id,
        actor=Actor(id=notice.actor_id, name=row.actor) if row.actor is not None and notice.actor_id is not None else None,
        at=notice.created_at,
        read=notice.read_at is not None,
    )
