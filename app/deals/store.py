"""Queries on deals. Each one carries the access rule of `permissions`; none finds a deal by its id alone."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.permissions import ACCESS_UNTIL, EDITING_ROLES, MANAGING_ROLES, ROLE, Moment, Number, in_bin_of, people_who_see, visible_to
from app.auth.email_address import spellings_of
from app.core.errors import BadRequest, Conflict, Forbidden, NotFound
from app.core.statements import execute_dml, fetch
from app.current_deal.session_data import ends_at_ms
from app.deals.schemas import DealDetail, DealSummary, PersonName
from app.models import DEAL_ID, NOW, USER_ID, Deal, Member, Pin, Place, User, Visit

_SHOWN_IN_LISTS = (
    Deal.id,
    Deal.name,
    Deal.acquirer,
    Deal.stage,
    Deal.status,
    Deal.price_usd,
    Deal.announced_on,
    Deal.announced_year,
    Deal.tagline,
    Deal.categories,
    Deal.country,
    Deal.version,
    Deal.updated_at,
    ROLE,
    ACCESS_UNTIL,
    Deal.archived_at.is_not(None).label("is_archived"),
    Pin.pinned_at.is_not(None).label("is_pinned"),
    Visit.visited_at,
)
_NAMES_IN_LISTS = tuple(column.key for column in _SHOWN_IN_LISTS)
SHOWN_ALONE = (
    Deal.terms,
    Deal.founded_year,
    Deal.city,
    Deal.region,
    Deal.homepage,
    Deal.profile_url,
    Deal.news_title,
    Deal.news_url,
    Deal.external_ref,
    Deal.created_at,
)

MAX_IN_BIN = 100


def summaries(user_id: Number, *columns: Any, now: Moment) -> Select[Any]:
    """The deals this person may see with what a list shows of them, then `columns`. `Visit` and `Pin` are that person's."""
    return (
        visible_to(user_id, *_SHOWN_IN_LISTS, *columns, now=now)
        .outerjoin(Visit, and_(Visit.deal_id == Deal.id, Visit.user_id == user_id))
        .outerjoin(Pin, and_(Pin.deal_id == Deal.id, Pin.user_id == user_id))
    )


_owner = aliased(User)
_DETAIL = (
    summaries(USER_ID, *SHOWN_ALONE, _owner.id.label("owner_id"), _owner.name.label("owner_name"), now=NOW)
    .outerjoin(_owner, _owner.id == Deal.owner_id)
    .where(Deal.id == DEAL_ID)
)
_ROLE_IN_DEAL = visible_to(USER_ID, ROLE, now=NOW).where(Deal.id == DEAL_ID)
_PEOPLE = people_who_see(DEAL_ID, User.id, User.name, now=NOW).order_by(func.lower(User.name), User.id)


def as_summary(row: Row[Any], *, current_deal_id: int | None) -> DealSummary:
    return DealSummary.model_validate(dict(zip(_NAMES_IN_LISTS, row, strict=False)) | {"is_current": row.id == current_deal_id})


async def get_detail(db: AsyncSession, user_id: int, deal_id: int, *, current_deal_id: int | None, now: datetime) -> DealDetail:
    """Raises `NotFound` where this person sees no such deal."""
    rows = await fetch(db, _DETAIL, user_id=user_id, deal_id=deal_id, now=now)
    if not rows:
        raise NotFound
    row = rows[0]
    return DealDetail(
        **row._mapping,
        is_current=row.id == current_deal_id,
        owner=PersonName(id=row.owner_id, name=row.owner_name) if row.owner_id else None,
        can_edit=row.role in EDITING_ROLES and not row.is_archived,
        can_manage=row.role in MANAGING_ROLES,
    )


async def require_role(db: AsyncSession, user_id: int, deal_id: int, roles: Collection[str], *, now: datetime) -> str:
    """How this person stands to the deal. Raises `NotFound` where they do not see it, `Forbidden` for a role not among `roles`."""
    rows = await fetch(db, _ROLE_IN_DEAL, user_id=user_id, deal_id=deal_id, now=now)
    return checked_role(rows[0].role if rows else None, roles)


async def require_role_or_bin(db: AsyncSession, user_id: int, deal_id: int, roles: Collection[str], *, now: datetime) -> None:
    """Like `require_role`, but a deal in this person's bin will do too."""
    if await db.scalar(in_bin_of(user_id, now=now).where(Deal.id == deal_id)) is None:
        await require_role(db, user_id, deal_id, roles, now=now)


async def lock_deal(db: AsyncSession, user_id: int, deal_id: int, *, roles: Collection[str], now: datetime) -> Deal:
    """The deal, kept as it is until the transaction ends: what changes it or the access to it goes one after the other.

    Who but refers to it, as a person does who begins there, is not kept waiting (key_share).
    Raises `NotFound` where this person does not see it, `Forbidden` where they see it in a role not among `roles`.
    """
    statement = visible_to(user_id, Deal, ROLE, now=now).where(Deal.id == deal_id).with_for_update(of=Deal, key_share=True)
    row = (await db.execute(statement)).first()
    checked_role(row and row.role, roles)
    deal: Deal = row.Deal
    return deal


async def lock_editable_deal(db: AsyncSession, user_id: int, deal_id: int, *, now: datetime) -> Deal:
    """Like `lock_deal`, for a change of what is in the deal. Raises `Conflict` as well, where it is archived."""
    deal = await lock_deal(db, user_id, deal_id, roles=EDITING_ROLES, now=now)
    if deal.archived_at is not None:
        raise Conflict("An archived deal cannot be edited; bring it back first.", code="deal_archived")
    return deal


async def find_in_bin(db: AsyncSession, user_id: int, deal_id: int, *, now: datetime) -> Deal | None:
    found: Deal | None = await db.scalar(in_bin_of(user_id, now=now).where(Deal.id == deal_id).with_for_update(of=Deal))
    return found


async def list_bin(db: AsyncSession, user_id: int, *, now: datetime) -> list[Deal]:
    """What was put into the bin last."""
    return list(await db.scalars(in_bin_of(user_id, now=now).order_by(Deal.deleted_at.desc(), Deal.id.desc()).limit(MAX_IN_BIN)))


def colleague(of_user_id: int, *, user_id: int | None = None, email: str | None = None) -> ColumnElement[bool]:
    """Over `User`: the person meant, if they are of the same organisation. Somebody of another one is as unknown as nobody."""
    me = aliased(User)
    organisation = select(me.organisation_id).where(me.id == of_user_id).scalar_subquery()
    named = User.id == user_id if user_id is not None else User.email.in_(spellings_of(email or ""))
    return and_(User.organisation_id == organisation, named)


async def get_colleague(db: AsyncSession, which: ColumnElement[bool]) -> User:
    """The person matched by `colleague`, who can sign in. Raises `BadRequest`."""
    person = await db.scalar(select(User).where(which, User.disabled_at.is_(None)))
    if person is None:
        raise BadRequest("There is no such person in your organisation.", code="unknown_person")
    return person


async def list_people(db: AsyncSession, deal_id: int, *, now: datetime) -> list[PersonName]:
    """Who sees the deal now, by name: those whom something in it can be given to. The caller has made sure that the asker does."""
    rows = await fetch(db, _PEOPLE, deal_id=deal_id, now=now)
    return [PersonName(id=row.id, name=row.name) for row in rows]


async def check_person(db: AsyncSession, deal_id: int, user_id: int | None, *, now: datetime) -> None:
    """Raises `BadRequest` for somebody who does not see the deal: nothing in it can be given to them."""
    if user_id is not None and await db.scalar(people_who_see(deal_id, User.id, now=now).where(User.id == user_id)) is None:
        raise BadRequest("owner_id: must be somebody who can see this deal", code="unknown_person")


async def find_grant(db: AsyncSession, deal_id: int, user_id: int) -> Member | None:
    found: Member | None = await db.scalar(select(Member).where(Member.deal_id == deal_id, Member.user_id == user_id))
    return found


async def get_grant(db: AsyncSession, deal_id: int, user_id: int) -> Member:
    """Raises `NotFound`."""
    grant = await find_grant(db, deal_id, user_id)
    if grant is None:
        raise NotFound
    return grant


async def list_cards(db: AsyncSession, deal_id: int, user_ids: Collection[int], *, now: datetime) -> dict[int, dict[str, Any]]:
    """By person, of those among `user_ids` who see the deal: what a session's card says of their access."""
    rows = await db.execute(people_who_see(deal_id, User.id, ROLE, ACCESS_UNTIL, now=now).where(User.id.in_(user_ids)))
    return {row.id: {"role": row.role, "access_until": ends_at_ms(row.access_until)} for row in rows}


async def forget_last_deal(db: AsyncSession, deal_id: int, user_ids: Collection[int]) -> None:
    """These people do not come back to this deal, nor to a place in it: a later grant is not a reason to reopen it unasked."""
    await execute_dml(db, delete(Place).where(Place.user_id.in_(user_ids), Place.deal_id == deal_id))
    pointing = update(User).where(User.id.in_(user_ids), User.last_deal_id == deal_id)
    await execute_dml(db, pointing.values(last_deal_id=None, last_deal_accessed_at=None, last_deal_version=User.last_deal_version + 1))


def checked_role(role: str | None, roles: Collection[str]) -> str:
    """Raises `NotFound` for None, `Forbidden` for a role that is not among `roles`."""
    if role is None:
        raise NotFound
    if role not in roles:
        raise Forbidden(f"Your role in this deal is {role}, which does not allow this.")
    return role
