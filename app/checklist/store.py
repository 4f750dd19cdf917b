"""Queries on checklists. Each carries the access rule and the deal: an item of another deal is as absent as none."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Row, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.checklist.schemas import Checklist, ChecklistQuery, ItemView
from app.core.errors import NotFound
from app.core.statements import fetch
from app.deals.schemas import person_name
from app.models import ChecklistItem, Deal, User
from app.work.store import ITEM_ID, things_of

# A checklist is shown whole. This is many times what the longest of the standard ones have.
MAX_ITEMS = 500


class Ordered(NamedTuple):
    """An item as far as the order of the list goes."""

    id: int
    section: str
    position: int


Item = TypeVar("Item", ItemView, Ordered)

_owner, _updater = aliased(User), aliased(User)
_SHOWN = (
    things_of(
        ChecklistItem,
        ChecklistItem.id,
        ChecklistItem.deal_id,
        ChecklistItem.section,
        ChecklistItem.title,
        ChecklistItem.position,
        ChecklistItem.due_on,
        ChecklistItem.done_at,
        ChecklistItem.version,
        ChecklistItem.updated_at,
        _owner.id.label("owner_id"),
        _owner.name.label("owner_name"),
        _updater.id.label("updated_by_id"),
        _updater.name.label("updated_by_name"),
    )
    .outerjoin(_owner, and_(_owner.id == ChecklistItem.owner_id, _owner.organisation_id == Deal.organisation_id))
    .outerjoin(_updater, and_(_updater.id == ChecklistItem.updated_by_id, _updater.organisation_id == Deal.organisation_id))
)
_ALL = _SHOWN.order_by(ChecklistItem.position, ChecklistItem.id)
_ONE = _SHOWN.where(ChecklistItem.id == ITEM_ID)


async def list_items(db: AsyncSession, user_id: int, deal_id: int, query: ChecklistQuery, *, now: datetime) -> Checklist:
    """In one statement: what is filtered out counts all the same. The caller has made sure that this person sees the deal."""
    rows = await fetch(db, _ALL, user_id=user_id, deal_id=deal_id, now=now)
    every = [_view(row) for row in rows]
    items = fitting_items(every, query, user_id, now)
    return Checklist(items=by_section(every, items), total=len(every), done=sum(each.done for each in every))


def fitting_items(every: Sequence[ItemView], query: ChecklistQuery, user_id: int, now: datetime) -> list[ItemView]:
    """Those that `query` asks for, in the order they come in."""
    return [each for each in every if _fits(each, query, user_id, now)]


async def get_item(db: AsyncSession, user_id: int, deal_id: int, item_id: int, *, now: datetime) -> ItemView:
    """Raises `NotFound`."""
    rows = await fetch(db, _ONE, user_id=user_id, deal_id=deal_id, item_id=item_id, now=now)
    if not rows:
        raise NotFound
    return _view(rows[0])


async def list_order(db: AsyncSession, deal: Deal) -> list[Ordered]:
    """Every item there is, as the list shows them. The caller has locked the deal."""
    there = and_(ChecklistItem.deal_id == deal.id, ChecklistItem.deleted_at.is_(None))
    columns = (ChecklistItem.id, ChecklistItem.section, ChecklistItem.position)
    rows = await db.execute(select(*columns).where(there).order_by(ChecklistItem.position, ChecklistItem.id))
    return by_section([Ordered(*row) for row in rows])


async def list_titles(db: AsyncSession, deal: Deal) -> set[tuple[str, str]]:
    """Section and title of every item there is. The caller has locked the deal."""
    there = and_(ChecklistItem.deal_id == deal.id, ChecklistItem.deleted_at.is_(None))
    return {(row.section, row.title) for row in await db.execute(select(ChecklistItem.section, ChecklistItem.title).where(there))}


async def measure(db: AsyncSession, deal: Deal) -> tuple[int, int]:
    """How many items there are, and the position after the last. The caller has locked the deal."""
    there = and_(ChecklistItem.deal_id == deal.id, ChecklistItem.deleted_at.is_(None))
    row = (await db.execute(select(func.count(), func.max(ChecklistItem.position)).where(there))).one()
    return row[0], (row[1] or 0) + 1


def _view(row: Row[Any]) -> ItemView:
    return ItemView(
        id=row.id,
        deal_id=row.deal_id,
        section=row.section,
        title=row.title,
        position=row.position,
        owner=person_name(row.owner_id, row.owner_name),
        due_on=row.due_on,
        done=row.done_at is not None,
        done_at=row.done_at,
        version=row.version,
        updated_at=row.updated_at,
        updated_by=person_name(row.updated_by_id, row.updated_by_name),
    )


def _fits(item: ItemView, query: ChecklistQuery, user_id: int, now: datetime) -> bool:
    if query.q and not all(word in f"{item.title}\n{item.section}".casefold() for word in query.q.casefold().split()):
        return False
    if query.owner is not None:
        wanted = user_id if query.owner == "me" else None if query.owner == "none" else query.owner
        if (item.owner.id if item.owner else None) != wanted:
            return False
    if query.state == "overdue":
        return not item.done and item.due_on is not None and item.due_on < now.date()
    return query.state is None or item.done == (query.state == "done")


def by_section(every: Sequence[Item], items: Sequence[Item] | None = None) -> list[Item]:
    """Of `every` item by its position, these: sections in the order of their first item, also of one that is filtered out."""
    order = {section: index for index, section in enumerate(dict.fromkeys(each.section for each in every))}
    return sorted(every if items is None else items, key=lambda each: (order[each.section], each.position, each.id))
