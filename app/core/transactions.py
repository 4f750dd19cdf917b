"""A transaction straight on the driver: what every selection, restore and place runs costs little more than its statements.

Only statements that are made once are for it (`core.statements`); everything else is the work of SQLAlchemy's own session.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVarTuple

from sqlalchemy import Engine, Executable, Row, UpdateBase
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.selectable import TypedReturnsRows
from sqlalchemy.util import greenlet_spawn

from app.core.compiled import Compilations, Compiled

Ts = TypeVarTuple("Ts")

# SQL with its values; whether it answers with rows.
Step = tuple[str, tuple[Any, ...], bool]
# How many rows a step changed or found, and the rows. Negative: nobody counted.
Done = tuple[int, Sequence[Any]]


class Driver(NamedTuple):
    """Of a database: what precedes the first statement, and how its connections run steps, until one changes nothing, and COMMIT."""

    begin: Callable[[], Sequence[Step]]
    run: Callable[[Any, Sequence[Step]], Awaitable[Sequence[Done]]]
    commit: Callable[[Any], Awaitable[None]]


class Transaction:
    """Begun with its first statement, ended by `commit` or `close`. Errors are SQLAlchemy's."""

    def __init__(self, engine: Engine, driver: Driver, compilations: Compilations, connection: Any, *, audit: bool) -> None:
        self.dialect = engine.dialect.name
        self.audit = audit
        self._engine = engine
        self._driver = driver
        self._compilations = compilations
        self._connection = connection
        self._has_begun = False
        # A statement was given up that may still be at work.
        self._is_at_work = False
        self._is_committed = False

    @classmethod
    async def open(cls, engine: Engine, driver: Driver, compilations: Compilations, *, audit: bool) -> Self:
        connection = await greenlet_spawn(engine.raw_connection)
        return cls(engine, driver, compilations, connection, audit=audit)

    async def fetch(self, statement: TypedReturnsRows[*Ts], values: Mapping[str, Any]) -> Sequence[Row[*Ts]]:
        compiled = self._compilations.of(statement, values)
        _, rows = (await self._run([(compiled, values)]))[-1]
        return [compiled.row_of(row) for row in rows]

    async def run(self, statement: UpdateBase, values: Mapping[str, Any]) -> int:
        return (await self._run([(self._compilations.of(statement, values), values)]))[-1][0]

    async def run_in_turn(self, *steps: tuple[Executable, Mapping[str, Any]]) -> int:
        """How many of these changed a row, or found one, before one did not; that one is the last to be run."""
        done = await self._run([(self._compilations.of(statement, values), values) for statement, values in steps])
        return sum(count != 0 for count, _ in done)

    async def commit(self) -> None:
        if self._has_begun:
            for note in self._engine.dispatch.commit:  # whoever counts commits counts this one
                note(None)
            await self._watched(self._driver.commit(self._connection.dbapi_connection), "COMMIT")
            self._is_committed = True

    async def close(self) -> None:
        """What is not committed is rolled back, and whoever is cancelled meanwhile does not keep the connection from the pool."""
        closing = greenlet_spawn(self._close)
        await (closing if self._is_committed else asyncio.shield(asyncio.create_task(closing)))

    def _close(self) -> None:
        if self._is_at_work:
            self._connection.invalidate()
        else:
            self._connection.close()

    async def _run(self, steps: Sequence[tuple[Compiled, Mapping[str, Any]]]) -> Sequence[Done]:
        bound: list[Step] = [(compiled.sql, compiled.bind(values), bool(compiled.read)) for compiled, values in steps]
        for note in self._engine.dispatch.before_cursor_execute:  # whoever counts statements counts these
            for sql, values, _ in bound:
                note(None, None, sql, values, None, False)
        first = () if self._has_begun else self._driver.begin()
        self._has_begun = True
        done: Sequence[Done] = await self._watched(self._driver.run(self._connection.driver_connection, [*first, *bound]), bound[0][0])
        return done[len(first) :] if first else done

    async def _watched(self, work: Awaitable[Any], sql: str) -> Any:
        self._is_at_work = True
        try:
            answer = await work
        except TimeoutError:
            raise
        except Exception as error:
            self._is_at_work = False
            if (named := self._named(error, sql)) is error:
                raise
            raise named from error
        self._is_at_work = False
        return answer

    def _named(self, error: Exception, sql: str) -> Exception:
        """As SQLAlchemy names it."""
        dialect, adapted = self._engine.dialect, self._connection.dbapi_connection
        try:
            adapted._handle_exception(error)
        except Exception as named:
            error = named
        errors: Any = dialect.loaded_dbapi.Error
        if not isinstance(error, errors):
            return error
        self._is_at_work = is_lost = dialect.is_disconnect(error, adapted, None)
        made: Exception = DBAPIError.instance(
            sql, None, error, errors, hide_parameters=True, connection_invalidated=is_lost, dialect=dialect
        )
        return made
