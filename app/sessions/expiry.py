"""Takes expired sessions and dead logins out of SQL. Nothing depends on it for safety: every read checks the deadlines itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import InstrumentedAttribute

from app.core.batches import MAX_ROWS, BatchSizer, ProgressCallback, no_progress
from app.core.clock import Clock
from app.core.database import Database
from app.core.statements import execute_dml
from app.models.sessions import Login, Session

# What a login leaves behind is that its address is known to the account, which no stranger's failures then lock out (auth/backoff.py).
LOGINS_REMEMBERED = timedelta(days=90)

_Table = type[Session] | type[Login]


@dataclass(frozen=True)
class Expired:
    sessions: int = 0
    logins: int = 0


async def expire_sessions(database: Database, clock: Clock, *, most: int = MAX_ROWS, progress: ProgressCallback = no_progress) -> Expired:
    """Delete what is over, in transactions of at most `most` rows each. Raises `DatabaseUnavailable`; what is done by then stays done."""
    now, batches = clock.now(), BatchSizer(most=most)
    long_ago, gone = now - LOGINS_REMEMBERED, {"sessions": 0, "logins": 0}
    ways_to_end: list[tuple[_Table, InstrumentedAttribute[Any], datetime]] = [
        (Session, Session.expires_at, now),
        (Login, Login.ended_at, long_ago),
        (Login, Login.idle_expires_at, long_ago),
        (Login, Login.expires_at, long_ago),
    ]
    for table, moment, before in ways_to_end:
        while count := await _delete_batch(database, table, moment, before, batches):
            gone[table.__tablename__] += count
            await progress(**gone)
            await batches.throttle()
    return Expired(**gone)


async def _delete_batch(
    database: Database, table: _Table, moment: InstrumentedAttribute[Any], before: datetime, batches: BatchSizer
) -> int:
    """The oldest rows by `moment`. What makes a row disposable stands in the DELETE again, because a request may prolong it."""
    with batches.batch() as rows:
        # SKIP LOCKED: a row that a request holds right now is in use; the next run will see. (SQLite has one writer and ignores it.)
        found = select(table.id).where(moment <= before).order_by(moment).limit(rows).with_for_update(skip_locked=True)
        async with database.write() as db:
            return await execute_dml(db, delete(table).where(table.id.in_(found), moment <= before))
