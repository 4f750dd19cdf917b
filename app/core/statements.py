"""Statements: what each database says its own way, and how those are run that are made once, or change rows."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVarTuple, cast

from sqlalchemy import BindParameter, CursorResult, Insert, Label, Row, Select, UpdateBase, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.sql.selectable import TypedReturnsRows

from app.core.transactions import Transaction

Ts = TypeVarTuple("Ts")

# Where a statement that is made once may run.
Running = AsyncSession | Transaction

# Objects this session has loaded are left as they are: nobody changes rows by a statement and goes on with objects of the same rows,
# and to find those would cost a query of its own.
_PAST_LOADED_OBJECTS = {"synchronize_session": False}


async def fetch(db: Running, statement: TypedReturnsRows[*Ts], /, **values: Any) -> Sequence[Row[*Ts]]:
    """The rows of a SELECT of columns with these values of its parameters, past the ORM, which is as costly as the rest of it.

    What an object of this session holds that is not yet flushed is flushed before.
    """
    if isinstance(db, Transaction):
        return await db.fetch(statement, values)
    return await db.run_sync(_fetch, statement, values)


def _fetch(db: Session, statement: Any, values: Mapping[str, Any]) -> Sequence[Row[Any]]:
    if db.autoflush:
        db.flush()
    return db.connection().execute(statement, values).all()


def as_column(statement: Select[Any], name: str) -> Label[Any]:
    """The one value of a statement, as a column of another one that may be over the same tables."""
    return statement.scalar_subquery().correlate(None).label(name)


async def run(db: Running, statement: UpdateBase, /, **values: Any) -> int:
    """Like `fetch`, for an INSERT, UPDATE or DELETE. Returns how many rows it changed."""
    if isinstance(db, Transaction):
        return await db.run(statement, values)
    return await db.run_sync(_run, statement, values)


def _run(db: Session, statement: UpdateBase, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> int:
    if db.autoflush:
        db.flush()
    return db.connection().execute(statement, values).rowcount


async def run_many(db: AsyncSession, statement: UpdateBase, /, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same once for each row of values."""
    await db.run_sync(_run, statement, rows)


def new(table: type[DeclarativeBase], *names: str) -> dict[str, BindParameter[Any]]:
    """A parameter `new_…` for each of these columns, for what a statement that is made once writes there."""
    types: dict[str, Any] = {column.name: column.type for column in table.__table__.columns}
    return {name: bindparam(f"new_{name}", type_=types[name]) for name in names}


async def execute_dml(db: AsyncSession, statement: UpdateBase, parameters: Mapping[str, Any] | None = None) -> int:
    """Run an INSERT, UPDATE or DELETE. Returns how many rows it changed."""
    return cast(CursorResult[Any], await db.execute(statement, parameters, execution_options=_PAST_LOADED_OBJECTS)).rowcount


async def execute_returning(db: AsyncSession, statement: TypedReturnsRows[*Ts]) -> Sequence[Row[*Ts]]:
    """The same for a statement with RETURNING. Returns its rows."""
    return (await db.execute(statement, execution_options=_PAST_LOADED_OBJECTS)).all()


def dialect_of(db: Running) -> str:
    return db.dialect if isinstance(db, Transaction) else db.get_bind().dialect.name


def insert_into(db: AsyncSession, table: type) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, in the words of the database at hand."""
    return insert_of(dialect_of(db), table)


def insert_of(dialect: str, table: type) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def upsert(db: AsyncSession, table: type, values: Mapping[str, Any], *, key: list[str]) -> Insert:
    """INSERT, or where `key` exists UPDATE everything else."""
    changed = {name: value for name, value in values.items() if name not in key}
    return insert_into(db, table).values(**values).on_conflict_do_update(index_elements=key, set_=changed)
