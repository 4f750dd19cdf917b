"""The inbox: what a person was told, and what of it they have read. Names are those of now, and only what they may see."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel
from sqlalchemy import and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.deals.permissions import visible_to
from app.deals.schemas import PersonName
from app.models import Deal, User, UserNotice


class DealName(BaseModel):
    id: int
    name: str


class NoticeView(BaseModel):
    """`deal` is null where it is no longer available to this person, `actor` where nobody or somebody unknown did it."""

    id: int
    sequence: int
    kind: Literal["deal.shared", "deal.role_changed", "deal.transferred"] | str
    at: datetime
    actor: PersonName | None
    deal: DealName | None
    role: str | None
    is_read: bool


class Inbox(BaseModel):
    """The latest first. `before` asks for those before a sequence; `more` says whether there are any."""

    notices: list[NoticeView]
    unread: int
    more: bool


async def load_inbox(db: AsyncSession, user_id: int, *, before: int | None, limit: int, now: datetime) -> Inbox:
    actor, me = aliased(User), aliased(User)
    deals = visible_to(user_id, Deal.id, Deal.name, now=now).subquery()
    statement = (
        select(UserNotice, actor.id, actor.name, deals.c.id, deals.c.name)
        .join(me, me.id == UserNotice.user_id)
        .outerjoin(actor, and_(actor.id == UserNotice.actor_id, actor.organisation_id == me.organisation_id))
        .outerjoin(deals, deals.c.id == UserNotice.deal_id)
        .where(UserNotice.user_id == user_id)
        .order_by(UserNotice.sequence.desc())
        .limit(limit + 1)
    )
    if before is not None:
        statement = statement.where(UserNotice.sequence < before)
    rows = (await db.execute(statement)).all()
    return Inbox(notices=[_view(*row) for row in rows[:limit]], unread=await count_unread(db, user_id), more=len(rows) > limit)


async def count_unread(db: AsyncSession, user_id: int) -> int:
    return await db.scalar(select(func.count()).where(UserNotice.user_id == user_id, UserNotice.read_at.is_(None))) or 0


async def mark_read(db: AsyncSession, user_id: int, *, up_to: int | None, now: datetime) -> None:
    """All, or those up to a sequence: what came while the person was reading stays to be read."""
    unread = update(UserNotice).where(UserNotice.user_id == user_id, UserNotice.read_at.is_(None))
    if up_to is not None:
        unread = unread.where(UserNotice.sequence <= up_to)
    await db.execute(unread.values(read_at=now).execution_options(synchronize_session=False))


def _view(notice: UserNotice, actor_id: int | None, actor: str | None, deal_id: int | None, deal: str | None) -> NoticeView:
    return NoticeView(
        id=notice.id,
        sequence=notice.sequence,
        kind=notice.kind,
        at=notice.created_at,
        actor=None if actor_id is None else PersonName(id=actor_id, name=actor or ""),
        deal=None if deal_id is None else DealName(id=deal_id, name=deal or ""),
        role=notice.payload.get("role"),
        is_read=notice.read_at is not None,
    )
