"""Queries on the people of an organisation, always limited to the administrator's own: people of others are not found."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.auth.administrators import not_an_administrator
from app.auth.email_address import canonical_email
from app.core.config import Settings
from app.core.errors import Conflict, NotFound
from app.core.statements import as_column, fetch
from app.http.cursors import Cursors, beyond, in_order
from app.http.ids import MAX_ID
from app.models import NOW, ROWS, USER_ID, Deal, Login, Member, OneTimeLink, Organisation, User

PEOPLE_ON_A_PAGE = 50
GRANTS_ON_A_PAGE = 50
MAX_INVITATIONS = 100


@dataclass(frozen=True)
class PersonRow:
    id: int
    name: str
    email: str
    role: str
    is_operator: bool
    disabled_at: datetime | None
    created_at: datetime
    seen_at: datetime | None
    grants: int
    owned: int


@dataclass(frozen=True)
class Invitation:
    id: int
    email: str
    role: str
    created_at: datetime
    expires_at: datetime
    by: str | None


@dataclass(frozen=True)
class Grant:
    deal_id: int
    name: str
    role: str
    granted_at: datetime
    expires_at: datetime | None


_SEEN_AT = select(func.max(Login.seen_at)).where(Login.user_id == User.id).scalar_subquery()
_GRANTS = (
    select(func.count())
    .select_from(Member)
    .join(Deal, and_(Deal.id == Member.deal_id, Deal.deleted_at.is_(None)))
    .where(Member.user_id == User.id)
    .scalar_subquery()
)
_OWNED = select(func.count()).select_from(Deal).where(Deal.owner_id == User.id, Deal.deleted_at.is_(None)).scalar_subquery()
_SHOWN = (
    User.id,
    User.name,
    User.email,
    User.role,
    User.is_operator,
    User.disabled_at,
    User.created_at,
    _SEEN_AT.label("seen_at"),
    _GRANTS.label("grants"),
    _OWNED.label("owned"),
)
_ONE = select(*_SHOWN).where(User.id == USER_ID)
_asker = aliased(User)
_PERSON = (
    select(User, _asker.role)
    .join(
        _asker,
        and_(_asker.id == bindparam("admin_id"), _asker.organisation_id == User.organisation_id, _asker.disabled_at.is_(None)),
    )
    .where(User.id == USER_ID)
)
_INVITATIONS = (
    select(OneTimeLink.id, OneTimeLink.email, OneTimeLink.role, OneTimeLink.created_at, OneTimeLink.expires_at, User.name)
    .outerjoin(User, User.id == OneTimeLink.created_by_id)
    .where(
        OneTimeLink.kind == "invitation",
        OneTimeLink.organisation_id == bindparam("organisation_id"),
        OneTimeLink.used_at.is_(None),
        OneTimeLink.withdrawn_at.is_(None),
        OneTimeLink.expires_at > NOW,
    )
    .order_by(OneTimeLink.id.desc())
    .limit(MAX_INVITATIONS)
)
_GRANTS_OF = (
    select(Member.id, Member.deal_id, Deal.name, Member.role, Member.created_at, Member.expires_at)
    .join(Deal, and_(Deal.id == Member.deal_id, Deal.deleted_at.is_(None)))
    .where(Member.user_id == USER_ID, or_(Member.expires_at.is_(None), Member.expires_at > NOW), Member.id < bindparam("last_id"))
    .order_by(Member.id.desc())
    .limit(GRANTS_ON_A_PAGE + 1)
)


async def get_person(db: AsyncSession, admin_id: int, user_id: int) -> User:
    """Somebody of the asker's organisation. Raises `NotFound` for anybody else, `Forbidden` for an asker who is no administrator."""
    row = (await db.execute(_PERSON, {"admin_id": admin_id, "user_id": user_id})).first()
    if row is None:
        raise NotFound
    if row.role != "admin":
        raise not_an_administrator()
    person: User = row.User
    return person


async def get_row(db: AsyncSession, user_id: int) -> PersonRow:
    """With what a list shows. The caller has made sure that the asker may see this person."""
    [row] = await fetch(db, _ONE, user_id=user_id)
    return _row(row)


async def list_people(
    db: AsyncSession, admin_id: int, organisation_id: int, *, q: str, cursor: str | None, settings: Settings
) -> tuple[list[PersonRow], str | None, int]:
    """By name: one page, the cursor of the next, and how many there are."""
    cursors = Cursors(settings, "people", admin_id, organisation_id, q)
    values: dict[str, Any] = {"organisation_id": organisation_id}
    behind = {}
    if cursor:
        last_name, last_id = cursors.open(cursor, 2)
        behind = {"last_name": last_name, "last_id": last_id}
    page, number = (_people if q else _people_kept)(q, is_first=not behind)
    rows = await fetch(db, page, rows=PEOPLE_ON_A_PAGE + 1, **values, **behind)
    # Behind the last person there is no row to say it.
    total = rows[0].total if rows else (await fetch(db, number, **values))[0][0]
    shown = rows[:PEOPLE_ON_A_PAGE]
    next_cursor = cursors.seal(shown[-1].sort_key, shown[-1].id) if len(rows) > PEOPLE_ON_A_PAGE else None
    return [_row(row) for row in shown], next_cursor, total


def _people(q: str, *, is_first: bool) -> tuple[Select[Any], Select[Any]]:
    """A page of those who match `q`, each with how many do, and that number alone."""
    key = func.lower(User.name)
    wanted: list[ColumnElement[bool]] = [User.organisation_id == bindparam("organisation_id")]
    if q:
        addresses = dict.fromkeys((q.lower(), canonical_email(q)))
        contains = (User.email.contains(each, autoescape=True) for each in addresses)
        wanted.append(or_(func.lower(User.name).contains(q.lower(), autoescape=True), *contains))
    number = select(func.count()).select_from(User).where(*wanted)
    page = select(*_SHOWN, key.label("sort_key"), as_column(number, "total")).where(*wanted)
    if not is_first:
        page = page.where(beyond(key, User.id, (bindparam("last_name"), bindparam("last_id")), descending=False))
    page = page.order_by(*in_order(key, User.id, descending=False)).limit(ROWS)
    return page, number


_people_kept = cache(_people)


async def list_invitations(db: AsyncSession, organisation_id: int, *, now: datetime) -> list[Invitation]:
    """Those that still can be used, the latest first."""
    return [Invitation(*row) for row in await fetch(db, _INVITATIONS, organisation_id=organisation_id, now=now)]


async def list_grants(
    db: AsyncSession, admin_id: int, user_id: int, *, cursor: str | None, settings: Settings, now: datetime
) -> tuple[list[Grant], str | None]:
    """The live grants of a person on deals that are not in the bin, the latest first. The caller has checked who asks."""
    cursors = Cursors(settings, "grants", admin_id, user_id)
    (last_id,) = cursors.open(cursor, 1) if cursor else (MAX_ID,)
    rows = await fetch(db, _GRANTS_OF, user_id=user_id, now=now, last_id=last_id)
    shown = rows[:GRANTS_ON_A_PAGE]
    grants = [Grant(row.deal_id, row.name, row.role, row.created_at, row.expires_at) for row in shown]
    return grants, cursors.seal(shown[-1].id) if len(rows) > GRANTS_ON_A_PAGE else None


async def require_other_administrator(db: AsyncSession, organisation_id: int, *, without: int) -> None:
    """Raises `Conflict` if `without` is the only administrator. Locks the organisation against concurrent removals."""
    await db.execute(select(Organisation.id).where(Organisation.id == organisation_id).with_for_update())
    others = select(User.id).where(
        User.organisation_id == organisation_id, User.role == "admin", User.disabled_at.is_(None), User.id != without
    )
    if await db.scalar(others.limit(1)) is None:
        raise Conflict("This is the last administrator of your organisation. Make somebody else one first.", code="last_administrator")


def _row(row: Any) -> PersonRow:
    values = {name: value for name, value in row._mapping.items() if name not in ("sort_key", "total")}
    return PersonRow(**values)
