"""How far the work in a deal is, in one statement, for its overview."""

from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import fetch
from app.findings.store import UNSETTLED
from app.models import DEAL_ID, ChecklistItem, Finding


class DealProgress(NamedTuple):
    findings: int
    unsettled: int
    grave: int
    items: int
    done: int
    overdue: int


async def find_progress(db: AsyncSession, deal_id: int, *, today: date) -> DealProgress:
    """`grave` are the unsettled ones of high or critical severity. The caller has made sure that the asker sees the deal."""
    [row] = await fetch(db, _PROGRESS, deal_id=deal_id, today=today)
    return DealProgress(*row)


def _count(table: Any, *conditions: ColumnElement[bool]) -> Any:
    there = (table.deal_id == DEAL_ID, table.deleted_at.is_(None), *conditions)
    return select(func.count()).select_from(table).where(*there).scalar_subquery()


_UNSETTLED = Finding.status.in_(UNSETTLED)
# In the order of `DealProgress`.
_PROGRESS = select(
    _count(Finding),
    _count(Finding, _UNSETTLED),
    _count(Finding, _UNSETTLED, Finding.severity.in_(("critical", "high"))),
    _count(ChecklistItem),
    _count(ChecklistItem, ChecklistItem.done_at.is_not(None)),
    _count(ChecklistItem, ChecklistItem.done_at.is_(None), ChecklistItem.due_on < bindparam("today")),
)
