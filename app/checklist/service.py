"""Checklist items as a kind of thing inside a deal, and the standard lists."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.checklist.standard import Template
from app.checklist.store import MAX_ITEMS, get_item, list_titles, measure
from app.core.errors import Conflict
from app.deals.service import record
from app.deals.store import lock_editable_deal
from app.history.store import keep_revisions, revision_of
from app.models import ChecklistItem, Deal
from app.resources import Resources
from app.work.service import Kind, mark_changed, revised


class Added(NamedTuple):
    """The items added from a template. No other item of this deal has an id in between, because the deal was locked."""

    number: int
    first_id: int
    last_id: int


async def add_template(resources: Resources, user_id: int, deal_id: int, template: Template) -> Added:
    """The items of a standard list that are not there yet."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        known = await list_titles(db, deal)
        wanted = [each for each in template.items if each not in known]
        if not wanted:
            return Added(0, 0, 0)
        position = await _room(db, deal, len(wanted))
        items = [
            _item(deal, position + index, {"section": section, "title": title}, user_id, now)
            for index, (section, title) in enumerate(wanted)
        ]
        db.add_all(items)
        await db.flush()
        await keep_revisions(db, [revision_of(*revised(ITEM, item, "created", user_id, now, {})) for item in items])
        await record(db, "checklist.template_added", deal, user_id, now, template=template.code, items=len(items))
        ids = [item.id for item in items]
        return Added(len(ids), min(ids), max(ids))


async def remove_untouched(resources: Resources, user_id: int, deal_id: int, *, first_id: int, last_id: int) -> int:
    """Undo `add_template`, but for the items that somebody has worked on since. Returns how many are gone."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        untouched = select(ChecklistItem).where(
            ChecklistItem.deal_id == deal.id,
            ChecklistItem.id.between(first_id, last_id),
            ChecklistItem.version == 1,
            ChecklistItem.updated_by_id == user_id,
            ChecklistItem.deleted_at.is_(None),
        )
        items = list(await db.scalars(untouched))
        for item in items:
            item.deleted_at = now
            mark_changed(item, user_id, now)
        await keep_revisions(db, [revision_of(*revised(ITEM, item, "deleted", user_id, now, {})) for item in items])
        if items:
            await record(db, "checklist.template_removed", deal, user_id, now, items=len(items))
        return len(items)


async def _room(db: AsyncSession, deal: Deal, wanted: int) -> int:
    """The position for the next item. Raises `Conflict` where `wanted` more would be too many."""
    count, position = await measure(db, deal)
    if count + wanted > MAX_ITEMS:
        detail = f"A checklist has at most {MAX_ITEMS} items, and this one has {count}. Delete what is no longer needed"
        raise Conflict(f"{detail}; nothing was added.", code="checklist_full", room=MAX_ITEMS - count)
    return position


def _item(deal: Deal, position: int, facts: Mapping[str, Any], user_id: int, now: datetime) -> ChecklistItem:
    stated = {name: value for name, value in facts.items() if name != "done"}
    made = {"version": 1, "created_at": now, "updated_at": now, "updated_by_id": user_id, "done_at": now if facts.get("done") else None}
    return ChecklistItem(deal_id=deal.id, position=position, **stated, **made)


async def _make(db: AsyncSession, deal: Deal, facts: Mapping[str, Any], user_id: int, now: datetime) -> ChecklistItem:
    """At the end of its section. Raises `Conflict` for one too many."""
    return _item(deal, await _room(db, deal, 1), facts, user_id, now)


def _put(item: ChecklistItem, name: str, value: Any, now: datetime) -> None:
    if name == "done":
        item.done_at = now if value else None
    else:
        setattr(item, name, value)


def _verb(item: ChecklistItem, changed: list[str]) -> str:
    return "updated" if changed != ["done"] else "done" if item.done else "reopened"


ITEM = Kind(
    ChecklistItem,
    word="item",
    events="checklist.item_",
    get=get_item,
    make=_make,
    named=lambda item: {"item_id": item.id},
    put=_put,
    verb=_verb,
)
