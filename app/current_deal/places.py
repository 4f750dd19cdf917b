"""Where a person is on a page, down to the row: kept when the page says so, looked up when they come back without saying where.

A person's own, like the visits. Nothing of it is trusted: what it names is looked up through the access rule again.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, UpdateBase, and_, bindparam, case, exists, false, func, not_, null, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.permissions import EDITING_ROLES, MANAGING_ROLES, ROLE, reach_rule, user_can_access_deal, visible_to
from app.core.errors import NotFound
from app.core.statements import fetch, insert_of, new, run
from app.current_deal.schemas import Seen
from app.current_deal.visits import FORMS, PAGES, QUERY
from app.models import DEAL_ID, NOW, USER_ID, ChecklistItem, Deal, Finding, Member, Place, User, Visit
from app.resources import Resources

# Another version reads what this one wrote, and the reverse: whatever it does not know it leaves alone.
VERSION = 1
# A year after it was seen last a place is forgotten.
LIFE = timedelta(days=365)


class Remembered(NamedTuple):
    """A place as it was kept. `query` has known keys only; whether their values still mean something is the page's to find out."""

    page: str
    listing: Mapping[str, Any] | None
    item_id: int | None
    form: str
    focus: Mapping[str, Any] | None

    @property
    def query(self) -> dict[str, str]:
        said = (self.listing or {}).get("query", {})
        return {name: said[name] for name in QUERY[self.page] if said.get(name)}

    @property
    def path(self) -> str:
        """Below the address of the deal."""
        return path_of(self.page, self.item_id, self.form)


def path_of(page: str, item_id: int | None = None, form: str = "") -> str:
    """Below the address of a deal: the page, or what is open on it."""
    if page == "overview" and form:
        return form
    return "/".join(str(part) for part in (page, item_id, form) if part)


# What a statement over `Place` reads for a `Remembered`, after its page.
PLACE_COLUMNS = (Place.listing, Place.item_id, Place.form, Place.focus)
_STATED = ("page", "listing", "item_id", "form", "focus", "device", "seen_at")
# Over `User`: what is remembered of them is theirs to say.
WANTED = and_(User.remember_place, User.remember_last_deal)


def _keeping(dialect: str, *, in_deal: bool) -> UpdateBase:
    """One statement: the access, the person's wish, and the row, unless what it says was seen later."""
    stated = {name: value.label(name) for name, value in new(Place, *_STATED).items()}
    if in_deal:
        source = visible_to(USER_ID, User.id, Deal.id, *stated.values(), now=NOW).where(Deal.id == DEAL_ID)
        there, names = Place.deal_id.is_not(None), ["user_id", "deal_id", "page"]
    else:
        source = select(User.id, null(), *stated.values()).where(User.id == USER_ID, User.disabled_at.is_(None))
        there, names = Place.deal_id.is_(None), ["user_id", "page"]
    into: Any = Place.__table__
    made = insert_of(dialect, into).from_select(["user_id", "deal_id", *stated], source.where(WANTED), include_defaults=False)
    seen = made.excluded
    changed: dict[str, ColumnElement[Any]] = {name: seen[name] for name in stated if name not in ("page", "listing")}
    changed["listing"] = func.coalesce(seen.listing, Place.listing)
    return made.on_conflict_do_update(index_elements=names, index_where=there, set_=changed, where=Place.seen_at <= seen.seen_at)


_KEEP = {(dialect, in_deal): _keeping(dialect, in_deal=in_deal) for dialect in ("postgresql", "sqlite") for in_deal in (True, False)}


async def keep_place(resources: Resources, user_id: int, seen: Seen, *, device: str) -> None:
    """Remember what a person sees, if they want that. The place seen last wins, not the one that arrives last.

    No event: it is nobody's business. Raises `NotFound` for a deal this person does not see.
    """
    now = resources.clock.now()
    listing = seen.listing and {
        "version": VERSION,
        "query": {name: value for name, value in seen.listing.query.items() if value and name in QUERY[seen.page]},
        "anchor": seen.listing.anchor and seen.listing.anchor.model_dump(),
    }
    stated = {
        "page": seen.page,
        "listing": listing,
        "item_id": seen.item_id,
        "form": seen.form,
        "focus": seen.focus and seen.focus.model_dump(),
        "device": device,
        "seen_at": now - timedelta(milliseconds=seen.ago_ms),
    }
    whose: dict[str, Any] = {"user_id": user_id} | ({} if seen.deal_id is None else {"deal_id": seen.deal_id, "now": now})
    values = {f"new_{name}": stated[name] for name in _STATED}
    async with resources.database.transaction() as db:
        kept = await run(db, _KEEP[resources.database.dialect, seen.deal_id is not None], **whose, **values)
    if kept or seen.deal_id is None:
        return
    async with resources.database.read() as db:
        if not await user_can_access_deal(db, user_id, seen.deal_id, now=now):
            raise NotFound


def _is_there() -> ColumnElement[bool]:
    """Over `Place` and `Deal`: the item that was open is still in the deal."""
    grant = aliased(Member)
    of = {
        "findings": select(Finding.id).where(Finding.id == Place.item_id, Finding.deal_id == Deal.id, Finding.deleted_at.is_(None)),
        "checklist": select(ChecklistItem.id).where(
            ChecklistItem.id == Place.item_id, ChecklistItem.deal_id == Deal.id, ChecklistItem.deleted_at.is_(None)
        ),
        "team": select(grant.id).where(grant.user_id == Place.item_id, grant.deal_id == Deal.id),
    }
    return case(*((Place.page == page, exists(there.correlate(Place, Deal))) for page, there in of.items()), else_=false())


def _left() -> Select[Any]:
    at = and_(Place.user_id == User.id, Place.deal_id == Deal.id, Place.page == Visit.last_page, WANTED)
    columns = (Visit.last_page, Place.item_id, Place.form, ROLE, Deal.archived_at, _is_there().label("is_there"))
    return (
        visible_to(USER_ID, *columns, now=NOW)
        .outerjoin(Visit, and_(Visit.deal_id == Deal.id, Visit.user_id == User.id))
        .outerjoin(Place, at)
        .where(Deal.id == DEAL_ID)
    )


_LEFT = _left()


async def find_path_left(db: AsyncSession, user_id: int, deal_id: int, *, now: datetime) -> str:
    """Where this person left the deal, below its address: a page, or what was open on it if they may still open it."""
    row = next(iter(await fetch(db, _LEFT, user_id=user_id, deal_id=deal_id, now=now)), None)
    if row is None or row.last_page not in PAGES:
        return "overview"
    page, item_id, form = row.last_page, row.item_id, row.form or ""
    can_write = row.role in EDITING_ROLES and row.archived_at is None
    if form and (not can_write or form not in FORMS.get(page, ())):
        form = ""
    opens = {"findings": True, "checklist": True, "team": row.role in MANAGING_ROLES}.get(page, False)
    if item_id is not None and not (row.is_there and opens):
        return path_of(page)
    return path_of(page, item_id, form)


_PLACE_OF_NONE = (
    select(*PLACE_COLUMNS)
    .join(User, User.id == Place.user_id)
    .where(Place.user_id == USER_ID, Place.deal_id.is_(None), Place.page == bindparam("page"), WANTED)
)


async def find_place_of_none(db: AsyncSession, user_id: int, page: str) -> Remembered | None:
    """Of the list or the board of all deals."""
    row = next(iter(await fetch(db, _PLACE_OF_NONE, user_id=user_id, page=page)), None)
    return Remembered(page, *row) if row else None


def is_lost(now: datetime) -> ColumnElement[bool]:
    """Over `Place`, its `User`, and what there is of `Deal` and `Member`: nobody comes back to it. Who is disabled may yet."""
    revoked = and_(Place.deal_id.is_not(None), User.disabled_at.is_(None), not_(reach_rule()))
    return or_(Place.seen_at <= now - LIFE, revoked)
