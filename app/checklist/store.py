"""Queries on checklists. Each carries the access rule and the deal: an item of another deal is as absent as none."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.checklist.schemas import Checklist, ChecklistQuery, ItemView
from app.core.errors import NotFound
from app.deals.schemas import person_name
from app.models import ChecklistItem, Deal, User
from app.work.store import things_of

# A checklist is shown whole. This is many times what the longest of the standard ones have.
MAX_ITEMS = 500

Item = TypeVar("Item", ItemView, ChecklistItem)

_owner, _updater = aliased(User), aliased(User)


async def list_items(db: AsyncSession, user_id: int, deal_id: int, query: ChecklistQuery, *, now: datetime) -> Checklist:
    """In one statement: what is filtered out counts all the same. The caller has made sure that this person sees the deal."""
    rows = await db.execute(_shown(user_id, deal_id, now=now).order_by(ChecklistItem.position, ChecklistItem.id))
    every = [_view(row) for row in rows]
    items = [each for each in every if _fits(each, query, user_id, now)]
    return Checklist(items=_by_section(every, items), total=len(every), done=sum(each.done for each in every))


async def get_item(db: AsyncSession, user_id: int, deal_id: int, item_id: int, *, now: datetime) -> ItemView:
    """Raises `NotFound`."""
    row = (await db.execute(_shown(user_id, deal_id, now=now).where(ChecklistItem.id == item_id))).first()
    if row is None:
        raise NotFound
    return _view(row)


async def list_of_deal(db: AsyncSession, deal: Deal) -> list[ChecklistItem]:
    """Every item there is, as the list shows them. The caller has locked the deal."""
    there = and_(ChecklistItem.deal_id == deal.id, ChecklistItem.deleted_at.is_(None))
    every = list(await db.scalars(select(ChecklistItem).where(there).order_by(ChecklistItem.position, ChecklistItem.id)))
    return _by_section(every, every)


async def list_titles(db: AsyncSession, deal: Deal) -> set[tuple[str, str]]:
    """Section and title of every item there is. The caller has locked the deal."""
    there = and_(ChecklistItem.deal_id == deal.id, ChecklistItem.deleted_at.is_(None))
    return {(row.section, row.title) for row in await db.execute(select(ChecklistItem.section, ChecklistItem.title).where(there))}


async def measure(db: AsyncSession, deal: Deal) -> tuple[int, int]:
    """How many items there are, and the position after the last. The caller has locked the deal."""
    there = and_(ChecklistItem.deal_id == deal.id, ChecklistItem.deleted_at.is_(None))
    row = (await db.execute(select(func.count(), func.max(ChecklistItem.position)).where(there))).one()
    return row[0], (row[1] or 0) + 1


def _shown(user_id: int, deal_id: int, *, now: datetime) -> Select[Any]:
    statement = things_of(ChecklistItem, user_id, deal_id, ChecklistItem, _owner.id, _owner.name, _updater.id, _updater.name, now=now)
    for person, id_ in ((_owner, ChecklistItem.owner_id), (_updater, ChecklistItem.updated_by_id)):
        statement = statement.outerjoin(person, and_(person.id == id_, person.organisation_id == Deal.organisation_id))
    return statement


def _view(row: Any) -> ItemView:
    item: ChecklistItem = row[0]
    facts = {
        name: getattr(item, name) for name in ("id", "deal_id", "section", "title", "position", "due_on", "done", "done_at", "version")
    }
    people = {"owner": person_name(row[1], row[2]), "updated_by": person_name(row[3], row[4])}
    return ItemView(**facts, **people, updated_at=item.updated_at)


def _fits(item: ItemView, query: ChecklistQuery, user_id: int, now: datetime) -> bool:
    if query.owner is not None:
        wanted = user_id if query.owner == "me" else None if query.owner == "none" else query.owner
        if (item.owner.id if item.owner else None) != wanted:
            return False
    if query.state == "overdue":
        return not item.done and item.due_on is not None and item.due_on < now.date()
    return query.state is None or item.done == (query.state == "done")


def _by_section(every: Sequence[Item], items: Sequence[Item]) -> list[Item]:
    """Sections in the order of their first item, also of one that is filtered out; within a section by position."""
    order = {section: index for index, section in enumerate(dict.fromkeys(each.section for each in every))}
    return sorted(items, key=lambda each: (order[each.section], each.position, each.id))
