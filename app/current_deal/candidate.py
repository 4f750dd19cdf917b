"""What a new session would open: the person, the deal of their last selection, and whether they may still see it, in one look."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import ACCESS_UNTIL, MANAGING_ROLES, ROLE, visible_to
from app.core.lookups import Lookup
from app.core.statements import fetch
from app.current_deal.session_data import deal_card, ends_at_ms
from app.models import NOW, USER_ID, Deal, Login, Member, Organisation, User
from app.sessions.sql_store import ColdContext

_columns: list[Any] = [
    User.email,
    User.name.label("user_name"),
    User.organisation_id.label("user_organisation_id"),
    Organisation.name.label("organisation"),
    Organisation.auto_restore_deal.label("organisation_restores"),
    User.role.label("user_role"),
    User.is_operator,
    User.remember_last_deal,
    User.remember_place,
    User.start_at,
    User.start_deal_id,
    User.theme,
    User.last_deal_id,
    User.last_deal_version,
    User.last_deal_accessed_at,
    User.last_deal_cleared_at,
    Deal.id.label("deal_id"),
    Deal.name.label("deal_name"),
    Deal.deleted_at.label("deal_deleted_at"),
    Member.id.label("member_id"),
    ROLE.label("deal_role"),
    ACCESS_UNTIL,
    # The access rule, spelt over outer joins: which of its parts fail tells a deleted deal from a revoked one.
    case(
        (
            and_(Deal.organisation_id == User.organisation_id, or_(User.role == "admin", Deal.owner_id == User.id, Member.id.is_not(None))),
            True,
        ),
        else_=False,
    ).label("has_access"),
]
_joins: list[tuple[Any, ColumnElement[bool]]] = [
    (User, User.id == Login.user_id),
    (Organisation, Organisation.id == User.organisation_id),
    (Deal, Deal.id == User.last_deal_id),
    (Member, and_(Member.deal_id == Deal.id, Member.user_id == User.id)),
]

# A cold read of a session answers this too, in the same statement.
COLD_CONTEXT = ColdContext(_columns, _joins)


@dataclass(frozen=True)
class Candidate:
    """A person and the deal to come back to, as SQL said in one statement. Times are aware UTC."""

    user: dict[str, Any]
    pointer: int | None
    pointer_version: int
    last_seen: datetime | None
    cleared: bool
    deal: dict[str, Any] | None
    deleted: bool
    permitted: bool
    # Deleted, and theirs to bring back.
    in_bin: bool
    organisation_restores: bool

    @classmethod
    def from_row(cls, row: Any, user_id: int, *, now: datetime) -> "Candidate":
        until = row.access_until
        permitted = bool(row.has_access) and (until is None or until > now)
        card = {"id": row.deal_id, "name": row.deal_name, "role": row.deal_role, "access_until": ends_at_ms(until)}
        return cls(
            user={
                "id": user_id,
                "email": row.email,
                "name": row.user_name,
                "organisation_id": row.user_organisation_id,
                "organisation": row.organisation,
                "role": row.user_role,
                "is_operator": row.is_operator,
                "remember_last_deal": row.remember_last_deal,
                "remember_place": row.remember_place,
                "start_at": row.start_at if row.start_deal_id is None else "deal",
                "theme": row.theme,
                "start_deal_id": row.start_deal_id,
            },
            pointer=row.last_deal_id,
            pointer_version=row.last_deal_version,
            last_seen=row.last_deal_accessed_at,
            cleared=row.last_deal_cleared_at is not None,
            deal=None if row.deal_id is None else card,
            deleted=row.deal_deleted_at is not None,
            permitted=permitted and row.deal_deleted_at is None,
            in_bin=permitted and row.deal_deleted_at is not None and row.deal_role in MANAGING_ROLES,
            organisation_restores=row.organisation_restores,
        )

    def unchanged_values(self) -> dict[str, Any]:
        """Those of `UNCHANGED`."""
        card = self.user
        stated = {
            f"card_{name}": card[name] for name in ("name", "theme", "remember_last_deal", "remember_place", "start_at", "start_deal_id")
        }
        return {"user_id": card["id"], "card_version": self.pointer_version, **stated}


# Over `User`: neither the last deal nor what the card says of the person has changed since the look.
UNCHANGED = and_(
    User.id == USER_ID,
    User.last_deal_version == bindparam("card_version"),
    User.name == bindparam("card_name"),
    User.theme == bindparam("card_theme"),
    User.remember_last_deal == bindparam("card_remember_last_deal"),
    User.remember_place == bindparam("card_remember_place"),
    User.start_deal_id.is_not_distinct_from(bindparam("card_start_deal_id")),
    case((User.start_deal_id.is_(None), User.start_at), else_="deal") == bindparam("card_start_at"),
)


def _candidate() -> Lookup:
    statement = select(*_columns).select_from(User)
    for table, condition in _joins[1:]:
        statement = statement.outerjoin(table, condition)
    return Lookup(statement.where(User.id == USER_ID, User.disabled_at.is_(None)))


# For `Candidate.from_row`; no row where the person is no more.
CANDIDATE = _candidate()


async def find_candidate(db: AsyncSession, user_id: int, *, now: datetime) -> Candidate | None:
    """Inside a transaction. None where the person is no more."""
    rows = await fetch(db, CANDIDATE.statement, user_id=user_id)
    return Candidate.from_row(rows[0], user_id, now=now) if rows else None


_TWO_DEALS = visible_to(USER_ID, now=NOW).limit(2)


async def find_only_deal(db: AsyncSession, user_id: int, *, now: datetime) -> dict[str, Any] | None:
    """The card of the one deal this person can see, if there is exactly one."""
    rows = await fetch(db, _TWO_DEALS, user_id=user_id, now=now)
    return deal_card(rows[0]) if len(rows) == 1 else None
