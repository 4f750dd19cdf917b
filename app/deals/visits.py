"""Where a person is inside a deal: the page they left it on, and what came into it since they looked.

Pages are noted by a request that a visible page makes, never by its GET. A person's own: nobody else learns of it.
"""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database import insert_into
from app.deals.activity import PERSONAL
from app.deals.permissions import user_can_access_deal
from app.errors import NotFound
from app.models import ChecklistItem, Event, Finding, Visit
from app.resources import Resources

PAGES = ("overview", "findings", "checklist", "team", "activity")
# What is counted beyond this is shown as "more than".
MOST_NEW = 99
# How many of a deal's latest events are looked through for new ones, however many there are.
LOOK_BACK = 500

_SEEN = {"findings": "findings_seen_at", "checklist": "checklist_seen_at", "activity": "activity_seen_at"}


class News(NamedTuple):
    """How many things others did since this person looked, at most one more than `MOST_NEW`. Nothing is new before the first visit."""

    findings: int
    checklist: int
    activity: int


async def remember_visit(db: AsyncSession, user_id: int, deal_id: int, page: str | None, *, now: datetime, chosen: bool) -> None:
    """Note the page a person sees, in the transaction of the caller. `chosen`: the deal was selected with it, so it leads the recents."""
    first = {"user_id": user_id, "deal_id": deal_id, "visited_at": now, "last_page": page or "overview"} | dict.fromkeys(
        _SEEN.values(), now
    )
    changed: dict[str, Any] = {"visited_at": now} if chosen else {}
    if page:
        changed["last_page"] = page
    if page in _SEEN:
        changed[_SEEN[page]] = now
    insert = insert_into(db, Visit).values(**first)
    key = ["user_id", "deal_id"]
    await db.execute(insert.on_conflict_do_update(index_elements=key, set_=changed) if changed else insert.on_conflict_do_nothing())


async def note_page(house: Resources, user_id: int, deal_id: int, page: str) -> None:
    """Like `remember_visit`, in a transaction of its own. Raises `NotFound` for a deal this person does not see."""
    now = house.clock.now()
    async with house.database.write() as db:
        if not await user_can_access_deal(db, user_id, deal_id, now=now):
            raise NotFound
        await remember_visit(db, user_id, deal_id, page, now=now, chosen=False)


async def find_last_page(db: AsyncSession, user_id: int, deal_id: int) -> str:
    """The page this person left the deal on. Whether they may still see it is for that page to say."""
    page = await db.scalar(select(Visit.last_page).where(Visit.user_id == user_id, Visit.deal_id == deal_id))
    return page if page in PAGES else "overview"


async def count_news(db: AsyncSession, user_id: int, deal_id: int) -> News:
    """In one statement. The caller has made sure that this person sees the deal."""
    latest = aliased(Event, select(Event).where(Event.deal_id == deal_id).order_by(Event.id.desc()).limit(LOOK_BACK).subquery())
    by_others = _not_by(latest.actor_id, user_id)
    counts = (
        _count(Finding, Finding.updated_at > _since("findings"), _not_by(Finding.updated_by_id, user_id), Finding.deleted_at.is_(None)),
        _count(
            ChecklistItem,
            ChecklistItem.updated_at > _since("checklist"),
            _not_by(ChecklistItem.updated_by_id, user_id),
            ChecklistItem.deleted_at.is_(None),
        ),
        _count(latest, latest.at > _since("activity"), by_others, latest.kind.not_in(PERSONAL)),
    )
    row = (await db.execute(select(*counts).where(Visit.user_id == user_id, Visit.deal_id == deal_id))).first()
    return News(*row) if row else News(0, 0, 0)


def _since(page: str) -> Any:
    return func.coalesce(getattr(Visit, _SEEN[page]), Visit.visited_at)


def _not_by(person: Any, user_id: int) -> ColumnElement[bool]:
    return or_(person.is_(None), person != user_id)


def _count(table: Any, *conditions: ColumnElement[bool]) -> Any:
    """Stops at one more than `MOST_NEW`, however much there is."""
    some = select(table.id).where(and_(table.deal_id == Visit.deal_id, *conditions)).limit(MOST_NEW + 1).correlate(Visit).subquery()
    return select(func.count()).select_from(some).scalar_subquery()
