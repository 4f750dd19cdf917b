"""Brings a database to a schema version and back: one transaction, one migrating process at a time, all or nothing."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, NullPool, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core.database_faults import explain
from app.core.database_url import UrlProblem, make_folder, parse_database_url, try_to_open
from app.core.postgresql import Connector, postgresql_engine

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
OLDEST_POSTGRESQL, OLDEST_SQLITE = 15, (3, 40)
# 7301 is the fence's (migration 0003).
MIGRATION_LOCK = 7300
CONNECT_LIMIT_SECONDS = 10
# How long a second process waits for the first one's migrations, and how long a migration waits for a table in use:
# behind a waiting ALTER TABLE every other query of that table waits as well.
TURN_LIMIT_SECONDS = 60
TABLE_LIMIT_SECONDS = 5

# Alembic keeps what it is working on in module globals.
_alembic = Lock()


class MigrationError(Exception):
    """The schema stays as it was. The message is one line for the person at the terminal."""


def upgrade(url: str, revision: str = "head") -> list[str]:
    """Migrate up to `revision`; the revisions applied, none where it was reached before. Blocks: not for an event loop."""
    return _migrate(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> list[str]:
    """Migrate down to `revision`, "base" or a number of steps ("-1"); the revisions taken back. What they added is lost with its data."""
    return _migrate(url, lambda config: command.downgrade(config, revision))


def head_revision() -> str:
    """The schema version this code needs."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None
    return head


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction that no other migrating process is in, committed at the end of the block."""
    target = parse_database_url(url)
    engine = _sqlite_engine(target) if target.get_backend_name() == "sqlite" else _postgresql_engine(target)
    try:
        async with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await _take_turn(connection)
            yield connection
            if engine.dialect.name == "sqlite":
                await _check_references(connection)
    finally:
        await engine.dispose()


def _migrate(url: str, step: Callable[[Config], None]) -> list[str]:
    steps: list[str] = []
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    # As an attribute, since a URL among the options would have every % in it interpreted.
    config.attributes["url"] = url
    config.attributes["on_version_apply"] = lambda *, step, **_: steps.extend(step.up_revision_ids)
    try:
        with _alembic:
            step(config)
    except CommandError as error:
        raise MigrationError(f"{_one_line(error)} (this code knows the versions 0001 to {head_revision()})") from error
    except UrlProblem as error:
        raise MigrationError(_one_line(error)) from error
    except (OSError, sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise MigrationError("the database cannot be reached: {}. {}".format(*explain(error))) from error
    except DBAPIError as error:
        raise MigrationError("{}. {}".format(*explain(error))) from error
    return steps


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _sqlite_engine(url: URL) -> AsyncEngine:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise MigrationError(f"SQLite {sqlite3.sqlite_version} is too old, 3.40 or newer is needed")
    make_folder(url)
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": TURN_LIMIT_SECONDS})
    event.listen(engine.sync_engine, "do_connect", try_to_open)
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _postgresql_engine(url: URL) -> AsyncEngine:
    connector = Connector(url, "holdfast-migrate", limits={}, timeout=CONNECT_LIMIT_SECONDS)
    return postgresql_engine(connector, poolclass=NullPool)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # Without this the driver would begin by itself, and leave DDL outside of the transaction.
    connection.isolation_level = None
    # A rebuilt table is dropped on the way, and what refers to it must survive that; checked before the commit instead.
    connection.execute("PRAGMA foreign_keys=OFF")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _check_references(connection: AsyncConnection) -> None:
    broken: Any = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).mappings().first()
    if broken is not None:
        raise MigrationError(f"the migration would leave rows of {broken['table']} that refer to nothing in {broken['parent']}")


async def _take_turn(connection: AsyncConnection) -> None:
    version: int = (await connection.exec_driver_sql("SELECT current_setting('server_version_num')::int / 10000")).scalar_one()
    if version < OLDEST_POSTGRESQL:
        raise MigrationError(f"PostgreSQL {version} is too old, 15 or newer is needed")
    await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TURN_LIMIT_SECONDS}s'")
    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TABLE_LIMIT_SECONDS}s'")
