"""Counts what others did in a deal since this person's last visit."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, and_, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.statements import fetch
from app.current_deal.visits import SEEN_AT
from app.deals.activity import PERSONAL
from app.models import DEAL_ID, USER_ID, ChecklistItem, Draft, Event, Finding, Visit

# What is counted beyond this is shown as "more than".
MAX_NEW = 99
# How many of a deal's latest events are looked through for new ones, however many there are.
LOOK_BACK = 500


class News(NamedTuple):
    """How many things others did since this person looked, at most one more than `MAX_NEW`; and what they have begun to write
    themselves, as `form-item_id`, 0 for something new. Nothing is new before the first visit."""

    findings: int
    checklist: int
    activity: int
    drafts: frozenset[str] = frozenset()


async def count_news(db: AsyncSession, user_id: int, deal_id: int) -> News:
    """In one statement. The caller has made sure that this person sees the deal."""
    rows = await fetch(db, _NEWS, user_id=user_id, deal_id=deal_id)
    return News(*rows[0][:3], drafts=frozenset((rows[0][3] or "").split(",")) - {""}) if rows else News(0, 0, 0)


def _news() -> Select[int, int, int, str | None]:
    latest = aliased(Event, select(Event).where(Event.deal_id == DEAL_ID).order_by(Event.id.desc()).limit(LOOK_BACK).subquery())
    findings = _count(Finding, Finding.updated_at > _since("findings"), _by_others(Finding.updated_by_id), Finding.deleted_at.is_(None))
    checklist = _count(
        ChecklistItem,
        ChecklistItem.updated_at > _since("checklist"),
        _by_others(ChecklistItem.updated_by_id),
        ChecklistItem.deleted_at.is_(None),
    )
    activity = _count(latest, latest.at > _since("activity"), _by_others(latest.actor_id), latest.kind.not_in(PERSONAL))
    own = (Draft.user_id == USER_ID, Draft.deal_id == DEAL_ID, Draft.discarded_at.is_(None))
    drafts = select(func.aggregate_strings(Draft.form + "-" + cast(Draft.item_id, String), ",")).where(*own).scalar_subquery()
    return select(findings, checklist, activity, drafts).where(Visit.user_id == USER_ID, Visit.deal_id == DEAL_ID)


def _since(page: str) -> Any:
    return func.coalesce(getattr(Visit, SEEN_AT[page]), Visit.visited_at)


def _by_others(person: Any) -> ColumnElement[bool]:
    return or_(person.is_(None), person != USER_ID)


def _count(table: Any, *conditions: ColumnElement[bool]) -> Any:
    """Stops at one more than `MAX_NEW`, however much there is."""
    some = select(table.id).where(and_(table.deal_id == Visit.deal_id, *conditions)).limit(MAX_NEW + 1).correlate(Visit).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


_NEWS = _news()
