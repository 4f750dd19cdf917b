"""The deals as a board: the first of each stage and how many there are, in two statements."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import visible_to
from app.deals.listing import ListQuery, conditions, order_of
from app.deals.schemas import DealSummary
from app.deals.store import as_summary, summaries
from app.http.cursors import in_order
from app.models import STAGES, Deal


@dataclass(frozen=True)
class BoardColumn:
    stage: str
    deals: list[DealSummary]
    total: int


async def load_board(
    db: AsyncSession, user_id: int, query: ListQuery, shown: Mapping[str, int], *, current_deal_id: int | None, now: datetime
) -> list[BoardColumn]:
    """A column for every stage, with as many deals as `shown` says. The stage and the cursor of `query` do not count."""
    key, descending, _ = order_of(query)
    wanted = list(conditions(query.model_copy(update={"stage": None})))
    rank = func.row_number().over(partition_by=Deal.stage, order_by=in_order(key, Deal.id, descending=descending)).label("rank")
    ranked = summaries(user_id, rank, now=now).where(*wanted).subquery()
    first = or_(*(and_(ranked.c.stage == stage, ranked.c.rank <= shown[stage]) for stage in STAGES))
    columns = [column for column in ranked.c if column.name != "rank"]
    rows = (await db.execute(select(*columns).where(first).order_by(ranked.c.rank))).all()
    counted = await db.execute(visible_to(user_id, Deal.stage, func.count(), now=now).where(*wanted).group_by(Deal.stage))
    totals = {row[0]: row[1] for row in counted}
    deals = [as_summary(row, current_deal_id=current_deal_id) for row in rows]
    return [BoardColumn(stage, [deal for deal in deals if deal.stage == stage], totals.get(stage, 0)) for stage in STAGES]
