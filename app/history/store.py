"""Statements on revisions: written in the transaction of the change they describe, read through the access rule.

Each holds what the change replaced. What a thing said at a version is what it says now, with all later changes taken back.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Row, Select, and_, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.permissions import visible_to
from app.core.batches import BatchSizer
from app.core.database import Database
from app.core.statements import execute_dml, fetch, run, run_many
from app.models import DEAL_ID, NOW, REVISED, USER_ID, ChecklistItem, Deal, Finding, Revision, User
from app.models.base import BigId

# Of one thing; the nightly job deletes what is older. A page shows all there are, those of the day included up to twice as many.
MAX_KEPT = 100

Kind = Literal["finding", "item", "deal"]

_INSERT = insert(Revision).inline()
_TABLES: Mapping[str, type[Finding] | type[ChecklistItem]] = {"finding": Finding, "item": ChecklistItem}
_by = aliased(User)


class Step(NamedTuple):
    """One change: what it made of what."""

    version: int
    verb: str
    at: datetime
    by_id: int | None
    by_name: str | None
    before: dict[str, Any]
    after: dict[str, Any]


def revision_of(
    kind: Kind, deal_id: int, item_id: int, version: int, verb: str, by_id: int | None, at: datetime, before: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of one row; `before` are the facts that the change replaced, as they were."""
    known = {"kind": kind, "deal_id": deal_id, "item_id": item_id, "version": version, "verb": verb, "by_id": by_id, "at": at}
    return known | {"before": {name: as_json(value) for name, value in before.items()}}


def as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


async def keep_revision(db: AsyncSession, *values: Any) -> None:
    """As `revision_of`."""
    await run(db, _INSERT, **revision_of(*values))


async def keep_revisions(db: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        await run_many(db, _INSERT, rows)


def _of(kind: Kind) -> Select[Any]:
    columns = (Revision.version, Revision.verb, Revision.at, Revision.before, _by.id.label("by_id"), _by.name.label("by_name"))
    ours = and_(Revision.deal_id == Deal.id, Revision.kind == kind, Revision.item_id == bindparam("item_id", type_=BigId))
    statement = visible_to(USER_ID, *columns, now=NOW).join(Revision, ours)
    if table := _TABLES.get(kind):
        # What is deleted shows its history once it is back.
        statement = statement.join(table, and_(table.id == Revision.item_id, table.deal_id == Deal.id, table.deleted_at.is_(None)))
    known = and_(_by.id == Revision.by_id, _by.organisation_id == Deal.organisation_id)
    return statement.outerjoin(_by, known).where(Deal.id == DEAL_ID).order_by(Revision.version.desc()).limit(2 * MAX_KEPT)


_STATEMENTS: Mapping[str, Select[Any]] = {kind: _of(kind) for kind in REVISED}  # type: ignore[arg-type]


async def list_steps(
    db: AsyncSession, kind: Kind, user_id: int, deal_id: int, item_id: int, facts: Mapping[str, Any], *, now: datetime
) -> list[Step]:
    """The changes that are kept, the latest first; `facts` is what the thing says now, as JSON, and its version."""
    rows = await fetch(db, _STATEMENTS[kind], user_id=user_id, deal_id=deal_id, item_id=item_id, now=now)
    steps, current = [], dict(facts)
    for row in rows:
        if row.version > facts["version"]:
            continue  # made between the two reads
        before = {name: value for name, value in _facts(row).items() if name in current}
        steps.append(Step(row.version, row.verb, row.at, row.by_id, row.by_name, before, {name: current[name] for name in before}))
        current |= before
    return steps


def facts_at(steps: Sequence[Step], version: int) -> dict[str, Any]:
    """What is to be stated for the thing to say again what it said at `version`: all that was changed since."""
    back: dict[str, Any] = {}
    for step in steps:
        if step.version > version:
            back |= step.before
    return back


async def delete_old_revisions(database: Database) -> int:
    """Of each thing all but the last `MAX_KEPT`. Returns how many. Raises `DatabaseUnavailable`."""
    last = func.max(Revision.version).label("last")
    long = select(Revision.kind, Revision.item_id, last).group_by(Revision.kind, Revision.item_id).having(func.count() > MAX_KEPT)
    batches, total = BatchSizer(), 0
    async with database.read() as db:
        things = (await db.execute(long)).all()
    for thing in things:
        async with database.read() as db:
            kept = select(Revision.version).where(Revision.kind == thing.kind, Revision.item_id == thing.item_id)
            oldest = await db.scalar(kept.order_by(Revision.version.desc()).offset(MAX_KEPT - 1).limit(1))
        with batches.batch():
            async with database.write() as db:
                over = and_(Revision.kind == thing.kind, Revision.item_id == thing.item_id, Revision.version < oldest)
                total += await execute_dml(db, delete(Revision).where(over))
        await batches.throttle()
    return total


def _facts(row: Row[Any]) -> dict[str, Any]:
    return row.before if isinstance(row.before, dict) else {}
