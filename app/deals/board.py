"""The deals as a board: the first of each stage and how many there are, in two statements."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import visible_to
from app.core.statements import fetch
from app.deals.listing import Filters, ListQuery, Sort, conditions, filters_of, order_of, values_of
from app.deals.schemas import DealSummary
from app.deals.store import as_summary, summaries
from app.http.cursors import in_order
from app.models import NOW, STAGES, USER_ID, Deal


@dataclass(frozen=True)
class BoardColumn:
    stage: str
    deals: list[DealSummary]
    total: int


async def load_board(
    db: AsyncSession, user_id: int, query: ListQuery, shown: Mapping[str, int], *, current_deal_id: int | None, now: datetime
) -> list[BoardColumn]:
    """A column for every stage, with as many deals as `shown` says. The stage and the cursor of `query` do not count."""
    filters = filters_of(query)._replace(stage=False)
    first, totals = (_statements if query.q else _statements_kept)(filters, query.sort, query.q)
    values = {"user_id": user_id, "now": now} | values_of(query)
    rows = await fetch(db, first, **values, **{f"shown_{stage}": shown[stage] for stage in STAGES})
    counted: dict[str, int] = dict(map(tuple, await fetch(db, totals, **values)))
    deals = [as_summary(row, current_deal_id=current_deal_id) for row in rows]
    return [BoardColumn(stage, [deal for deal in deals if deal.stage == stage], counted.get(stage, 0)) for stage in STAGES]


def _statements(filters: Filters, sort: Sort, q: str) -> tuple[Select[Any], Select[Any]]:
    """The first deals of each stage, as many as the parameter `shown_` and its name says, and the number of all."""
    key, descending, _ = order_of(sort, q)
    wanted = conditions(filters, q)
    rank = func.row_number().over(partition_by=Deal.stage, order_by=in_order(key, Deal.id, descending=descending)).label("rank")
    ranked = summaries(USER_ID, rank, now=NOW).where(*wanted).subquery()
    first = or_(*(and_(ranked.c.stage == stage, ranked.c.rank <= bindparam(f"shown_{stage}")) for stage in STAGES))
    columns = [column for column in ranked.c if column.name != "rank"]
    totals = visible_to(USER_ID, Deal.stage, func.count(), now=NOW).where(*wanted).group_by(Deal.stage)
    return select(*columns).where(first).order_by(ranked.c.rank), totals


_statements_kept = cache(_statements)
