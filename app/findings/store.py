"""Queries on findings. Each carries the access rule and the deal: a finding of another deal is as absent as none."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.config import Settings
from app.core.errors import NotFound
from app.deals.schemas import person_name
from app.deals.search import matches
from app.findings.schemas import FindingList, FindingQuery, FindingView
from app.http.cursors import Column, Cursors, beyond, in_order
from app.models import FINDING_STATUSES, SEVERITIES, Deal, Finding, User
from app.work.store import things_of

UNSETTLED = ("open", "in_review")

_owner, _creator, _updater = aliased(User), aliased(User), aliased(User)
_PEOPLE = ((_owner, Finding.owner_id), (_creator, Finding.created_by_id), (_updater, Finding.updated_by_id))


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


async def list_findings(
    db: AsyncSession, user_id: int, deal_id: int, query: FindingQuery, *, settings: Settings, now: datetime
) -> FindingList:
    """One page, in two statements. The caller has made sure that this person sees the deal."""
    cursors = Cursors(settings, "findings", user_id, deal_id, query.model_dump(exclude={"limit", "cursor"}))
    name = query.sort.removeprefix("-")
    key, descending, parse = _SORTS[name]
    descending ^= name != query.sort
    wanted = _conditions(query, user_id)
    page = _shown(user_id, deal_id, key.label("sort_key"), now=now).where(*wanted)
    if query.cursor:
        last_key, last_id = cursors.open(query.cursor, 2)
        page = page.where(beyond(key, Finding.id, (parse(last_key), last_id), descending=descending))
    rows = (await db.execute(page.order_by(*in_order(key, Finding.id, descending=descending)).limit(query.limit + 1))).all()
    total = await db.scalar(things_of(Finding, user_id, deal_id, func.count(), now=now).where(*wanted)) or 0
    shown = rows[: query.limit]
    more = cursors.seal(_plain(shown[-1].sort_key), shown[-1].Finding.id) if len(rows) > query.limit else None
    return FindingList(findings=[_view(row) for row in shown], next_cursor=more, total=total)


async def get_finding(db: AsyncSession, user_id: int, deal_id: int, item_id: int, *, now: datetime) -> FindingView:
    """Raises `NotFound`."""
    row = (await db.execute(_shown(user_id, deal_id, now=now).where(Finding.id == item_id))).first()
    if row is None:
        raise NotFound
    return _view(row)


async def next_number(db: AsyncSession, deal: Deal) -> int:
    """Deleted findings count: what somebody called number 7 is not to become another. The caller has locked the deal."""
    return (await db.scalar(select(func.max(Finding.number)).where(Finding.deal_id == deal.id)) or 0) + 1


def _shown(user_id: int, deal_id: int, *columns: Any, now: datetime) -> Select[Any]:
    names = [column for person, _ in _PEOPLE for column in (person.id, person.name)]
    statement = things_of(Finding, user_id, deal_id, Finding, *names, *columns, now=now)
    for person, id_ in _PEOPLE:
        statement = statement.outerjoin(person, and_(person.id == id_, person.organisation_id == Deal.organisation_id))
    return statement


def _conditions(query: FindingQuery, user_id: int) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [matches(query.q, Finding.title + "\n" + Finding.text)] if query.q else []
    if query.severity:
        wanted.append(Finding.severity == query.severity)
    if query.status:
        wanted.append(Finding.status.in_(UNSETTLED) if query.status == "unsettled" else Finding.status == query.status)
    if query.owner is not None:
        owner_id = user_id if query.owner == "me" else query.owner
        wanted.append(Finding.owner_id.is_(None) if owner_id == "none" else Finding.owner_id == owner_id)
    return wanted


def _view(row: Row[Any]) -> FindingView:
    finding: Finding = row[0]
    owner, creator, updater = (person_name(*row[1 + 2 * index : 3 + 2 * index]) for index in range(len(_PEOPLE)))
    facts = {name: getattr(finding, name) for name in ("id", "deal_id", "number", "title", "text", "severity", "status", "version")}
    times = {"created_at": finding.created_at, "updated_at": finding.updated_at}
    return FindingView(**facts, **times, owner=owner, created_by=creator, updated_by=updater)


def _plain(key: Any) -> Any:
    return key.isoformat() if isinstance(key, datetime) else key
