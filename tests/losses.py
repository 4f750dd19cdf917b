"""What can be lost or go wrong under a session, done for real: rows deleted, Redis emptied, writes refused or made to wait."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import asyncpg
from sqlalchemy import delete, text

from app.core.database import Database
from app.models import Session
from app.resources import Resources

REMEMBERED = ("events", "outbox", "sessions", "users", "visits")


async def empty_redis(resources: Resources) -> None:
    if resources.redis:
        await resources.redis.commands.flushdb()


async def lose_sessions(resources: Resources) -> None:
    """Every session is gone, from SQL and from Redis; the logins live on."""
    async with resources.database.write() as db:
        await db.execute(delete(Session))
    await empty_redis(resources)


async def footprint(database: Database) -> dict[str, list[Any]]:
    """Everything a selection writes to, row by row."""
    async with database.read() as db:
        return {table: [tuple(row) for row in await db.execute(text(f"SELECT * FROM {table} ORDER BY 1"))] for table in REMEMBERED}


async def refuse_writes(database: Database, table: str) -> None:
    """From now on the database refuses every INSERT and UPDATE on `table`."""
    async with database.write() as db:
        if database.dialect == "postgresql":
            refuse = "BEGIN RAISE EXCEPTION 'refused by the test'; END"
            await db.execute(text(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {refuse} $$"))
            await db.execute(text(f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION refuse()"))
            return
        for verb in ("INSERT", "UPDATE"):
            refuse = "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
            await db.execute(text(f"CREATE TRIGGER refuse_{verb} BEFORE {verb} ON {table} {refuse}"))


@asynccontextmanager
async def writes_to_sessions_blocked(database: Database) -> AsyncIterator[None]:
    """Somebody holds a lock for as long as this lasts: sessions can be read, and writes wait until they give up."""
    if database.dialect == "sqlite":
        with closing(sqlite3.connect(database.url.database or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    connection = await asyncpg.connect(database.url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE sessions IN SHARE MODE")
            yield
    finally:
        await connection.close()
