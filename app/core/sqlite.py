"""Connections to SQLite."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.database_url import make_folder, try_to_open
from app.core.time_budget import current_time_budget


def sqlite_engines(url: URL, *, readers: int, wait_seconds: float) -> tuple[AsyncEngine, AsyncEngine]:
    """Many readers and one writer. The writer's pool of one is the queue in which writers of this process wait."""
    make_folder(url)
    limits: dict[str, Any] = {"pool_timeout": wait_seconds, "max_overflow": 0, "connect_args": {"timeout": wait_seconds}}
    reader = create_async_engine(url, pool_size=readers, hide_parameters=True, **limits)
    writer = create_async_engine(url, pool_size=1, hide_parameters=True, **limits)
    for engine in (reader, writer):
        event.listen(engine.sync_engine, "do_connect", try_to_open)
    # Each statement of a read is a look of its own, as on PostgreSQL (READ COMMITTED): a BEGIN would be as costly as the query.
    event.listen(reader.sync_engine, "connect", _set_up_sqlite("query_only=ON"))
    event.listen(writer.sync_engine, "connect", _set_up_sqlite("synchronous=FULL"))
    event.listen(writer.sync_engine, "begin", _begin_immediate(wait_seconds))
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


def _begin_immediate(wait_seconds: float) -> Callable[[Any], None]:
    def begin(connection: Any) -> None:
        # A thread that waits for a lock cannot be called back, so it is told beforehand how much of its time budget is left.
        budget = current_time_budget()
        wait_ms = int(1000 * min(wait_seconds, max(budget.left, 0) if budget else wait_seconds))
        if connection.info.get("busy_timeout") != wait_ms:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {wait_ms}")
            connection.info["busy_timeout"] = wait_ms
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return begin
