"""Up to which id the events are complete.

An id is given out before its transaction commits, so on PostgreSQL a lower one may appear after a higher one. What must
miss nothing (the sealed chain, the marks of the groups) goes no further than what is settled.
"""

import asyncio
from typing import Any

import structlog
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import Database
from app.models import Event

log = structlog.get_logger()

# A transaction that has an id and has not committed holds this table lock, which every INSERT takes before the id.
_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted"
    " AND relation = 'events'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# A transaction that takes longer is waited for by the next call.
WARN_AFTER_SECONDS = 2.0
POLL_SECONDS = 0.02


async def commit_watermark(database: Database) -> int | None:
    """The highest id below which no event can be committed any more; 0 if there is none.

    None: a transaction has been writing for too long. What the caller reads afterwards sees all of them.
    """
    async with database.read() as db:
        newest = await db.scalar(select(func.max(Event.id))) or 0
        writers = await _writers(db)
    waited = 0.0
    while writers:
        if waited >= WARN_AFTER_SECONDS:
            log.warning("A transaction has been writing events for long; sealing and marks wait for it.", seconds=WARN_AFTER_SECONDS)
            return None
        await asyncio.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
        async with database.read() as db:
            writers &= await _writers(db)
    return newest


async def _writers(db: AsyncSession) -> set[Any]:
    """SQLite has one writer at a time, who takes the next id: what can be read is complete."""
    if db.get_bind().dialect.name != "postgresql":
        return set()
    return set(await db.scalars(_WRITERS))
