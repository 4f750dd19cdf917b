"""Statements on drafts, each over its writer's own alone. What a draft says of its deal goes through the access rule."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, bindparam, case, delete, exists, false, func, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import EDITING_ROLES, MANAGING_ROLES, ROLE, visible_to
from app.core.statements import execute_dml
from app.drafts.schemas import MAX_DRAFTS, DraftName, DraftSummary, DraftView, SavedDraft
from app.models import NOW, USER_ID, ChecklistItem, Deal, Draft, Finding

# After the access to its deal is lost, its writer can read and copy what they typed.
READABLE_AFTER = timedelta(days=30)
_KEY = ("user_id", "deal_id", "form", "item_id", "tab")


def _is(*names: str) -> ColumnElement[bool]:
    return and_(*(getattr(Draft, name) == bindparam(f"its_{name}", type_=getattr(Draft, name).type) for name in names))


_SEEN = (
    visible_to(USER_ID, Deal.id, Deal.name, ROLE, Deal.archived_at, now=NOW)
    .join(Draft, Draft.deal_id == Deal.id)
    .where(Draft.user_id == USER_ID)
    .distinct()
    .subquery()
)


def _summaries(*columns: Any) -> Select[Any]:
    found = and_(Draft.form == "finding", Finding.id == Draft.item_id, Finding.deal_id == _SEEN.c.id, Finding.deleted_at.is_(None))
    item = (Draft.form == "item", ChecklistItem.id == Draft.item_id, ChecklistItem.deal_id == _SEEN.c.id)
    there = case(
        (and_(Draft.form == "finding", Draft.item_id != 0), Finding.id.is_not(None)),
        (and_(Draft.form == "item", Draft.item_id != 0), ChecklistItem.id.is_not(None)),
        else_=True,
    )
    may = or_(_SEEN.c.role.in_(MANAGING_ROLES), and_(Draft.form != "member", _SEEN.c.role.in_(EDITING_ROLES)))
    can = func.coalesce(and_(may, _SEEN.c.archived_at.is_(None), there), false())
    readable = or_(_SEEN.c.id.is_not(None), Draft.unseen_since.is_(None), Draft.unseen_since > bindparam("readable_since"))
    own = (Draft.user_id == USER_ID, Draft.discarded_at.is_(None), readable)
    return (
        select(Draft, _SEEN.c.name.label("deal"), Finding.number, can.label("can_continue"), *columns)
        .outerjoin(_SEEN, _SEEN.c.id == Draft.deal_id)
        .outerjoin(Finding, found)
        .outerjoin(ChecklistItem, and_(*item, ChecklistItem.deleted_at.is_(None)))
        .where(*own)
    )


_ALL = _summaries().order_by(Draft.updated_at.desc(), Draft.id.desc()).limit(MAX_DRAFTS)
_OF_FORM = _ALL.where(_is("deal_id", "form", "item_id"))
_OF_DEAL = _ALL.where(_is("deal_id"))
_BY_ID = _summaries().where(_is("id"))
_BY_NAME = _summaries().where(_is("deal_id", "form", "item_id", "tab"))


def _put(insert: Any) -> Any:
    """One statement that decides all: sight of the deal, room for one more, and whether the text goes on from what is kept.

    Changes nothing otherwise.
    """
    kept = exists().where(_is(*_KEY)).correlate_except(Draft)
    there = select(func.count()).where(Draft.user_id == USER_ID, Draft.discarded_at.is_(None))
    number = there.correlate_except(Draft).scalar_subquery()
    follows = bindparam("follows", type_=Draft.version.type)
    columns = [each for each in Draft.__table__.columns if each.name not in ("id", "unseen_since", "discarded_at")]
    given = [each.name for each in columns]
    values = [bindparam(f"its_{each.name}", type_=each.type).label(each.name) for each in columns]
    source = visible_to(USER_ID, *values, now=NOW).where(
        Deal.id == bindparam("its_deal_id"), or_(kept, and_(follows == 0, number < MAX_DRAFTS))
    )
    made = insert(Draft.__table__).from_select(given, source)
    new = made.excluded
    goes_on = or_(Draft.version == follows, and_(Draft.writer == new.writer, Draft.version < new.version))
    fresh = and_(Draft.discarded_at.is_not(None), follows == 0)
    changed: dict[str, Any] = {name: new[name] for name in given if name not in (*_KEY, "created_at")}
    return made.on_conflict_do_update(
        index_elements=list(_KEY),
        set_=changed | {"discarded_at": null(), "unseen_since": null()},
        where=or_(fresh, and_(Draft.discarded_at.is_(None), goes_on)),
    ).returning(Draft.version)


_PUT = {"postgresql": _put(postgresql.insert), "sqlite": _put(sqlite.insert)}
_HELD = or_(
    Draft.writer == bindparam("held_by", type_=Draft.writer.type), Draft.version == bindparam("held_version", type_=Draft.version.type)
)
_DISCARD = update(Draft).where(_is(*_KEY), Draft.discarded_at.is_(None)).values(discarded_at=NOW)
_DISCARD_HELD = _DISCARD.where(_HELD)
_DELETE_SAVED = delete(Draft).where(_is(*_KEY), _HELD)
_DISCARD_ID = update(Draft).where(_is("user_id", "id"), Draft.discarded_at.is_(None)).values(discarded_at=NOW)
_UNDISCARD_ID = update(Draft).where(_is("user_id", "id"), Draft.discarded_at.is_not(None)).values(discarded_at=None)


async def put_draft(db: AsyncSession, user_id: int, values: Mapping[str, Any], *, follows: int, now: datetime) -> bool:
    """Whether it was written: see `_put`."""
    its = _its(user_id=user_id, created_at=now, updated_at=now, **values)
    result = await db.execute(_PUT[db.get_bind().dialect.name], its | {"user_id": user_id, "follows": follows, "now": now})
    return result.first() is not None


async def list_drafts(
    db: AsyncSession, user_id: int, *, deal_id: int | None = None, form: DraftName | None = None, now: datetime
) -> list[DraftSummary]:
    """One's own, the latest first; `form` without its tab: those of all tabs."""
    which: dict[str, Any] = {}
    if deal_id is not None:
        which = {"deal_id": deal_id} | ({"form": form.form, "item_id": form.item_id} if form else {})
    statement = _OF_FORM if form and which else _OF_DEAL if which else _ALL
    return [DraftSummary(**_facts(row)) for row in await db.execute(statement, _whose(user_id, now) | _its(**which))]


async def find_draft(db: AsyncSession, user_id: int, *, now: datetime, **which: Any) -> DraftView | None:
    """By `id`, or by `deal_id` and the parts of its name. Of a deal this person does not see, what they typed alone."""
    row = (await db.execute(_BY_ID if "id" in which else _BY_NAME, _whose(user_id, now) | _its(**which))).first()
    if row is None:
        return None
    draft: Draft = row.Draft
    text = {"fields": _texts(draft.fields), "drawn": _texts(draft.drawn), "item_version": draft.item_version}
    return DraftView(**_facts(row), **(text if row.deal is not None else text | {"drawn": {}, "item_version": None}))


async def discard_draft(
    db: AsyncSession, user_id: int, deal_id: int, name: DraftName, *, writer: str | None, version: int | None, now: datetime
) -> bool:
    """`writer`, `version`: only if that tab wrote it last, or it is at that version."""
    which = _its(user_id=user_id, deal_id=deal_id, **name._asdict()) | {"now": now}
    if writer is None and version is None:
        return bool(await execute_dml(db, _DISCARD, which))
    return bool(await execute_dml(db, _DISCARD_HELD, which | {"held_by": writer or "", "held_version": version or 0}))


async def discard_by_id(db: AsyncSession, user_id: int, draft_id: int, *, now: datetime) -> bool:
    return bool(await execute_dml(db, _DISCARD_ID, _its(user_id=user_id, id=draft_id) | {"now": now}))


async def undiscard_by_id(db: AsyncSession, user_id: int, draft_id: int) -> bool:
    return bool(await execute_dml(db, _UNDISCARD_ID, _its(user_id=user_id, id=draft_id)))


async def delete_saved(db: AsyncSession, user_id: int, deal_id: int, saved: SavedDraft | None) -> None:
    """In the transaction that saves what it said. What another device has written since is not what was saved, and stays."""
    if saved:
        which = _its(user_id=user_id, deal_id=deal_id, **saved.name._asdict())
        await execute_dml(db, _DELETE_SAVED, which | {"held_by": saved.writer, "held_version": saved.version})


def _its(**values: Any) -> dict[str, Any]:
    """As parameters: their names are not those of columns, which an UPDATE keeps for itself."""
    return {f"its_{name}": value for name, value in values.items()}


def _whose(user_id: int, now: datetime) -> dict[str, Any]:
    return {"user_id": user_id, "now": now, "readable_since": now - READABLE_AFTER}


def _facts(row: Row[Any]) -> dict[str, Any]:
    draft: Draft = row.Draft
    facts = {name: getattr(draft, name) for name in ("id", "deal_id", "form", "first_words", "version", "writer", "device", "updated_at")}
    name = DraftName(draft.form, draft.item_id, draft.tab)
    about = {"deal": row.deal, "item_number": row.number, "can_continue": row.can_continue}
    return facts | about | {"name": str(name), "item_id": draft.item_id or None}


def _texts(stored: dict[str, Any]) -> dict[str, str]:
    """Without what another version may keep beside the fields."""
    return {name: text for name, text in stored.items() if isinstance(text, str)}
