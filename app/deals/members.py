"""Members of a deal: granting, changing and withdrawing access.

The access row changes first, then the sessions it concerns: see "Rows that give access are locked" in docs/sessions.md.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.permissions import ACCESS_UNTIL, ANY_ROLE, MANAGING_ROLES, ROLE, people_who_see
from app.core.errors import BadRequest, Conflict
from app.core.statements import fetch
from app.current_deal.session_data import dismiss
from app.deals.realign import Realignment
from app.deals.schemas import MemberView, NewMember, person_name
from app.deals.service import record
from app.deals.store import colleague, find_grant, get_colleague, get_grant, lock_deal
from app.drafts.schemas import SavedDraft
from app.drafts.store import delete_saved
from app.models import DEAL_ID, NOW, ROWS, USER_ID, Deal, Member, Session, User
from app.resources import Resources
from app.sessions.manager import Also
from app.sessions.record import SessionData

_RANK = ("owner", "admin", "editor", "viewer")
_granter, _me = aliased(User), aliased(User)
_MEMBERS = people_who_see(
    DEAL_ID,
    User.id.label("user_id"),
    User.name,
    User.email,
    ROLE,
    ACCESS_UNTIL.label("expires_at"),
    Member.created_at.label("granted_at"),
    _granter.id.label("granter_id"),
    _granter.name.label("granter_name"),
    now=NOW,
).outerjoin(_granter, _granter.id == Member.granted_by_id)
_COLLEAGUES = (
    select(User.name, User.email)
    .where(
        User.organisation_id == select(_me.organisation_id).where(_me.id == USER_ID).scalar_subquery(),
        User.disabled_at.is_(None),
        User.id.not_in(people_who_see(DEAL_ID, User.id, now=NOW)),
    )
    .order_by(func.lower(User.name), User.id)
    .limit(ROWS)
)

# What a grant says: the role, and until when.
GrantTerms = tuple[str, datetime | None]


async def list_members(db: AsyncSession, deal_id: int, *, now: datetime) -> list[MemberView]:
    """Everybody who sees the deal now, those who may do most first. The caller has made sure that the asker does."""
    rows = await fetch(db, _MEMBERS, deal_id=deal_id, now=now)
    people = [
        MemberView(
            user_id=row.user_id,
            name=row.name,
            email=row.email,
            role=row.role,
            expires_at=row.expires_at,
            granted_at=row.granted_at,
            granted_by=person_name(row.granter_id, row.granter_name),
        )
        for row in rows
    ]
    return sorted(people, key=lambda each: (_RANK.index(each.role), each.name.casefold(), each.user_id))


async def grant_access(
    resources: Resources, user_id: int, deal_id: int, grant: NewMember, *, saved: SavedDraft | None = None
) -> tuple[MemberView, bool]:
    """Grant a colleague access, replacing an existing grant; `saved` is the draft that ends with it.

    Returns the grant and whether it is new.
    """
    now, realignment = resources.clock.now(), Realignment(deal_id)
    which = colleague(user_id, user_id=grant.user_id, email=grant.email)
    _refuse_past_end(grant.expires_at, now)
    view: MemberView
    is_new = True

    async def give(db: AsyncSession) -> None:
        nonlocal view, is_new
        deal = await lock_deal(db, user_id, deal_id, roles=MANAGING_ROLES, now=now)
        person = await get_colleague(db, which)
        if person.id == deal.owner_id:
            raise Conflict("This person owns the deal; there is nothing more to give.", code="already_owner")
        member = await find_grant(db, deal_id, person.id)
        is_new = member is None
        if member is None:
            member = Member(deal_id=deal_id, user_id=person.id, granted_by_id=user_id, created_at=now)
            db.add(member)
        member.role, member.expires_at = grant.role, grant.expires_at
        await realignment.load(db, {person.id}, now=now)
        await _record(db, "member.granted" if is_new else "member.changed", deal, user_id, member, now)
        await delete_saved(db, user_id, deal_id, saved)
        view = _view(person, member)

    await resources.sessions.change_sessions(_sessions_of(which), realignment.change, also=give)
    return view, is_new


async def list_colleagues(db: AsyncSession, user_id: int, deal_id: int, *, limit: int, now: datetime) -> Sequence[Row[str, str]]:
    """Name and address of the people of this person's organisation who do not see the deal yet, by name."""
    return await fetch(db, _COLLEAGUES, user_id=user_id, deal_id=deal_id, rows=limit, now=now)


async def change_grant(
    resources: Resources,
    user_id: int,
    deal_id: int,
    member_id: int,
    changes: dict[str, Any],
    *,
    expected: GrantTerms | None = None,
    saved: SavedDraft | None = None,
) -> MemberView:
    """Another role or end of a grant there is; `saved` is the draft that ends with it.

    Raises `NotFound` where there is none, `Conflict` where it is not as `expected`.
    """
    now, realignment = resources.clock.now(), Realignment(deal_id)
    which = colleague(user_id, user_id=member_id)
    _refuse_past_end(changes.get("expires_at"), now)
    view: MemberView

    async def change(db: AsyncSession) -> None:
        nonlocal view
        deal = await lock_deal(db, user_id, deal_id, roles=MANAGING_ROLES, now=now)
        member = await get_grant(db, deal_id, member_id)
        if expected is not None and (member.role, member.expires_at) != expected:
            current = _view(await db.get_one(User, member_id), member)
            raise Conflict("Somebody changed this access meanwhile.", current=current.model_dump(mode="json"))
        for name, value in changes.items():
            setattr(member, name, value)
        await realignment.load(db, {member_id}, now=now)
        await _record(db, "member.changed", deal, user_id, member, now)
        await delete_saved(db, user_id, deal_id, saved)
        view = _view(await db.get_one(User, member_id), member)

    await resources.sessions.change_sessions(_sessions_of(which), realignment.change, also=change)
    return view


async def withdraw_access(resources: Resources, user_id: int, deal_id: int, member_id: int, *, also: Also | None = None) -> None:
    """Take a grant back, or leave a deal oneself. It is out of the person's sessions before this returns. `also` is done in the
    same transaction, where people are locked: after the access row, before the sessions."""
    now, realignment = resources.clock.now(), Realignment(deal_id)

    async def withdraw(db: AsyncSession) -> None:
        roles = ANY_ROLE if user_id == member_id else MANAGING_ROLES
        deal = await lock_deal(db, user_id, deal_id, roles=roles, now=now)
        member = await get_grant(db, deal_id, member_id)
        await db.delete(member)
        if also:
            await db.flush()
            await also(db)
        await realignment.load(db, {member_id}, now=now)
        await _record(db, "member.revoked", deal, user_id, member, now)

    def leave(data: SessionData) -> SessionData | None:
        """Whoever leaves needs no notice that the deal is gone."""
        changed = realignment.change(data)
        return changed and (dismiss(changed, "deal_unavailable") or changed)

    change = leave if user_id == member_id else realignment.change
    await resources.sessions.change_sessions(_sessions_of(colleague(user_id, user_id=member_id)), change, also=withdraw)


def _sessions_of(which: Any) -> Any:
    return Session.user_id.in_(select(User.id).where(which))


def _refuse_past_end(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise BadRequest("expires_at: must lie in the future", code="invalid")


async def _record(db: AsyncSession, kind: str, deal: Deal, actor_id: int, member: Member, now: datetime) -> None:
    until = member.expires_at.isoformat() if member.expires_at else None
    await record(db, kind, deal, actor_id, now, concerns=member.user_id, role=member.role, expires_at=until)


def _view(person: User, member: Member) -> MemberView:
    return MemberView(
        user_id=person.id,
        name=person.name,
        email=person.email,
        role=member.role,
        expires_at=member.expires_at,
        granted_at=member.created_at,
    )
