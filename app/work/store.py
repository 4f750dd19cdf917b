"""Queries on the things inside a deal. Each carries the access rule and the deal: one of another deal is as absent as none."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import ROLE, visible_to
from app.core.statements import fetch
from app.deals.store import checked_role
from app.models import DEAL_ID, NOW, USER_ID, ChecklistItem, Deal, Finding
from app.models.base import BigId

Thing = TypeVar("Thing", Finding, ChecklistItem)
Table = type[Finding] | type[ChecklistItem]


def things_of(table: Table, *columns: Any) -> Select[Any]:
    """A SELECT of `columns` over the things of the deal DEAL_ID, for USER_ID, who may see it NOW."""
    there = and_(Deal.id == DEAL_ID, table.deleted_at.is_(None))
    return visible_to(USER_ID, *columns, now=NOW).join(table, table.deal_id == Deal.id).where(there)


ITEM_ID = bindparam("item_id", type_=BigId)
_ROLE_AT = {table: things_of(table, ROLE).where(table.id == ITEM_ID) for table in (Finding, ChecklistItem)}


async def require_thing(
    db: AsyncSession, table: Table, user_id: int, deal_id: int, item_id: int, roles: Collection[str], *, now: datetime
) -> None:
    """Raises `NotFound` where this person sees no such thing in this deal, `Forbidden` for a role not among `roles`."""
    rows = await fetch(db, _ROLE_AT[table], user_id=user_id, deal_id=deal_id, item_id=item_id, now=now)
    checked_role(rows[0].role if rows else None, roles)


async def find_of_deal(db: AsyncSession, table: type[Thing], deal: Deal, ids: Collection[int], *, deleted: bool = False) -> list[Thing]:
    """Of a deal that the caller has locked, the eldest first."""
    gone = table.deleted_at.is_not(None) if deleted else table.deleted_at.is_(None)
    return list(await db.scalars(select(table).where(table.deal_id == deal.id, table.id.in_(ids), gone).order_by(table.id)))
