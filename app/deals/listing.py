"""The list of deals: search, filter, sort and keyset pages, always in two statements."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from sqlalchemy import ColumnElement, and_, case, func, or_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.deals.fields import ONE_LINE, AskedId, Stage, Status, single_line
from app.deals.schemas import DealList, DealSummary
from app.deals.search import matches, relevance
from app.deals.store import as_summary, count_deals, summaries
from app.http.cursors import Column, Cursors, beyond, in_order
from app.http.query import Cursor, Limit
from app.models import Deal, Pin, Visit

RECENTS = 10
# A switcher with more would be a list.
MAX_PINS, MAX_IN_SWITCHER = 20, 12


Sort = Literal["announced", "-announced", "name", "-name", "price", "-price", "recent", "-recent", "updated", "-updated", "match"]


class ListQuery(BaseModel):
    """`sort` goes newest, dearest, latest first and A to Z; a minus turns it round. What has no date or price comes last.
    "match" has what is called like `q` first, then what is described so. `import` is the id of the one that made them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Annotated[str, ONE_LINE, BeforeValidator(single_line), StringConstraints(strip_whitespace=True, max_length=200)] = ""
    status: Status | None = None
    stage: Stage | None = None
    import_id: Annotated[AskedId | None, Field(alias="import")] = None
    archived: Literal["false", "true", "all"] = "false"
    sort: Sort = "announced"
    limit: Limit = 50
    cursor: Cursor | None = None


class Order(NamedTuple):
    key: Column
    descending: bool
    parse: Callable[[Any], Any] = lambda key: key


_SORTS: Mapping[str, Order] = {
    "announced": Order(Deal.announced_on, True, date.fromisoformat),
    "name": Order(func.lower(Deal.name), False),
    "price": Order(Deal.price_usd, True),
    "recent": Order(Visit.visited_at, True, datetime.fromisoformat),
    "updated": Order(Deal.updated_at, True, datetime.fromisoformat),
}


async def list_deals(
    db: AsyncSession, user_id: int, query: ListQuery, *, settings: Settings, current_deal_id: int | None, now: datetime
) -> DealList:
    """One page of the deals this person may see. Raises `BadRequest` for a cursor of another list."""
    cursors = Cursors(settings, "deals", user_id, query.q, query.status, query.stage, query.import_id, query.archived, query.sort)
    key, descending, parse = order_of(query)
    wanted = list(conditions(query))
    page = summaries(user_id, key.label("sort_key"), now=now).where(*wanted)
    if query.cursor:
        last_key, last_id = cursors.open(query.cursor, 2)
        page = page.where(beyond(key, Deal.id, (None if last_key is None else parse(last_key), last_id), descending=descending))
    rows = (await db.execute(page.order_by(*in_order(key, Deal.id, descending=descending)).limit(query.limit + 1))).all()
    total = await count_deals(db, user_id, *wanted, now=now)
    shown = rows[: query.limit]
    return DealList(
        deals=[as_summary(row, current_deal_id=current_deal_id) for row in shown],
        current_deal_id=current_deal_id,
        next_cursor=cursors.seal(_plain(shown[-1].sort_key), shown[-1].id) if len(rows) > query.limit else None,
        total=total,
    )


def order_of(query: ListQuery) -> Order:
    """What `query` sorts by, and which way."""
    if query.sort == "match":
        return Order(relevance(query.q), False)
    name = query.sort.removeprefix("-")
    order = _SORTS[name]
    return order._replace(descending=order.descending != (name != query.sort))


async def list_recents(db: AsyncSession, user_id: int, *, current_deal_id: int | None, now: datetime) -> list[DealSummary]:
    """The deals this person chose last, the latest first."""
    visited = summaries(user_id, now=now).where(Visit.visited_at.is_not(None))
    rows = await db.execute(visited.order_by(Visit.visited_at.desc(), Deal.id.desc()).limit(RECENTS))
    return [as_summary(row, current_deal_id=current_deal_id) for row in rows]


async def list_switcher(db: AsyncSession, user_id: int, *, current_deal_id: int | None, now: datetime) -> list[DealSummary]:
    """The deals of the switcher: pinned ones by name, then the last chosen."""
    kept = summaries(user_id, now=now).where(or_(Pin.pinned_at.is_not(None), Visit.visited_at.is_not(None)))
    by_name = case((Pin.pinned_at.is_not(None), func.lower(Deal.name)))
    rows = await db.execute(kept.order_by(by_name.nulls_last(), Visit.visited_at.desc(), Deal.id.desc()).limit(MAX_PINS + RECENTS))
    deals = [as_summary(row, current_deal_id=current_deal_id) for row in rows]
    pinned = sum(deal.is_pinned for deal in deals)
    return deals[: max(pinned, MAX_IN_SWITCHER)]


def conditions(query: ListQuery) -> Iterable[ColumnElement[bool]]:
    """Which deals `query` asks for, over `Deal`."""
    if query.q:
        yield matches(query.q)
    if query.status is not None:
        yield func.lower(Deal.status) == query.status.lower()
    if query.stage is not None:
        yield Deal.stage == query.stage
    if query.import_id is not None:
        yield Deal.import_id == query.import_id
    if query.archived != "all":
        yield and_(Deal.archived_at.is_not(None) if query.archived == "true" else Deal.archived_at.is_(None))


def _plain(key: Any) -> Any:
    return key.isoformat() if isinstance(key, date) else key
