"""Connections to SQLite.

The driver has a thread for each connection, and going there and back is most of what a small statement costs: so one visit does
all that a statement needs.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from sqlalchemy import URL, event
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_cursor
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from app.core.database_url import make_folder, try_to_open
from app.core.lookups import Fetch
from app.core.time_budget import current_time_budget
from app.core.transactions import Done, Driver, Step


def sqlite_engines(url: URL, *, readers: int, wait_seconds: float) -> tuple[AsyncEngine, AsyncEngine]:
    """Many readers and one writer. The writer's pool of one is the queue in which writers of this process wait."""
    make_folder(url)
    limits: dict[str, Any] = {"pool_timeout": wait_seconds, "max_overflow": 0, "connect_args": {"timeout": wait_seconds}}
    reader = create_async_engine(url, pool_size=readers, hide_parameters=True, **limits)
    writer = create_async_engine(url, pool_size=1, hide_parameters=True, **limits)
    for engine in (reader, writer):
        event.listen(engine.sync_engine, "do_connect", _connect)
    # Each statement of a read is a look of its own, as on PostgreSQL (READ COMMITTED): a BEGIN would be as costly as the query.
    event.listen(reader.sync_engine, "connect", _set_up_sqlite("query_only=ON"))
    event.listen(writer.sync_engine, "connect", _set_up_sqlite("synchronous=FULL"))
    event.listen(writer.sync_engine, "begin", _begin_immediate(wait_seconds))
    return reader, writer


class OneVisitCursor(AsyncAdapt_aiosqlite_cursor):
    """Its cursor is made, and its rows are fetched, where the statement is executed."""

    __slots__ = ()

    _cursor: Any

    def __init__(self, adapt_connection: Any) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection
        self._cursor, self._rows, self._soft_closed_memoized = None, deque(), {}  # type: ignore[assignment]

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        await self._visit(sqlite3.Cursor.execute, operation, parameters or ())

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        await self._visit(sqlite3.Cursor.executemany, operation, seq_of_parameters)

    async def _visit(self, run: Callable[[sqlite3.Cursor, Any, Any], Any], operation: Any, parameters: Sequence[Any]) -> None:
        driver: Any = self._connection

        def visit() -> tuple[sqlite3.Cursor, list[Any]]:
            cursor = driver._conn.cursor()
            run(cursor, operation, parameters)
            return cursor, cursor.fetchall() if cursor.description else []

        async with self._adapt_connection._execute_mutex:
            self._cursor, rows = await driver._execute(visit)
        self._rows = deque(rows)

    async def _async_soft_close(self) -> None:
        """There is nothing left to fetch."""

    def close(self) -> None:
        self._rows.clear()


class OneVisitConnection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    _cursor_cls = OneVisitCursor

    def rollback(self) -> None:
        driver: Any = self._connection
        if driver._connection and driver.in_transaction:
            super().rollback()


async def _first_row(driver: Any, sql: str, values: tuple[Any, ...]) -> Any:
    return await driver._execute(lambda: driver._conn.execute(sql, values).fetchone())


async def _all_rows(driver: Any, sql: str, values: tuple[Any, ...]) -> Any:
    return await driver._execute(lambda: driver._conn.execute(sql, values).fetchall())


FETCH = Fetch(_first_row, _all_rows, is_lost=lambda _driver, _error: False)


def transactions(wait_seconds: float) -> Driver:
    """Whose statements in turn are one visit, the first one's with BEGIN."""

    def begin() -> list[Step]:
        return [(f"PRAGMA busy_timeout = {_wait_ms(wait_seconds)}", (), True), ("BEGIN IMMEDIATE", (), False)]

    return Driver(begin, _run_in_turn, _commit)


async def _run_in_turn(driver: Any, steps: Sequence[Step]) -> list[Done]:
    def visit() -> list[Done]:
        done: list[Done] = []
        for sql, values, has_rows in steps:
            cursor = driver._conn.execute(sql, values)
            rows = cursor.fetchall() if has_rows else []
            done.append((len(rows) if has_rows else cursor.rowcount, rows))
            if not done[-1][0]:
                break
        return done

    return cast(list[Done], await driver._execute(visit))


async def _commit(connection: Any) -> None:
    driver = connection._connection
    await driver._execute(lambda: driver._conn.execute("COMMIT"))


def _connect(dialect: Any, record: Any, arguments: Any, options: Any) -> OneVisitConnection:
    try_to_open(dialect, record, arguments, options)
    opened = dialect.connect(*arguments, **options)
    return OneVisitConnection(opened.dbapi, opened._connection)


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


def _wait_ms(wait_seconds: float) -> int:
    """A thread that waits for a lock cannot be called back, so it is told beforehand how much of its time budget is left."""
    budget = current_time_budget()
    return int(1000 * min(wait_seconds, max(budget.left, 0) if budget else wait_seconds))


def _begin_immediate(wait_seconds: float) -> Callable[[Any], None]:
    def begin(connection: Any) -> None:
        wait_ms, driver = _wait_ms(wait_seconds), connection.connection.driver_connection

        def visit() -> None:
            driver._conn.execute(f"PRAGMA busy_timeout = {wait_ms}")
            driver._conn.execute("BEGIN IMMEDIATE")

        await_only(driver._execute(visit))

    return begin
