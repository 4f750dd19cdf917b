"""What can be done to a checklist. Each change is one transaction: the deal is locked, the rows change, the event is written."""

from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.checklist.schemas import ItemView
from app.checklist.standard import Template
from app.checklist.store import MOST_ITEMS, find_of_deal, get_item, list_of_deal, list_titles, measure
from app.deals.service import record
from app.deals.store import check_person, lock_editable_deal
from app.errors import Conflict, NotFound
from app.models import ChecklistItem, Deal
from app.resources import Resources


class Added(NamedTuple):
    """What came from a template. Nothing else of this deal has an id between the two, since the deal was locked."""

    number: int
    first_id: int
    last_id: int


async def create_item(house: Resources, user_id: int, deal_id: int, facts: Mapping[str, Any]) -> int:
    """At the end of its section. Returns its id. Raises `BadRequest` for an owner who sees no such deal, `Conflict` for one too many."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        await check_person(db, deal_id, facts.get("owner_id"), now=now)
        item = _item(deal, await _room(db, deal, 1), facts, user_id, now)
        db.add(item)
        await db.flush()
        await _record(db, "checklist.item_created", deal, item, user_id, now)
        return item.id


async def add_template(house: Resources, user_id: int, deal_id: int, template: Template) -> Added:
    """The items of a standard list that are not there yet."""
    now = house.clock.now()
    async with house.database.write() as db:
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
        await record(db, "checklist.template_added", deal, user_id, now, template=template.code, items=len(items))
        ids = [item.id for item in items]
        return Added(len(ids), min(ids), max(ids))


async def remove_untouched(house: Resources, user_id: int, deal_id: int, *, first_id: int, last_id: int) -> int:
    """Undo `add_template`, but for the items that somebody has worked on since. Returns how many are gone."""
    now = house.clock.now()
    async with house.database.write() as db:
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
            _mark_changed(item, user_id, now)
        if items:
            await record(db, "checklist.template_removed", deal, user_id, now, items=len(items))
        return len(items)


async def change_item(
    house: Resources, user_id: int, deal_id: int, item_id: int, facts: Mapping[str, Any], *, expected: Collection[int] | None = None
) -> ItemView:
    """State other facts. Raises `Conflict`, with the item as it is and as asked for, when it is at none of the `expected` versions."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        item = await _get(db, deal, item_id)
        await _refuse_moved(db, item, user_id, expected, facts, now)
        changed = _differences(item, facts)
        if "owner_id" in changed:
            await check_person(db, deal_id, facts["owner_id"], now=now)
        for name in changed:
            if name == "done":
                item.done_at = now if facts["done"] else None
            else:
                setattr(item, name, facts[name])
        if changed:
            _mark_changed(item, user_id, now)
            kind = (
                "checklist.item_updated" if changed != ["done"] else "checklist.item_done" if facts["done"] else "checklist.item_reopened"
            )
            await _record(db, kind, deal, item, user_id, now, fields=changed)
        await db.flush()
        return await get_item(db, user_id, deal_id, item_id, now=now)


async def delete_item(house: Resources, user_id: int, deal_id: int, item_id: int, *, expected: Collection[int] | None = None) -> None:
    """`bring_back_item` undoes it. Raises `Conflict` like `change_item`."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        item = await _get(db, deal, item_id)
        await _refuse_moved(db, item, user_id, expected, {}, now)
        item.deleted_at = now
        _mark_changed(item, user_id, now)
        await _record(db, "checklist.item_deleted", deal, item, user_id, now)


async def bring_back_item(house: Resources, user_id: int, deal_id: int, item_id: int) -> None:
    """Undo its deletion. Nothing happens where it is not deleted. Raises `NotFound` where there never was one."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        item = await find_of_deal(db, deal, item_id, deleted=True)
        if item is None:
            await _get(db, deal, item_id)
            return
        item.deleted_at = None
        _mark_changed(item, user_id, now)
        await _record(db, "checklist.item_undeleted", deal, item, user_id, now)


async def raise_item(house: Resources, user_id: int, deal_id: int, item_id: int, *, above_id: int, section: bool = False) -> None:
    """Put an item above the one that stands right above it in its section, or its section above the section of that one.

    What is above it already stays. Raises `Conflict` where the two are no longer neighbours: somebody else has moved them.
    An item's place is no fact of its own and has no version: who rewords it is not in the way of who moves it.
    """
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        item = await _get(db, deal, item_id)
        items = await list_of_deal(db, deal)
        blocks = [list(each) for _, each in groupby(items, key=lambda each: each.section if section else each.id)]
        of_item = {each.id: index for index, block in enumerate(blocks) for each in block}
        lower, upper = of_item[item_id], of_item.get(above_id, -1)
        is_apart = not section and blocks[lower][0].section != blocks[upper][0].section
        if upper == -1 or is_apart or abs(upper - lower) != 1:
            raise Conflict("Somebody changed the order meanwhile.", code="order_moved")
        if lower < upper:
            return
        blocks[upper], blocks[lower] = blocks[lower], blocks[upper]
        for place, each in enumerate((each for block in blocks for each in block), start=1):
            each.position = place
        if section:
            await record(db, "checklist.section_moved", deal, user_id, now, items=len(blocks[upper]))
        else:
            await _record(db, "checklist.item_moved", deal, item, user_id, now)


async def _get(db: AsyncSession, deal: Deal, item_id: int) -> ChecklistItem:
    item = await find_of_deal(db, deal, item_id)
    if item is None:
        raise NotFound
    return item


async def _room(db: AsyncSession, deal: Deal, wanted: int) -> int:
    """The position for the next item. Raises `Conflict` where `wanted` more would be too many."""
    count, position = await measure(db, deal)
    if count + wanted > MOST_ITEMS:
        detail = f"A checklist has at most {MOST_ITEMS} items, and this one has {count}. Delete what is no longer needed"
        raise Conflict(f"{detail}; nothing was added.", code="checklist_full", room=MOST_ITEMS - count)
    return position


async def _refuse_moved(
    db: AsyncSession, item: ChecklistItem, user_id: int, expected: Collection[int] | None, facts: Mapping[str, Any], now: datetime
) -> None:
    if expected is not None and item.version not in expected:
        current = await get_item(db, user_id, item.deal_id, item.id, now=now)
        yours = {name: value.isoformat() if name == "due_on" and value else value for name, value in facts.items()}
        raise Conflict("Somebody changed this item meanwhile.", current=current.model_dump(mode="json"), yours=yours)


def _item(deal: Deal, position: int, facts: Mapping[str, Any], user_id: int, now: datetime) -> ChecklistItem:
    stated = {name: value for name, value in facts.items() if name != "done"}
    made = {"version": 1, "created_at": now, "updated_at": now, "updated_by_id": user_id, "done_at": now if facts.get("done") else None}
    return ChecklistItem(deal_id=deal.id, position=position, **stated, **made)


def _differences(item: ChecklistItem, facts: Mapping[str, Any]) -> list[str]:
    now_stated = {name: item.done_at is not None if name == "done" else getattr(item, name) for name in facts}
    return sorted(name for name, value in facts.items() if now_stated[name] != value)


def _mark_changed(item: ChecklistItem, user_id: int, now: datetime) -> None:
    item.version += 1
    item.updated_at, item.updated_by_id = now, user_id


async def _record(db: AsyncSession, kind: str, deal: Deal, item: ChecklistItem, actor_id: int, at: datetime, **payload: Any) -> None:
    await record(db, kind, deal, actor_id, at, item_id=item.id, **payload)
