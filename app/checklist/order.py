"""The order of a checklist: an item goes after another, or neighbours change places.

A place is said by what is beside it, never as a list of all, so two people who move at once do not undo each other. It is no fact of an
item and has no version: who rewords an item is not in the way of who moves it. Only its section is a fact.
"""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import case, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.checklist.schemas import MovedItem
from app.checklist.service import ITEM
from app.checklist.store import Ordered, by_section, get_item, list_order
from app.core.errors import Conflict, NotFound
from app.core.statements import execute_dml
from app.deals.service import record
from app.deals.store import lock_editable_deal
from app.models import ChecklistItem, Deal
from app.resources import Resources
from app.work.service import get_of_deal, keep_change, record_thing

# What is left between two positions where a list is numbered anew: a spot is halved sixteen times before that has to be done again.
GAP = 1 << 16
# A position has 32 bits.
MAX_POSITION = (1 << 31) - 1


async def move_item(resources: Resources, user_id: int, deal_id: int, item_id: int, *, after_id: int | None, section: str) -> MovedItem:
    """Put an item right after another one of `section`, or first in it. Raises `Conflict` where the other one is there no more."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        before = await list_order(db, deal)
        wanted = _moved(before, item_id, after_id, section)
        if wanted != before:
            await _write(db, deal, before, wanted, moved_id=item_id)
            item = await get_of_deal(db, ITEM, deal, item_id)
            if item.section != section:
                was, item.section = item.section, section
                await keep_change(db, ITEM, item, "updated", user_id, now, {"section": was})
            await record_thing(db, ITEM, "moved", deal, item, user_id, now)
            await db.flush()
        beside = [each.id for each in wanted if each.section == section]
        shown = await get_item(db, user_id, deal_id, item_id, now=now)
        return MovedItem(item=shown, place=beside.index(item_id) + 1, of=len(beside))


async def raise_item(resources: Resources, user_id: int, deal_id: int, item_id: int, *, above_id: int, section: bool = False) -> None:
    """Put an item above the one that stands right above it in its section, or its section above the section of that one.

    What is above it already stays. Raises `Conflict` where the two are no longer neighbours: somebody else has moved them.
    """
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        item = await get_of_deal(db, ITEM, deal, item_id)
        before = await list_order(db, deal)
        blocks = [list(each) for _, each in groupby(before, key=lambda each: each.section if section else each.id)]
        of_item = {each.id: index for index, block in enumerate(blocks) for each in block}
        lower, upper = of_item[item_id], of_item.get(above_id, -1)
        is_apart = not section and blocks[lower][0].section != blocks[upper][0].section
        if upper == -1 or is_apart or abs(upper - lower) != 1:
            raise _order_moved()
        if lower < upper:
            return
        blocks[upper], blocks[lower] = blocks[lower], blocks[upper]
        wanted = [each for block in blocks for each in block]
        await _write(db, deal, before, wanted, moved_id=None if section else item_id)
        if section:
            await record(db, "checklist.section_moved", deal, user_id, now, items=len(blocks[upper]))
        else:
            await record_thing(db, ITEM, "moved", deal, item, user_id, now)


def _order_moved() -> Conflict:
    return Conflict("Somebody changed the order meanwhile, so nothing was moved.", code="order_moved")


def _moved(before: Sequence[Ordered], item_id: int, after_id: int | None, section: str) -> list[Ordered]:
    """The list as it is wanted. A section that nothing else is in comes right after the section of the other one, or first of all."""
    item = next((each for each in before if each.id == item_id), None)
    if item is None:
        raise NotFound
    rest = [each for each in before if each is not item]
    after = next((each for each in rest if each.id == after_id), None)
    is_new = all(each.section != section for each in rest)
    if after_id is not None and (after is None or (after.section != section and not is_new)):
        raise _order_moved()
    if after is None:
        # First of its section, where it may be alone already.
        alone = is_new and item.section == section
        at = before.index(item) if alone else 0 if is_new else [each.section for each in rest].index(section)
    elif is_new:
        at = max(index for index, each in enumerate(rest) if each.section == after.section) + 1
    else:
        at = rest.index(after) + 1
    return [*rest[:at], item._replace(section=section), *rest[at:]]


async def _write(db: AsyncSession, deal: Deal, before: Sequence[Ordered], wanted: Sequence[Ordered], *, moved_id: int | None) -> None:
    """In one statement: the row that was moved, where there is room between its neighbours, else all that stand elsewhere then."""
    positions = _between(wanted, moved_id) or {each.id: number * GAP for number, each in enumerate(wanted, start=1)}
    changed = {each.id: positions[each.id] for each in before if positions.get(each.id, each.position) != each.position}
    if not changed:
        return  # the last of a section that becomes the first of the next
    there = (ChecklistItem.deal_id == deal.id, ChecklistItem.id.in_(changed))
    await execute_dml(db, update(ChecklistItem).where(*there).values(position=case(changed, value=ChecklistItem.id)))


def _between(wanted: Sequence[Ordered], moved_id: int | None) -> dict[int, int]:
    """The position of the one that was moved, if that alone makes the list what is wanted; else none."""
    at = next((index for index, each in enumerate(wanted) if each.id == moved_id), None)
    if at is None:
        return {}
    low = wanted[at - 1].position if at else 0
    high = wanted[at + 1].position if at + 1 < len(wanted) else low + 2 * GAP
    middle = (low + high) // 2
    tried = [each._replace(position=middle) if each.id == moved_id else each for each in wanted]
    # Sections stand in the order of their first items, so this may move one.
    fits = low < middle < high and middle <= MAX_POSITION and by_section(sorted(tried, key=lambda each: (each.position, each.id))) == tried
    return {tried[at].id: middle} if fits else {}
