"""SQL: engines with names and limits, one way to read, one way to write, and the one place that commits.

Faults of the database leave here as `DatabaseUnavailable`, nothing else does: an `IntegrityError` is the caller's business.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import URL, ColumnElement, Insert, event, func, literal, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from app.core.clock import Clock
from app.core.database_admission import Admission, Rank
from app.core.database_faults import read_only, unavailable
from app.core.database_url import make_folder, parse_database_url, sqlite_file, try_to_open
from app.core.errors import DatabaseUnavailable
from app.core.postgresql import Connector, postgresql_engine

# Below the 10 s a hold lives (sessions/redis_store.py): no transaction may outlive the hold taken for it.
STATEMENT_LIMIT_SECONDS = 5
# For a connection of the pool, a lock, or a connect.
WAIT_LIMIT_SECONDS = 1.5
# For the answer to one statement. Above the wait for a lock, which the database ends itself and the connection survives.
ANSWER_LIMIT_SECONDS = 2
# The waits above add up, so a request has one limit for all of them (DATABASE_TIMEOUT_SECONDS). With what it may wait for
# Redis, its 2 s stay within the 3 s that no request may exceed. A commit, whose outcome would be unknown, always gets some time.
COMMIT_SECONDS = 0.5
READERS = 8
CONNECTIONS = 10

# Ours, not the database's, to report: wrong SQL, a broken constraint, a value that does not fit.
_CALLERS_BUSINESS = (IntegrityError, ProgrammingError, DataError, NotSupportedError)
_SERIALIZATION_FAILURE, _DEADLOCK = "40001", "40P01"
_FAULTS = (PoolTimeout, OSError, sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Contended(DatabaseUnavailable):
    """The transaction lost against another one; trying it again may well succeed."""


class _TimeBudget:
    """What the request at hand may yet wait for the database. Blocks that overlap count once."""

    def __init__(self, seconds: float) -> None:
        self.has_begun = False
        self._left = seconds
        self._blocks = 0
        self._since = 0.0

    @property
    def left(self) -> float:
        return self._left - (time.monotonic() - self._since if self._blocks else 0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        if not self._blocks:
            self._since = time.monotonic()
        self._blocks += 1
        try:
            yield
        finally:
            if self._blocks == 1:
                self._left = self.left
            self._blocks -= 1


_time_budget: ContextVar[_TimeBudget | None] = ContextVar("time_budget", default=None)


def set_time_budget(seconds: float | None) -> None:
    """From here on this task, and what it starts, waits so long for the database in all; None: as long as each step may take."""
    _time_budget.set(None if seconds is None else _TimeBudget(seconds))


def ensure_time_budget(seconds: float) -> None:
    """What this task may wait for the database is so much at least, for what has to follow on a commit."""
    budget = _time_budget.get()
    if budget is not None and budget.left < seconds:
        set_time_budget(seconds)


class Database:
    """One database under one client name. Reads and writes are transactions; only `write` commits. `audit`: events are kept.

    Errors tell the statement without its values: those are people's, and tracebacks go to the log.
    """

    # Of every transaction on PostgreSQL.
    limits: ClassVar[Mapping[str, str]] = {
        # A server may be set to another one, under which the fence of a session's write would not see that the flag rose.
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{STATEMENT_LIMIT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{STATEMENT_LIMIT_SECONDS}s",
        "lock_timeout": f"{int(WAIT_LIMIT_SECONDS * 1000)}ms",
    }

    def __init__(self, url: str, *, name: str, audit: bool = True, clock: Clock | None = None) -> None:
        # Set by this database's own with the first transaction; the backend flag's poll keeps it right (sessions/backend.py).
        self.clock = clock or Clock()
        self.url = parse_database_url(url)
        self.dialect = self.url.get_backend_name()
        if self.dialect == "sqlite":
            self._reader, self._writer = _sqlite_engines(self.url)
            self._reading, self._writing = Admission(READERS), Admission(1)
        else:
            self._reader = self._writer = _postgresql_engine(self.url, name)
            self._reading = self._writing = Admission(CONNECTIONS)
        self.engines: tuple[AsyncEngine, ...] = tuple({self._reader, self._writer})
        self._read = async_sessionmaker(self._reader, expire_on_commit=False, autoflush=False)
        self._write = async_sessionmaker(self._writer, expire_on_commit=False, info={"audit": audit})

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A look, in which nothing may be written."""
        with _faults_translated():
            async with _within_time_budget(), _admitted(self._reading), self._read() as db:
                await self._set_clock(db)
                yield db

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back by an exception. Raises `Contended` where a retry may help."""
        with _faults_translated():
            async with _within_time_budget() as limit, _admitted(self._writing), self._write() as db:
                await self._set_clock(db)
                yield db
                if (ends_at := limit.when()) is not None:
                    limit.reschedule(max(ends_at, asyncio.get_running_loop().time() + COMMIT_SECONDS))
                await db.commit()

    async def synchronized_clock(self) -> Clock:
        """The clock, set. Raises `DatabaseUnavailable`."""
        async with self.read():
            return self.clock

    async def _set_clock(self, db: AsyncSession) -> None:
        if self.dialect == "postgresql" and not self.clock.is_set:
            await db.connection()
            asked_at = self.clock.monotonic()
            self.clock.synchronize(asked_at, (await db.execute(select(func.clock_timestamp()))).scalar_one(), self.clock.monotonic())

    async def ping(self) -> None:
        """Raises `DatabaseUnavailable` unless it answers, and `ReadOnlyDatabase` unless it takes writes."""
        async with self.read() as db:
            if self.dialect == "postgresql":
                writable = await db.scalar(text("SELECT current_setting('transaction_read_only') = 'off'"))
            else:
                await db.execute(text("SELECT 1"))
                writable = self.url.query.get("mode") != "ro" and os.access(sqlite_file(self.url), os.W_OK)
        if not writable:
            raise read_only()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.dispose()


def insert_into(db: AsyncSession, table: type) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, in the words of the database at hand."""
    return postgresql.insert(table) if db.get_bind().dialect.name == "postgresql" else sqlite.insert(table)


def upsert(db: AsyncSession, table: type, values: Mapping[str, Any], *, key: list[str]) -> Insert:
    """INSERT, or where `key` exists UPDATE everything else."""
    changed = {name: value for name, value in values.items() if name not in key}
    return insert_into(db, table).values(**values).on_conflict_do_update(index_elements=key, set_=changed)


def as_columns(table: type[DeclarativeBase], values: Mapping[str, Any]) -> list[ColumnElement[Any]]:
    """Plain values as the columns of an INSERT … SELECT, each with the type its column has."""
    types: dict[str, Any] = {column.name: column.type for column in table.__table__.columns}
    return [literal(value, types[name]).label(name) for name, value in values.items()]


@asynccontextmanager
async def _within_time_budget() -> AsyncIterator[asyncio.Timeout]:
    """The block takes from the time budget of its request; where that is used up, it ends with a `TimeoutError`."""
    budget = _time_budget.get()
    with budget.waiting() if budget else nullcontext():
        async with asyncio.timeout(budget.left if budget else None) as limit:
            yield limit


@asynccontextmanager
async def _admitted(admission: Admission) -> AsyncIterator[None]:
    """A turn, for as long as a connection is used."""
    budget = _time_budget.get()
    if budget is None:
        rank, within = Rank.BACKGROUND, WAIT_LIMIT_SECONDS
    else:
        rank, within = Rank.BEGUN if budget.has_begun else Rank.REQUEST, min(budget.left, WAIT_LIMIT_SECONDS)
    async with admission.turn(rank, within=within):
        if budget:
            budget.has_begun = True
        yield


@contextmanager
def _faults_translated() -> Iterator[None]:
    try:
        yield
    except _CALLERS_BUSINESS as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise DatabaseUnavailable("The database closed the connection.") from error
        raise
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in (_SERIALIZATION_FAILURE, _DEADLOCK):
            raise Contended("Another transaction won.") from error
        raise unavailable(error, "The database does not answer.") from error
    except _FAULTS as error:
        raise unavailable(error) from error


def _sqlite_engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """Many readers and one writer. The writer's pool of one is the queue in which writers of this process wait."""
    make_folder(url)
    limits: dict[str, Any] = {"pool_timeout": WAIT_LIMIT_SECONDS, "max_overflow": 0, "connect_args": {"timeout": WAIT_LIMIT_SECONDS}}
    reader = create_async_engine(url, pool_size=READERS, hide_parameters=True, **limits)
    writer = create_async_engine(url, pool_size=1, hide_parameters=True, **limits)
    for engine in (reader, writer):
        event.listen(engine.sync_engine, "do_connect", try_to_open)
    # Each statement of a read is a look of its own, as on PostgreSQL (READ COMMITTED): a BEGIN would be as costly as the query.
    event.listen(reader.sync_engine, "connect", _set_up_sqlite("query_only=ON"))
    event.listen(writer.sync_engine, "connect", _set_up_sqlite("synchronous=FULL"))
    event.listen(writer.sync_engine, "begin", _begin_immediate)
    return reader, writer


def _set_up_sqlite(*pragmas: str) -> Callable[[Any, Any], None]:
    def set_up(connection: Any, _record: Any) -> None:
        # We say BEGIN ourselves: the driver's own begins too late, and deferred, so that a read-then-write would fail at once.
        connection.isolation_level = None
        cursor = connection.cursor()
        with suppress(sqlite3.OperationalError):  # a file that may not be written stays as it is, and is read all the same
            cursor.execute("PRAGMA journal_mode=WAL")
        for pragma in ("foreign_keys=ON", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return set_up


def _begin_immediate(connection: Any) -> None:
    # A thread that waits for a lock cannot be called back, so it is told beforehand how much of its time budget is left.
    budget = _time_budget.get()
    wait_ms = int(1000 * min(WAIT_LIMIT_SECONDS, max(budget.left, 0) if budget else WAIT_LIMIT_SECONDS))
    if connection.info.get("busy_timeout") != wait_ms:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {wait_ms}")
        connection.info["busy_timeout"] = wait_ms
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql_engine(url: URL, name: str) -> AsyncEngine:
    connector = Connector(url, name, limits=Database.limits, timeout=WAIT_LIMIT_SECONDS, command_timeout=ANSWER_LIMIT_SECONDS)
    return postgresql_engine(connector, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=WAIT_LIMIT_SECONDS)
