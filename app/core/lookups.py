"""Reads that nearly every request makes, or programs make all the time: compiled once, and then one trip to the driver.

What an ORM session does around such a statement costs several times the statement. It is one look, so it needs no transaction of
its own, and nothing is made of its row but the row.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from sqlalchemy import Engine, Select
from sqlalchemy.util import await_only

from app.core.compiled import Compiled, compile_for

# Whether a connection is taken from the pool for a single statement, which is a transaction by itself.
takes_no_transaction: ContextVar[bool] = ContextVar("takes_no_transaction", default=False)


class ConnectionLost(Exception):
    """The server had closed the connection. Another one may do."""


class Lookup:
    """A SELECT. What varies in it are `bindparam`s, none of them a list.

    `statement` is for those who look inside a transaction; `Database.look_up` and `look_up_all` are for all others.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement
        self._compiled: dict[str, Compiled] = {}

    def first(self, engine: Engine, fetch: "Fetch", parameters: Mapping[str, Any]) -> Any | None:
        """The row, its columns by name. In a greenlet of SQLAlchemy's. Raises `ConnectionLost`, and what the driver does."""
        compiled, row = self._run(engine, fetch, fetch.first, parameters)
        return None if row is None else compiled.row_of(row)

    def all(self, engine: Engine, fetch: "Fetch", parameters: Mapping[str, Any]) -> list[Any]:
        compiled, rows = self._run(engine, fetch, fetch.all, parameters)
        return [compiled.row_of(row) for row in rows]

    def _run(self, engine: Engine, fetch: "Fetch", run: "Run", parameters: Mapping[str, Any]) -> tuple[Compiled, Any]:
        compiled = self._compiled.get(engine.dialect.name)
        if compiled is None:
            compiled = self._compiled[engine.dialect.name] = compile_for(engine.dialect, self.statement)
        values = compiled.bind(parameters)
        for note in engine.dispatch.before_cursor_execute:  # whoever counts statements counts this one
            note(None, None, compiled.sql, values, None, False)
        return compiled, _run(engine, fetch, run, compiled.sql, values)


Run = Callable[[Any, str, tuple[Any, ...]], Awaitable[Any]]


class Fetch(NamedTuple):
    """Of a driver's connection: the first row of a statement with these values, or all, and whether an error means that it is lost."""

    first: Run
    all: Run
    is_lost: Callable[[Any, BaseException], bool]


def _run(engine: Engine, fetch: Fetch, run: Run, sql: str, values: tuple[Any, ...]) -> Any:
    token = takes_no_transaction.set(True)
    try:
        connection = engine.raw_connection()
    finally:
        takes_no_transaction.reset(token)
    try:
        found = await_only(run(connection.driver_connection, sql, values))
    except BaseException as error:
        # A statement that was given up may still be at work there.
        is_lost = isinstance(error, Exception) and fetch.is_lost(connection.driver_connection, error)
        if is_lost or not isinstance(error, Exception) or isinstance(error, TimeoutError):
            connection.invalidate(error)
        else:
            connection.close()
        if is_lost:
            raise ConnectionLost from error
        raise
    connection.close()
    return found
