"""Queries on imports, each within the organisation of the person who asks: one of another organisation is none."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.administrators import not_an_administrator
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import NotFound
from app.core.statements import execute_dml
from app.http.cursors import Cursors
from app.models import Import, ImportProblem, User

UNFINISHED = ("arriving", "draft", "queued", "running")
PROBLEMS_SHOWN = 100
ON_A_PAGE = 25
_FETCHED = 500


@dataclass(frozen=True)
class RowProblem:
    line: int
    code: str
    message: str
    cells: list[str] | None


async def get_import(db: AsyncSession, user_id: int, import_id: int, *, lock: bool = False) -> Import:
    """Raises `NotFound` outside of this person's organisation, `Forbidden` inside it for everybody but its administrators."""
    asked = (
        select(Import, User.role)
        .join(User, and_(User.id == user_id, User.organisation_id == Import.organisation_id, User.disabled_at.is_(None)))
        .where(Import.id == import_id)
    )
    row = (await db.execute(asked.with_for_update(of=Import) if lock else asked)).first()
    if row is None:
        raise NotFound
    if row.role != "admin":
        raise not_an_administrator()
    found: Import = row.Import
    return found


async def find_name(db: AsyncSession, user_id: int | None) -> str | None:
    return None if user_id is None else await db.scalar(select(User.name).where(User.id == user_id))


async def list_imports(
    db: AsyncSession, user_id: int, organisation_id: int, *, cursor: str | None, settings: Settings
) -> tuple[list[tuple[Import, str | None]], str | None]:
    """Those of the organisation with the names of who made them, the latest first, and the cursor of the next page."""
    cursors = Cursors(settings, "imports", user_id, organisation_id)
    wanted = (
        select(Import, User.name)
        .outerjoin(User, User.id == Import.user_id)
        .where(Import.organisation_id == organisation_id, Import.state != "arriving")
        .order_by(Import.id.desc())
        .limit(ON_A_PAGE + 1)
    )
    if cursor:
        (last_id,) = cursors.open(cursor, 1)
        wanted = wanted.where(Import.id < last_id)
    rows = (await db.execute(wanted)).all()
    shown = [(row.Import, row.name) for row in rows[:ON_A_PAGE]]
    return shown, cursors.seal(shown[-1][0].id) if len(rows) > ON_A_PAGE else None


async def count_unfinished(db: AsyncSession, organisation_id: int) -> int:
    waiting = select(func.count()).where(Import.organisation_id == organisation_id, Import.state.in_(UNFINISHED))
    return await db.scalar(waiting) or 0


async def list_problems(db: AsyncSession, import_id: int) -> dict[str, list[RowProblem]]:
    """The first of each kind, in the order of the file."""
    found: dict[str, list[RowProblem]] = {"refused": [], "warning": []}
    for kind, into in found.items():
        first = select(ImportProblem).where(ImportProblem.import_id == import_id, ImportProblem.kind == kind)
        for each in await db.scalars(first.order_by(ImportProblem.id).limit(PROBLEMS_SHOWN)):
            into.append(RowProblem(each.line, each.code, each.message, each.cells))
    return found


async def all_problems(database: Database, import_id: int, kind: str) -> AsyncIterator[RowProblem]:
    """Every kept row of a kind, some hundreds at a time."""
    last_id = 0
    while True:
        wanted = select(ImportProblem).where(ImportProblem.import_id == import_id, ImportProblem.kind == kind, ImportProblem.id > last_id)
        async with database.read() as db:
            rows = (await db.scalars(wanted.order_by(ImportProblem.id).limit(_FETCHED))).all()
        for each in rows:
            yield RowProblem(each.line, each.code, each.message, each.cells)
        if len(rows) < _FETCHED:
            return
        last_id = rows[-1].id


async def replace_problems(db: AsyncSession, import_id: int, problems: list[dict[str, Any]]) -> None:
    await execute_dml(db, delete(ImportProblem).where(ImportProblem.import_id == import_id))
    await insert_problems(db, import_id, problems)


async def insert_problems(db: AsyncSession, import_id: int, problems: list[dict[str, Any]]) -> None:
    if problems:
        await db.execute(insert(ImportProblem), [{"import_id": import_id, **each} for each in problems])


async def find_filename(db: AsyncSession, user_id: int, import_id: int) -> str | None:
    """What was imported, for administrators of the organisation; None for everybody else, and where there is no such import."""
    mine = and_(User.organisation_id == Import.organisation_id, User.id == user_id, User.disabled_at.is_(None), User.role == "admin")
    return await db.scalar(select(Import.filename).join(User, mine).where(Import.id == import_id))
