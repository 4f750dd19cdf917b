"""Queries on the people of an organisation, always limited to the administrator's own: people of others are not found."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.auth.administrators import not_an_administrator
from app.auth.email_address import canonical_email
from app.core.config import Settings
from app.core.errors import Conflict, NotFound
from app.http.cursors import Cursors, beyond, in_order
from app.models import Deal, Login, Member, OneTimeLink, Organisation, User

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


async def get_person(db: AsyncSession, admin_id: int, user_id: int) -> User:
    """Somebody of the asker's organisation. Raises `NotFound` for anybody else, `Forbidden` for an asker who is no administrator."""
    asker = aliased(User)
    found = (
        select(User, asker.role)
        .join(asker, and_(asker.id == admin_id, asker.organisation_id == User.organisation_id, asker.disabled_at.is_(None)))
        .where(User.id == user_id)
    )
    row = (await db.execute(found)).first()
    if row is None:
        raise NotFound
    if row.role != "admin":
        raise not_an_administrator()
    person: User = row.User
    return person


async def get_row(db: AsyncSession, user_id: int) -> PersonRow:
    """With what a list shows. The caller has made sure that the asker may see this person."""
    return _row((await db.execute(select(*_SHOWN).where(User.id == user_id))).one())


async def list_people(
    db: AsyncSession, admin_id: int, organisation_id: int, *, q: str, cursor: str | None, settings: Settings
) -> tuple[list[PersonRow], str | None, int]:
    """By name: one page, the cursor of the next, and how many there are."""
    cursors = Cursors(settings, "people", admin_id, organisation_id, q)
    key = func.lower(User.name)
    wanted = [User.organisation_id == organisation_id]
    if q:
        addresses = dict.fromkeys((q.lower(), canonical_email(q)))
        contains = (User.email.contains(each, autoescape=True) for each in addresses)
        wanted.append(or_(func.lower(User.name).contains(q.lower(), autoescape=True), *contains))
    page = select(*_SHOWN, key.label("sort_key")).where(*wanted)
    if cursor:
        last_name, last_id = cursors.open(cursor, 2)
        page = page.where(beyond(key, User.id, (last_name, last_id), descending=False))
    rows = (await db.execute(page.order_by(*in_order(key, User.id, descending=False)).limit(PEOPLE_ON_A_PAGE + 1))).all()
    total = await db.scalar(select(func.count()).select_from(User).where(*wanted)) or 0
    shown = rows[:PEOPLE_ON_A_PAGE]
    next_cursor = cursors.seal(shown[-1].sort_key, shown[-1].id) if len(rows) > PEOPLE_ON_A_PAGE else None
    return [_row(row) for row in shown], next_cursor, total


async def list_invitations(db: AsyncSession, organisation_id: int, *, now: datetime) -> list[Invitation]:
    """Those that still can be used, the latest first."""
    still_open = (
        OneTimeLink.kind == "invitation",
        OneTimeLink.organisation_id == organisation_id,
        OneTimeLink.used_at.is_(None),
        OneTimeLink.withdrawn_at.is_(None),
        OneTimeLink.expires_at > now,
    )
    found = select(OneTimeLink, User.name).outerjoin(User, User.id == OneTimeLink.created_by_id).where(*still_open)
    rows = await db.execute(found.order_by(OneTimeLink.id.desc()).limit(MAX_INVITATIONS))
    return [
        Invitation(
            row.OneTimeLink.id,
            row.OneTimeLink.email,
            row.OneTimeLink.role,
            row.OneTimeLink.created_at,
            row.OneTimeLink.expires_at,
            row.name,
        )
        for row in rows
    ]


async def list_grants(
    db: AsyncSession, admin_id: int, user_id: int, *, cursor: str | None, settings: Settings, now: datetime
) -> tuple[list[Grant], str | None]:
    """The live grants of a person on deals that are not in the bin, the latest first. The caller has checked who asks."""
    cursors = Cursors(settings, "grants", admin_id, user_id)
    page = (
        select(Member.id, Member.deal_id, Deal.name, Member.role, Member.created_at, Member.expires_at)
        .join(Deal, and_(Deal.id == Member.deal_id, Deal.deleted_at.is_(None)))
        .where(Member.user_id == user_id, or_(Member.expires_at.is_(None), Member.expires_at > now))
        .order_by(Member.id.desc())
        .limit(GRANTS_ON_A_PAGE + 1)
    )
    if cursor:
        (last_id,) = cursors.open(cursor, 1)
        page = page.where(Member.id < last_id)
    rows = (await db.execute(page)).all()
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
    values = {name: value for name, value in row._mapping.items() if name != "sort_key"}
    return PersonRow(**values)
