"""SQL: engines with names and limits, one way to read, one way to write, and the one place that commits.

Faults of the database leave here as `DatabaseUnavailable`, nothing else does: an `IntegrityError` is the caller's business.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import Result, func, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.util import greenlet_spawn

from app.core import postgresql, sqlite
from app.core.clock import Clock
from app.core.compiled import Compilations
from app.core.database_admission import Admission, Rank
from app.core.database_faults import read_only, unavailable
from app.core.database_url import parse_database_url, sqlite_file
from app.core.errors import DatabaseUnavailable
from app.core.lookups import ConnectionLost, Fetch, Lookup
from app.core.postgresql import Connector, postgresql_engine
from app.core.sqlite import sqlite_engines
from app.core.time_budget import current_time_budget
from app.core.transactions import Transaction

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
            self._reader, self._writer = sqlite_engines(self.url, readers=READERS, wait_seconds=WAIT_LIMIT_SECONDS)
            self._reading, self._writing = Admission(READERS), Admission(1)
            self._transactions = sqlite.transactions(WAIT_LIMIT_SECONDS)
            self._connector = None
        else:
            limits: dict[str, Any] = {"timeout": WAIT_LIMIT_SECONDS, "command_timeout": ANSWER_LIMIT_SECONDS}
            self._connector = Connector(self.url, name, limits=Database.limits, **limits)
            self._reader = self._writer = postgresql_engine(
                self._connector, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=WAIT_LIMIT_SECONDS
            )
            self._reading = self._writing = Admission(CONNECTIONS)
            self._transactions = postgresql.TRANSACTIONS
        self.engines: tuple[AsyncEngine, ...] = tuple({self._reader, self._writer})
        self._read = async_sessionmaker(self._reader, expire_on_commit=False, autoflush=False)
        self._write = async_sessionmaker(self._writer, expire_on_commit=False, info={"audit": audit})
        self._audit, self._compilations = audit, Compilations(self._writer.sync_engine.dialect)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A look, in which nothing may be written."""
        with _faults_translated():
            async with _within_time_budget(), _admitted(self._reading), self._read() as db:
                await self._set_clock(db)
                yield db

    async def look_up(self, lookup: Lookup, **values: Any) -> Any | None:
        """The first row of a `lookup`, outside of any transaction. Through a pooler, which tells limits by transaction, in one."""
        return await self._look_up(lookup, lookup.first, Result.first, values)

    async def look_up_all(self, lookup: Lookup, **values: Any) -> Sequence[Any]:
        """The same with all its rows."""
        found: Sequence[Any] = await self._look_up(lookup, lookup.all, Result.all, values)
        return found

    async def _look_up(self, lookup: Lookup, run: Callable[..., Any], of_result: Callable[[Any], Any], values: Mapping[str, Any]) -> Any:
        with _faults_translated():
            async with _within_time_budget(), _admitted(self._reading):
                if fetch := self._fetch():
                    with suppress(ConnectionLost):
                        return await greenlet_spawn(run, self._reader.sync_engine, fetch, values)
                async with self._read() as db:
                    await self._set_clock(db)
                    return of_result(await db.execute(lookup.statement, values))

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back by an exception. Raises `Contended` where a retry may help."""
        with _faults_translated():
            async with _within_time_budget() as limit, _admitted(self._writing), self._write() as db:
                await self._set_clock(db)
                yield db
                _assure_commit(limit)
                await db.commit()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """`write` for what runs all the time: statements that are made once, and nothing of the ORM."""
        with _faults_translated():
            async with _within_time_budget() as limit, _admitted(self._writing):
                if self.dialect == "postgresql" and not self.clock.is_set:
                    async with self._read() as db:
                        await self._set_clock(db)
                engine = self._writer.sync_engine
                begun = await Transaction.open(engine, self._transactions, self._compilations, audit=self._audit)
                try:
                    yield begun
                    _assure_commit(limit)
                    await begun.commit()
                finally:
                    await begun.close()

    async def synchronized_clock(self) -> Clock:
        """The clock, set. Raises `DatabaseUnavailable`."""
        async with self.read():
            return self.clock

    async def _set_clock(self, db: AsyncSession) -> None:
        if self.dialect == "postgresql" and not self.clock.is_set:
            await db.connection()
            asked_at = self.clock.monotonic()
            self.clock.synchronize(asked_at, (await db.execute(select(func.clock_timestamp()))).scalar_one(), self.clock.monotonic())

    def _fetch(self) -> Fetch | None:
        """How a statement is run without a transaction around it; None where it needs one."""
        if self._connector is None:
            return sqlite.FETCH
        return postgresql.FETCH if self._connector.mode == "direct" and self.clock.is_set else None

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


def _assure_commit(limit: asyncio.Timeout) -> None:
    if (ends_at := limit.when()) is not None:
        limit.reschedule(max(ends_at, asyncio.get_running_loop().time() + COMMIT_SECONDS))


@asynccontextmanager
async def _within_time_budget() -> AsyncIterator[asyncio.Timeout]:
    """The block takes from the time budget of its request; where that is used up, it ends with a `TimeoutError`."""
    budget = current_time_budget()
    with budget.waiting() if budget else nullcontext():
        async with asyncio.timeout(budget.left if budget else None) as limit:
            yield limit


@asynccontextmanager
async def _admitted(admission: Admission) -> AsyncIterator[None]:
    """A turn, for as long as a connection is used."""
    budget = current_time_budget()
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
