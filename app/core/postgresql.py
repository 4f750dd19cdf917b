"""Connections to PostgreSQL, with a pooler such as PgBouncer between or without.

Directly, the limits of a connection are parameters of its start. A pooler refuses those or forgets them, and may hand every
transaction to another server connection. So with one the limits are a part of BEGIN, in the same round trip, and statements have
no name under which another connection could find or miss them. Nothing else of ours outlives a transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import asyncpg
import structlog
from sqlalchemy import URL, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from app.core.database_url import Connection, Host, connection_of
from app.core.lookups import Fetch, takes_no_transaction
from app.core.transactions import Done, Driver, Step

log = structlog.get_logger()

CLOSE_TIMEOUT_SECONDS = 0.2
_DUPLICATE_STATEMENT, _NO_SUCH_STATEMENT = "42P05", "26000"


class DriverConnection(asyncpg.Connection):  # type: ignore[misc]
    has_served = False

    async def close(self, *, timeout: float | None = None) -> None:
        """A server that did not answer is not waited for once more: SQLAlchemy gives it 2 s to say goodbye."""
        await super().close(timeout=min(timeout or CLOSE_TIMEOUT_SECONDS, CLOSE_TIMEOUT_SECONDS))


class PooledConnection(DriverConnection):
    """Whatever it does is a transaction that says its limits itself."""

    begin = "BEGIN ISOLATION LEVEL READ COMMITTED;"

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        # This is how the driver's transactions start.
        if query.startswith("BEGIN"):
            query = self.begin
        return cast(str, await super().execute(query, *args, timeout=timeout))

    async def set_type_codec(self, *args: Any, **options: Any) -> None:
        """It asks the server in two round trips, which a pooler would send to two servers."""
        async with self.transaction():
            await super().set_type_codec(*args, **options)


class Connector:
    """Opens the connections of one engine, and finds out at the first one whether a pooler is between."""

    def __init__(self, url: URL, name: str, *, limits: Mapping[str, str], timeout: float, command_timeout: float | None = None) -> None:
        self.target: Connection = connection_of(url)
        self.mode: Literal["unknown", "direct", "pooled"] = "pooled" if self.target.pooler else "unknown"
        self._is_pooler_logged = False
        self._name = f"{self.target.application_name}:{name}" if self.target.application_name else name
        self._limits = {**self.target.settings, **limits}
        self._timeout = timeout
        self._command_timeout = command_timeout
        self._hosts: Sequence[Host] = self.target.hosts

    @property
    def names_statements(self) -> bool:
        return self.mode == "direct" or self.target.pooler == "session"

    async def open(self) -> asyncpg.Connection:
        if self.mode != "pooled":
            try:
                connection = await self._connect(pooled=False)
            except asyncpg.PostgresError as refusal:
                # sslmode=prefer tries once more without TLS, and what that is told stands in front.
                if "startup parameter" not in f"{refusal} {refusal.__cause__}":
                    raise
            else:
                try:
                    if self.mode == "direct" or not await self._is_pooled(connection):
                        self.mode = "direct"
                        return connection
                except BaseException:  # whoever asked is gone, or the server is: nobody would ever close it
                    connection.terminate()
                    raise
                await connection.close()
            if not self._is_pooler_logged:  # of several that find out at once the first one logs it
                log.info("DATABASE_URL leads to a pooler: limits go with each transaction, and statements are not kept prepared.")
            self.mode, self._is_pooler_logged = "pooled", True
        return await self._connect(pooled=True)

    def adapt(self, dialect: Any, _record: Any, _args: Any, _options: Any) -> Any:
        """SQLAlchemy's way in: the event `do_connect`."""
        connection = await_only(self.open())

        async def opened() -> asyncpg.Connection:
            return connection

        kept: dict[str, Any] = (
            {} if self.names_statements else {"prepared_statement_cache_size": 0, "prepared_statement_name_func": _unnamed}
        )
        return dialect.connect(async_creator_fn=opened, **kept)

    async def _connect(self, *, pooled: bool) -> asyncpg.Connection:
        """To the first of several hosts that answers and will do; within one time for all, and from then on that one first."""
        fault: Exception | None = None
        for at, (host, port) in enumerate(self._hosts):
            try:
                connection = await self._connect_to(host, port, pooled=pooled)
            except UnicodeError as error:  # of a host's name; nobody else expects it
                fault = OSError(str(error))
                fault.__cause__ = error
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched) as error:
                # What the last one says tells least: it may merely be the one that was never to be used.
                fault = error if fault is None or isinstance(fault, asyncpg.TargetServerAttributeNotMatched) else fault
            else:
                self._hosts = (*self._hosts[at:], *self._hosts[:at])
                return connection
        assert fault is not None
        raise fault

    async def _connect_to(self, host: str | None, port: int | None, *, pooled: bool) -> asyncpg.Connection:
        options: dict[str, Any] = dict(
            self.target.arguments, timeout=self._timeout / len(self._hosts), command_timeout=self._command_timeout
        )
        options |= {name: value for name, value in (("host", host), ("port", port)) if value}
        server_settings = {"application_name": self._name} | ({"options": self.target.options} if self.target.options else {})
        if not pooled:
            return await asyncpg.connect(**options, connection_class=DriverConnection, server_settings=server_settings | self._limits)
        # Which server it is that answers the next question, nobody knows.
        options.pop("target_session_attrs", None)
        if not self.names_statements:
            options["statement_cache_size"] = 0
        connection = await asyncpg.connect(**options, connection_class=PooledConnection, server_settings=server_settings)
        # The isolation is in BEGIN itself.
        limits = {name: value for name, value in self._limits.items() if name != "default_transaction_isolation"}
        connection.begin = " ".join(
            [PooledConnection.begin, *(f"SET LOCAL {name} TO {_quoted(name, value)};" for name, value in limits.items())]
        )
        return connection

    async def _is_pooled(self, connection: asyncpg.Connection) -> bool:
        """Whether another server answers than the one that said hello, or a limit was not taken, as PgBouncer can be told to."""
        try:
            async with connection.transaction():
                asked = await connection.prepare("SELECT pg_backend_pid(), current_setting('statement_timeout')", name="")
                pid, limit = await asked.fetchrow()
        except asyncpg.PostgresError as error:
            if error.sqlstate in (_DUPLICATE_STATEMENT, _NO_SUCH_STATEMENT):
                return True
            raise
        return bool(pid != connection.get_server_pid() or limit != self._limits.get("statement_timeout", limit))


def postgresql_engine(connector: Connector, **pool: Any) -> AsyncEngine:
    engine = create_async_engine("postgresql+asyncpg://", hide_parameters=True, **pool)
    event.listen(engine.sync_engine, "do_connect", connector.adapt)
    event.listen(engine.sync_engine, "checkout", _begin)
    return engine


def _begin(connection: Any, _record: Any, _proxy: Any) -> None:
    """BEGIN, which the first statement would send anyway, at a time when a connection that was ended while idle can still be replaced.

    The pool opens another one then, and nobody hears of `idle_session_timeout`, a restarted database or pooler.
    """
    if takes_no_transaction.get():
        return
    driver: DriverConnection = connection.driver_connection
    try:
        await_only(connection._start_transaction())
    except TimeoutError:
        raise
    except Exception as error:
        if driver.has_served:
            raise DisconnectionError("The server closed the connection while it was idle.") from error
        raise
    driver.has_served = True


async def _first_row(driver: DriverConnection, sql: str, values: tuple[Any, ...]) -> Any:
    row = await driver.fetchrow(sql, *values)
    driver.has_served = True
    return row


async def _all_rows(driver: DriverConnection, sql: str, values: tuple[Any, ...]) -> Any:
    rows = await driver.fetch(sql, *values)
    driver.has_served = True
    return rows


def _is_lost(driver: DriverConnection, error: BaseException) -> bool:
    """While it was idle, most likely. One that has never served is no better the second time."""
    ended = driver.is_closed() or getattr(error, "severity_en", "") == "FATAL"
    return ended and driver.has_served and not isinstance(error, TimeoutError)


FETCH = Fetch(_first_row, _all_rows, _is_lost)


async def _run_in_turn(driver: DriverConnection, steps: Sequence[Step]) -> list[Done]:
    done: list[Done] = []
    for sql, values, has_rows in steps:
        rows: Sequence[Any] = ()
        if has_rows:
            rows = await driver.fetch(sql, *values)
            count = len(rows)
        else:
            count = int((await driver.execute(sql, *values)).rpartition(" ")[2])
        done.append((count, rows))
        if not count:
            break
    return done


async def _commit(connection: Any) -> None:
    await connection._call_and_discard(connection._transaction.commit)


# Taken from the pool a connection has begun.
TRANSACTIONS = Driver(lambda: (), _run_in_turn, _commit)


def _unnamed() -> str:
    return ""


def _quoted(name: str, value: str) -> str:
    """A setting's value for SET. A list such as search_path's is a list of names there, each of which is quoted."""
    parts = [part.strip().strip('"') for part in value.split(",")] if name == "search_path" else [value]
    return ", ".join("'" + part.replace("'", "''") + "'" for part in parts)
