"""The list of deals: search, filter, sort and keyset pages, with the number of all matches in one statement.

Statements are made once for each shape that a query has; only those that search for words are put together each time.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, or_
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import visible_to
from app.core.config import Settings
from app.core.database import Database
from app.core.lookups import Lookup
from app.core.statements import as_column, fetch
from app.current_deal.places import PLACE_COLUMNS, WANTED, Remembered, find_place_of_none
from app.deals.fields import AskedId, Stage, Status, Words
from app.deals.schemas import DealList, DealSummary
from app.deals.search import matches, relevance
from app.deals.store import as_summary, summaries
from app.http.cursors import Column, Cursors, Side, ahead, beyond, in_order, in_reverse_order
from app.http.query import Cursor, Limit
from app.models import DEAL_ID, NOW, ROWS, USER_ID, Deal, Pin, Place, User, Visit

RECENTS = 10
# A switcher with more would be a list.
MAX_PINS, MAX_IN_SWITCHER = 20, 12


Sort = Literal["announced", "-announced", "name", "-name", "price", "-price", "recent", "-recent", "updated", "-updated", "match"]


class ListQuery(BaseModel):
    """`sort` goes newest, dearest, latest first and A to Z; a minus turns it round. What has no date or price comes last.
    "match" has what is called like `q` first, then what is described so. `import` is the id of the one that made them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Words = ""
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


class Filters(NamedTuple):
    """Which conditions a query has beside its words: over parameters, whose values are `values_of` it."""

    archived: Literal["false", "true", "all"]
    status: bool
    stage: bool
    import_id: bool


_VISITED = summaries(USER_ID, now=NOW).where(Visit.visited_at.is_not(None)).order_by(Visit.visited_at.desc(), Deal.id.desc()).limit(ROWS)


def _at_hand(*, in_deal: bool) -> Select[Any]:
    """Beside each deal, the same in every row: the place on `page`, a parameter."""
    here = and_(Place.deal_id == DEAL_ID if in_deal else Place.deal_id.is_(None), Place.page == bindparam("page"))
    by_name = case((Pin.pinned_at.is_not(None), func.lower(Deal.name)))
    return (
        summaries(USER_ID, *PLACE_COLUMNS, now=NOW)
        .outerjoin(Place, and_(Place.user_id == User.id, here, WANTED))
        .where(or_(Pin.pinned_at.is_not(None), Visit.visited_at.is_not(None)))
        .order_by(by_name.nulls_last(), Visit.visited_at.desc(), Deal.id.desc())
        .limit(ROWS)
    )


_AT_HAND = {in_deal: _at_hand(in_deal=in_deal) for in_deal in (True, False)}


async def list_deals(
    db: AsyncSession | Database, user_id: int, query: ListQuery, *, settings: Settings, current_deal_id: int | None, now: datetime
) -> DealList:
    """One page of the deals this person may see; by a `Database` without a transaction. Raises `BadRequest` for another list's cursor."""
    cursors = Cursors(settings, "deals", query.q, query.status, query.stage, query.import_id, query.archived, query.sort)
    values = {"user_id": user_id, "now": now} | values_of(query)
    at = cursors.position(query.cursor)
    if at.side != "first":
        values |= {"last_id": at.id} | ({} if at.key is None else {"last_key": order_of(query.sort, query.q).parse(at.key)})
    statements = _statements if query.q else _statements_kept
    page, total = statements(filters_of(query), query.sort, query.q, at.side, has_key=at.key is not None)
    rows = await _fetch(db, page, rows=query.limit + 1, **values)
    # Behind the last deal there is no row to say it.
    number = rows[0].total if rows else (await _fetch(db, total, **values))[0][0]
    shown, paging = cursors.page(rows, query.limit, at, lambda row: (_plain(row.sort_key), row.id))
    deals = [as_summary(row, current_deal_id=current_deal_id) for row in shown]
    return DealList(deals=deals, current_deal_id=current_deal_id, total=number, **paging._asdict())


async def _fetch(db: AsyncSession | Database, lookup: Lookup, **values: Any) -> Sequence[Any]:
    return await (db.look_up_all(lookup, **values) if isinstance(db, Database) else fetch(db, lookup.statement, **values))


def _statements(filters: Filters, sort: Sort, q: str, side: Side, *, has_key: bool) -> tuple[Lookup, Lookup]:
    """A page, each row with the number of all matches, and that number alone."""
    key, descending, _ = order_of(sort, q)
    wanted = conditions(filters, q)
    total = visible_to(USER_ID, func.count(), now=NOW).where(*wanted)
    page = summaries(USER_ID, key.label("sort_key"), as_column(total, "total"), now=NOW).where(*wanted)
    if side != "first":
        beside = ahead if side == "before" else beyond
        last_key: Any = bindparam("last_key") if has_key else None
        page = page.where(beside(key, Deal.id, (last_key, bindparam("last_id")), descending=descending))
    order = in_reverse_order if side == "before" else in_order
    page = page.order_by(*order(key, Deal.id, descending=descending)).limit(ROWS)
    return Lookup(page), Lookup(total)


_statements_kept = cache(_statements)


def order_of(sort: Sort, q: str) -> Order:
    """What is sorted by, and which way."""
    if sort == "match":
        return Order(relevance(q), False)
    name = sort.removeprefix("-")
    order = _SORTS[name]
    return order._replace(descending=order.descending != (name != sort))


async def list_recents(db: AsyncSession, user_id: int, *, current_deal_id: int | None, now: datetime) -> list[DealSummary]:
    """The deals this person chose last, the latest first."""
    rows = await fetch(db, _VISITED, user_id=user_id, now=now, rows=RECENTS)
    return [as_summary(row, current_deal_id=current_deal_id) for row in rows]


async def list_switcher(
    db: AsyncSession, user_id: int, *, current_deal_id: int | None, page: str = "", deal_id: int | None = None, now: datetime
) -> tuple[list[DealSummary], Remembered | None]:
    """The deals of the switcher: pinned ones by name, then the last chosen. And this person's place on `page`, which costs no more."""
    there = {} if deal_id is None else {"deal_id": deal_id}
    rows = await fetch(db, _AT_HAND[deal_id is not None], user_id=user_id, now=now, page=page, rows=MAX_PINS + RECENTS, **there)
    deals = [as_summary(row, current_deal_id=current_deal_id) for row in rows]
    pinned = sum(deal.is_pinned for deal in deals)
    first = rows[0]._mapping if rows else None
    place = Remembered(page, *(first[column.key] for column in PLACE_COLUMNS)) if first and first["form"] is not None else None
    if not rows and page and deal_id is None:
        place = await find_place_of_none(db, user_id, page)
    return deals[: max(pinned, MAX_IN_SWITCHER)], place


def filters_of(query: ListQuery) -> Filters:
    return Filters(query.archived, query.status is not None, query.stage is not None, query.import_id is not None)


def values_of(query: ListQuery) -> dict[str, Any]:
    """Of the parameters of `conditions`."""
    return {"status": query.status and query.status.lower(), "stage": query.stage, "import_id": query.import_id}


def conditions(filters: Filters, q: str) -> list[ColumnElement[bool]]:
    """Which deals are asked for, over `Deal`."""
    wanted = [matches(q)] if q else []
    if filters.status:
        wanted.append(func.lower(Deal.status) == bindparam("status"))
    if filters.stage:
        wanted.append(Deal.stage == bindparam("stage"))
    if filters.import_id:
        wanted.append(Deal.import_id == bindparam("import_id"))
    if filters.archived != "all":
        wanted.append(Deal.archived_at.is_not(None) if filters.archived == "true" else Deal.archived_at.is_(None))
    return wanted


def _plain(key: Any) -> Any:
    return key.isoformat() if isinstance(key, date) else key
