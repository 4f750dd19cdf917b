"""The one place that says who may see a deal; every query on deals goes through it.

Access = same organisation AND (organisation admin OR owner OR unexpired grant) AND not deleted, for a person who is
not disabled. An archived deal can be read, not edited.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import BindParameter, ColumnElement, Select, and_, case, or_, select

from app.core.lookups import Lookup
from app.core.statements import Running, fetch
from app.models import DEAL_ID, NOW, USER_ID, Deal, Member, User

EDITING_ROLES = frozenset({"owner", "admin", "editor"})
MANAGING_ROLES = frozenset({"owner", "admin"})
ANY_ROLE = EDITING_ROLES | {"viewer"}

# A value, or the parameter of a statement that is made once.
Number = int | BindParameter[int]
Moment = datetime | BindParameter[datetime]

# How long a deleted deal can be brought back.
BIN_LIFE = timedelta(days=30)

# How `user` stands to a deal: owner, admin of the organisation, or what a grant says.
ROLE = case((Deal.owner_id == User.id, "owner"), (User.role == "admin", "admin"), else_=Member.role).label("role")

# When the access ends by itself: only a grant does, and only where nothing better stands beside it.
ACCESS_UNTIL = case((or_(Deal.owner_id == User.id, User.role == "admin"), None), else_=Member.expires_at).label("access_until")


def granted_now(now: Moment) -> ColumnElement[bool]:
    """The join of `Member` to `Deal` and `User`: this person's grant, unless it has ended."""
    return and_(Member.deal_id == Deal.id, Member.user_id == User.id, or_(Member.expires_at.is_(None), Member.expires_at > now))


def access_rule() -> ColumnElement[bool]:
    """Over `Deal`, `User` and the outer-joined `Member` of `granted_now`."""
    return and_(reach_rule(), Deal.deleted_at.is_(None))


def reach_rule() -> ColumnElement[bool]:
    """Access but for the bin, over the same."""
    return and_(
        Deal.organisation_id == User.organisation_id,
        User.disabled_at.is_(None),
        or_(User.role == "admin", Deal.owner_id == User.id, Member.id.is_not(None)),
    )


def visible_to(user_id: Number, *columns: Any, now: Moment) -> Select[Any]:
    """A SELECT of `columns` (default: what a card is made of) over the deals this person may see."""
    return (
        select(*(columns or (Deal.id, Deal.name, ROLE, ACCESS_UNTIL)))
        .select_from(Deal)
        .join(User, User.id == user_id)
        .outerjoin(Member, granted_now(now))
        .where(access_rule())
    )


# What the card of this deal is made of; no row where this person does not see it.
VISIBLE_DEAL = Lookup(visible_to(USER_ID, now=NOW).where(Deal.id == DEAL_ID))


def people_who_see(deal_id: Number, *columns: Any, now: Moment) -> Select[Any]:
    """The same rule from the other end: a SELECT of `columns` over the people who may see this deal."""
    return (
        select(*columns)
        .select_from(Deal)
        .join(User, User.organisation_id == Deal.organisation_id)
        .outerjoin(Member, granted_now(now))
        .where(Deal.id == deal_id, access_rule())
    )


def reach_of(user_ids: Collection[int], deal_ids: Collection[int], *, now: datetime) -> Select[Any]:
    """How these people stand to these deals (`user_id`, `deal_id`, `role`, `deleted_at`), to say who lost a deal to the bin.

    Where `deleted_at` is set they do not see it any more. Pairs without access are absent.
    """
    return (
        select(User.id.label("user_id"), Deal.id.label("deal_id"), ROLE, Deal.deleted_at)
        .select_from(Deal)
        .join(User, User.organisation_id == Deal.organisation_id)
        .outerjoin(Member, granted_now(now))
        .where(Deal.id.in_(deal_ids), User.id.in_(user_ids), reach_rule())
    )


def sees_last_deal(now: datetime) -> ColumnElement[bool]:
    """The same rule over `User` alone: this person may see the deal they would come back to."""
    seen = select(Deal.id).outerjoin(Member, granted_now(now)).where(Deal.id == User.last_deal_id, access_rule())
    return seen.correlate(User).exists()


def in_bin_of(user_id: int, *, now: datetime) -> Select[Deal]:
    """The deleted deals this person may bring back. Nobody sees a deleted deal, so it has a rule of its own: its owner and
    the administrators of its organisation, for `BIN_LIFE`."""
    return (
        select(Deal)
        .join(User, User.id == user_id)
        .where(
            Deal.organisation_id == User.organisation_id,
            Deal.deleted_at > now - BIN_LIFE,
            User.disabled_at.is_(None),
            or_(User.role == "admin", Deal.owner_id == User.id),
        )
    )


async def user_can_access_deal(db: Running, user_id: int, deal_id: int, *, now: datetime) -> bool:
    return bool(await fetch(db, VISIBLE_DEAL.statement, user_id=user_id, deal_id=deal_id, now=now))


Role = Literal["owner", "admin", "editor", "viewer"]
