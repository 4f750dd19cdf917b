"""Queries on the things inside a deal. Each carries the access rule and the deal: one of another deal is as absent as none."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import ROLE, visible_to
from app.deals.store import checked_role
from app.models import ChecklistItem, Deal, Finding

Thing = TypeVar("Thing", Finding, ChecklistItem)
Table = type[Finding] | type[ChecklistItem]


def things_of(table: Table, user_id: int, deal_id: int, *columns: Any, now: datetime) -> Select[Any]:
    """A SELECT of `columns` over the things of this deal, for a person who may see it."""
    there = and_(Deal.id == deal_id, table.deleted_at.is_(None))
    return visible_to(user_id, *columns, now=now).join(table, table.deal_id == Deal.id).where(there)


async def require_thing(
    db: AsyncSession, table: Table, user_id: int, deal_id: int, item_id: int, roles: Collection[str], *, now: datetime
) -> None:
    """Raises `NotFound` where this person sees no such thing in this deal, `Forbidden` for a role not among `roles`."""
    checked_role(await db.scalar(things_of(table, user_id, deal_id, ROLE, now=now).where(table.id == item_id)), roles)


async def find_of_deal(db: AsyncSession, table: type[Thing], deal: Deal, ids: Collection[int], *, deleted: bool = False) -> list[Thing]:
    """Of a deal that the caller has locked, the eldest first."""
    gone = table.deleted_at.is_not(None) if deleted else table.deleted_at.is_(None)
    return list(await db.scalars(select(table).where(table.deal_id == deal.id, table.id.in_(ids), gone).order_by(table.id)))
