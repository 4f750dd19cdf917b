"""How far the work in a deal is, in one statement, for its overview."""

from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.findings.store import UNSETTLED
from app.models import ChecklistItem, Finding


class DealProgress(NamedTuple):
    findings: int
    unsettled: int
    grave: int
    items: int
    done: int
    overdue: int


async def find_progress(db: AsyncSession, deal_id: int, *, today: date) -> DealProgress:
    """`grave` are the unsettled ones of high or critical severity. The caller has made sure that the asker sees the deal."""
    unsettled = Finding.status.in_(UNSETTLED)
    open_items = ChecklistItem.done_at.is_(None)
    counts = (
        _count(Finding, deal_id),
        _count(Finding, deal_id, unsettled),
        _count(Finding, deal_id, unsettled, Finding.severity.in_(("critical", "high"))),
        _count(ChecklistItem, deal_id),
        _count(ChecklistItem, deal_id, ChecklistItem.done_at.is_not(None)),
        _count(ChecklistItem, deal_id, open_items, ChecklistItem.due_on < today),
    )
    return DealProgress(*(await db.execute(select(*counts))).one())


def _count(table: Any, deal_id: int, *conditions: ColumnElement[bool]) -> Any:
    there = (table.deal_id == deal_id, table.deleted_at.is_(None), *conditions)
    return select(func.count()).select_from(table).where(*there).scalar_subquery()
