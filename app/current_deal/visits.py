"""Where a person is inside a deal: the page they left it on, and when they last saw each.

Pages are noted by a request that a visible page makes, never by its GET. A person's own: nobody else learns of it.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Insert

from app.access.permissions import user_can_access_deal
from app.core.errors import NotFound
from app.core.statements import Running, dialect_of, insert_of, new, run
from app.models import NOW, STAGES, Visit
from app.resources import Resources

PAGES = ("overview", "findings", "checklist", "team", "activity")

# What the address of each page may say: filters, sort, search, and how far a list was leafed through.
QUERY = {
    "overview": (),
    "findings": ("q", "severity", "status", "owner", "sort", "cursor"),
    "checklist": ("q", "state", "owner"),
    "team": (),
    "activity": ("kind", "person", "cursor"),
    "deals": ("q", "status", "stage", "import", "archived", "sort", "cursor"),
    "board": ("q", "status", "import", "archived", "sort", *STAGES),
}
# The forms that have an address of their own, by page; an item may be open on the pages of the second.
FORMS = {"overview": ("edit",), "findings": ("new", "edit"), "checklist": ("order", "edit"), "team": ()}
WITH_ITEMS = ("findings", "checklist", "team")

SEEN_AT = {"findings": "findings_seen_at", "checklist": "checklist_seen_at", "activity": "activity_seen_at"}


async def remember_visit(db: Running, user_id: int, deal_id: int, page: str | None, *, now: datetime, chosen: bool) -> None:
    """Note the page a person sees, in the transaction of the caller. `chosen`: the deal was selected with it, so it leads the recents."""
    statement, values = visit_noted(dialect_of(db), user_id, deal_id, page, now=now, chosen=chosen)
    await run(db, statement, **values)


def visit_noted(
    dialect: str, user_id: int, deal_id: int, page: str | None, *, now: datetime, chosen: bool
) -> tuple[Insert, Mapping[str, Any]]:
    """The statement of `remember_visit`, for a transaction with more of them."""
    values = {"new_user_id": user_id, "new_deal_id": deal_id, "new_last_page": page or "overview", "now": now}
    return _note(dialect, page, chosen), values


@cache
def _note(dialect: str, page: str | None, chosen: bool) -> Insert:
    """Of one of `PAGES`, or of none. The first note has seen everything so far."""
    first = new(Visit, "user_id", "deal_id", "last_page") | dict.fromkeys(("visited_at", *SEEN_AT.values()), NOW)
    insert = insert_of(dialect, Visit).values(first)
    changed = [*(["visited_at"] if chosen else []), *(["last_page"] if page else []), *([SEEN_AT[page]] if page in SEEN_AT else [])]
    set_ = {name: insert.excluded[name] for name in changed}
    return insert.on_conflict_do_update(index_elements=["user_id", "deal_id"], set_=set_) if set_ else insert.on_conflict_do_nothing()


async def note_page(resources: Resources, user_id: int, deal_id: int, page: str) -> None:
    """Like `remember_visit`, in a transaction of its own. Raises `NotFound` for a deal this person does not see."""
    now = resources.clock.now()
    async with resources.database.transaction() as db:
        if not await user_can_access_deal(db, user_id, deal_id, now=now):
            raise NotFound
        await remember_visit(db, user_id, deal_id, page, now=now, chosen=False)
