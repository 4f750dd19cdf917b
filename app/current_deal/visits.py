"""Where a person is inside a deal: the page they left it on, and when they last saw each.

Pages are noted by a request that a visible page makes, never by its GET. A person's own: nobody else learns of it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import user_can_access_deal
from app.core.errors import NotFound
from app.core.statements import insert_into
from app.models import STAGES, Visit
from app.resources import Resources

PAGES = ("overview", "findings", "checklist", "team", "activity")

# What the address of each page may say: filters, sort, search, and how far a list was leafed through.
QUERY = {
    "overview": (),
    "findings": ("q", "severity", "status", "owner", "sort", "cursor"),
    "checklist": ("state", "owner"),
    "team": (),
    "activity": ("kind", "person", "cursor"),
    "deals": ("q", "status", "stage", "import", "archived", "sort", "cursor"),
    "board": ("q", "status", "import", "archived", "sort", *STAGES),
}
# The forms that have an address of their own, by page; an item may be open on the pages of the second.
FORMS = {"overview": ("edit",), "findings": ("new", "edit"), "checklist": ("order",), "team": ()}
WITH_ITEMS = ("findings", "checklist", "team")

SEEN_AT = {"findings": "findings_seen_at", "checklist": "checklist_seen_at", "activity": "activity_seen_at"}


async def remember_visit(db: AsyncSession, user_id: int, deal_id: int, page: str | None, *, now: datetime, chosen: bool) -> None:
    """Note the page a person sees, in the transaction of the caller. `chosen`: the deal was selected with it, so it leads the recents."""
    first = {"user_id": user_id, "deal_id": deal_id, "visited_at": now, "last_page": page or "overview"} | dict.fromkeys(
        SEEN_AT.values(), now
    )
    changed: dict[str, Any] = {"visited_at": now} if chosen else {}
    if page:
        changed["last_page"] = page
    if page in SEEN_AT:
        changed[SEEN_AT[page]] = now
    insert = insert_into(db, Visit).values(**first)
    key = ["user_id", "deal_id"]
    await db.execute(insert.on_conflict_do_update(index_elements=key, set_=changed) if changed else insert.on_conflict_do_nothing())


async def note_page(resources: Resources, user_id: int, deal_id: int, page: str) -> None:
    """Like `remember_visit`, in a transaction of its own. Raises `NotFound` for a deal this person does not see."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        if not await user_can_access_deal(db, user_id, deal_id, now=now):
            raise NotFound
        await remember_visit(db, user_id, deal_id, page, now=now, chosen=False)
