"""Queries on findings. Each carries the access rule and the deal: a finding of another deal is as absent as none."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, CompoundSelect, Row, Select, and_, bindparam, case, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.config import Settings
from app.core.errors import NotFound
from app.core.statements import as_column, fetch
from app.deals.schemas import person_name
from app.deals.search import matches
from app.findings.schemas import FindingList, FindingQuery, FindingView, Sort
from app.http.cursors import Column, Cursors, Side, ahead, beyond, in_order, in_reverse_order
from app.models import DEAL_ID, FINDING_STATUSES, ROWS, SEVERITIES, Deal, Finding, User
from app.models.base import BigId
from app.work.store import ITEM_ID, things_of

UNSETTLED = ("open", "in_review")

_owner, _creator, _updater = aliased(User), aliased(User), aliased(User)
_PEOPLE = (
    ("owner", _owner, Finding.owner_id),
    ("created_by", _creator, Finding.created_by_id),
    ("updated_by", _updater, Finding.updated_by_id),
)
_NAMES = ("id", "deal_id", "number", "title", "text", "severity", "status", "version", "created_at", "updated_at")
_FACTS = tuple(getattr(Finding, name) for name in _NAMES)


class _Sort(NamedTuple):
    key: Column
    descending: bool
    parse: Callable[[Any], Any] = lambda key: key


def _rank(column: Column, names: tuple[str, ...]) -> ColumnElement[int]:
    """The first of `names` ranks highest."""
    return case({name: len(names) - index for index, name in enumerate(names)}, value=column)


_SORTS: Mapping[str, _Sort] = {
    "severity": _Sort(_rank(Finding.severity, SEVERITIES), True),
    "status": _Sort(_rank(Finding.status, FINDING_STATUSES), True),
    "updated": _Sort(Finding.updated_at, True, datetime.fromisoformat),
    "number": _Sort(Finding.number, True),
    "title": _Sort(func.lower(Finding.title), False),
}


class _Filters(NamedTuple):
    """Which conditions a query has beside its words: over parameters, whose values are those of the query."""

    severity: bool
    status: Literal["", "one", "unsettled"]
    owner: Literal["", "none", "somebody"]


async def list_findings(
    db: AsyncSession, user_id: int, deal_id: int, query: FindingQuery, *, settings: Settings, now: datetime
) -> FindingList:
    """One page. The caller has made sure that this person sees the deal."""
    cursors = Cursors(settings, "findings", deal_id, query.model_dump(exclude={"limit", "cursor"}))
    values = {"user_id": user_id, "deal_id": deal_id, "now": now, "severity": query.severity, "status": query.status}
    values["owner_id"] = user_id if query.owner == "me" else query.owner
    at = cursors.position(query.cursor)
    beside = {} if at.side == "first" else {"last_key": _sort_of(query.sort).parse(at.key), "last_id": at.id}
    page, total = (_statements if query.q else _statements_kept)(_filters_of(query), query.sort, query.q, at.side)
    rows = await fetch(db, page, rows=query.limit + 1, **values, **beside)
    # Behind the last finding there is no row to say it.
    number = rows[0].total if rows else (await fetch(db, total, **values))[0][0]
    shown, paging = cursors.page(rows, query.limit, at, lambda row: (_plain(row.sort_key), row.id))
    return FindingList(findings=[_view(row) for row in shown], total=number, **paging._asdict())


async def get_finding(db: AsyncSession, user_id: int, deal_id: int, item_id: int, *, now: datetime) -> FindingView:
    """Raises `NotFound`."""
    rows = await fetch(db, _ONE, user_id=user_id, deal_id=deal_id, item_id=item_id, now=now)
    if not rows:
        raise NotFound
    return _view(rows[0])


class Beside(NamedTuple):
    """The findings before and after one, each as id and number, None at an end."""

    previous: tuple[int, int] | None = None
    next: tuple[int, int] | None = None


async def find_beside(db: AsyncSession, user_id: int, finding: FindingView, query: FindingQuery | None, *, now: datetime) -> Beside:
    """Those beside it in the list of `query`, whatever its page; by number where there is none, or where it is not in it."""
    values = {"user_id": user_id, "deal_id": finding.deal_id, "now": now}
    if query is not None:
        asked: dict[str, Any] = {"item_id": finding.id, "severity": query.severity, "status": query.status}
        asked["owner_id"] = user_id if query.owner == "me" else query.owner
        rows = await fetch(db, (_beside_in if query.q else _beside_in_kept)(_filters_of(query), query.sort, query.q), **values, **asked)
        found = {row.way: (row.id, row.number) for row in rows}
        if "here" in found:
            return Beside(found.get("previous"), found.get("next"))
    rows = await fetch(db, _BESIDE, number=finding.number, **values)
    return Beside(**{("next" if row.number > finding.number else "previous"): (row.id, row.number) for row in rows})


async def next_number(db: AsyncSession, deal: Deal) -> int:
    """Deleted findings count: what somebody called number 7 is not to become another. The caller has locked the deal."""
    return (await db.scalar(select(func.max(Finding.number)).where(Finding.deal_id == deal.id)) or 0) + 1


def _statements(filters: _Filters, sort: Sort, q: str, side: Side) -> tuple[Select[Any], Select[Any]]:
    """A page, each row with the number of all matches, and that number alone."""
    key, descending, _ = _sort_of(sort)
    wanted = _conditions(filters, q)
    total = things_of(Finding, func.count()).where(*wanted)
    page = _shown(key.label("sort_key"), as_column(total, "total")).where(*wanted)
    if side != "first":
        beside = ahead if side == "before" else beyond
        page = page.where(beside(key, Finding.id, (bindparam("last_key"), bindparam("last_id")), descending=descending))
    order = in_reverse_order if side == "before" else in_order
    page = page.order_by(*order(key, Finding.id, descending=descending)).limit(ROWS)
    return page, total


_statements_kept = cache(_statements)


def _sort_of(sort: Sort) -> _Sort:
    name = sort.removeprefix("-")
    plain = _SORTS[name]
    return plain._replace(descending=plain.descending != (name != sort))


def _shown(*columns: Any) -> Select[Any]:
    names = [column for word, person, _ in _PEOPLE for column in (person.id.label(f"{word}_id"), person.name.label(f"{word}_name"))]
    statement = things_of(Finding, *_FACTS, *names, *columns)
    for _, person, id_ in _PEOPLE:
        statement = statement.outerjoin(person, and_(person.id == id_, person.organisation_id == Deal.organisation_id))
    return statement


_ONE = _shown().where(Finding.id == ITEM_ID)


def _beside() -> Select[Any]:
    number, there = bindparam("number", type_=BigId), and_(Finding.deal_id == DEAL_ID, Finding.deleted_at.is_(None))
    before = select(func.max(Finding.number)).where(there, Finding.number < number).scalar_subquery()
    behind = select(func.min(Finding.number)).where(there, Finding.number > number).scalar_subquery()
    wanted = or_(Finding.number == before, Finding.number == behind)
    return things_of(Finding, Finding.id, Finding.number).where(wanted).order_by(Finding.number)


_BESIDE = _beside()


def _beside_in(filters: _Filters, sort: Sort, q: str) -> CompoundSelect[Any]:
    """The finding ITEM_ID, if it is in the list, and those before and behind it there."""
    key, descending, _ = _sort_of(sort)
    wanted = _conditions(filters, q)
    here = things_of(Finding, key).where(Finding.id == ITEM_ID, *wanted).scalar_subquery()

    def one(way: str, *order: ColumnElement[Any]) -> Select[Any]:
        return things_of(Finding, literal(way).label("way"), Finding.id, Finding.number).where(*wanted).order_by(*order).limit(1)

    at: tuple[Any, Any] = (here, ITEM_ID)
    before = one("previous", *in_reverse_order(key, Finding.id, descending=descending))
    behind = one("next", *in_order(key, Finding.id, descending=descending))
    parts = (
        one("here").where(Finding.id == ITEM_ID),
        before.where(ahead(key, Finding.id, at, descending=descending)),
        behind.where(beyond(key, Finding.id, at, descending=descending)),
    )
    # Only what is in brackets of its own may be ordered and limited.
    return union_all(*(select(part.subquery()) for part in parts))


_beside_in_kept = cache(_beside_in)


def _filters_of(query: FindingQuery) -> _Filters:
    status: Any = "" if query.status is None else "unsettled" if query.status == "unsettled" else "one"
    return _Filters(bool(query.severity), status, "" if query.owner is None else "none" if query.owner == "none" else "somebody")


def _conditions(filters: _Filters, q: str) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [matches(q, Finding.title + "\n" + Finding.text)] if q else []
    if filters.severity:
        wanted.append(Finding.severity == bindparam("severity"))
    if filters.status:
        wanted.append(Finding.status.in_(UNSETTLED) if filters.status == "unsettled" else Finding.status == bindparam("status"))
    if filters.owner:
        wanted.append(Finding.owner_id.is_(None) if filters.owner == "none" else Finding.owner_id == bindparam("owner_id"))
    return wanted


def _view(row: Row[Any]) -> FindingView:
    facts = dict(row._mapping)
    people = {word: person_name(facts[f"{word}_id"], facts[f"{word}_name"]) for word, _, _ in _PEOPLE}
    return FindingView(**{name: facts[name] for name in _NAMES}, **people)


def _plain(key: Any) -> Any:
    return key.isoformat() if isinstance(key, datetime) else key
