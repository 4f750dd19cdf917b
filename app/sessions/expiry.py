"""Takes expired sessions and dead logins out of SQL. Nothing depends on it for safety: every read checks the deadlines itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, CursorResult, Select, delete, select

from app.clock import Clock
from app.database import Database
from app.models import Login, Session

# Small enough that nobody waits noticeably behind one transaction.
BATCH = 1000
# What a login leaves behind is that its address is known to the account, which no stranger's failures then lock out (auth/backoff.py).
LOGINS_REMEMBERED = timedelta(days=90)


@dataclass(frozen=True)
class Expired:
    sessions: int = 0
    logins: int = 0


async def expire_sessions(database: Database, clock: Clock, *, batch: int = BATCH) -> Expired:
    """Delete what is over, in transactions of at most `batch` rows each. Raises `DatabaseUnavailable`; what is done by then stays done.

    Batches follow an index. What makes a row disposable stands in the DELETE again, because a request may prolong it meanwhile.
    """
    now = clock.now()
    over = Session.expires_at <= now
    sessions = await _delete_in_batches(database, Session, select(Session.id).where(over).order_by(Session.expires_at), over, batch)
    dead = _dead_logins(now - LOGINS_REMEMBERED)
    logins = await _delete_in_batches(database, Login, select(Login.id).where(dead).order_by(Login.id), dead, batch)
    return Expired(sessions, logins)


def _dead_logins(since: datetime) -> ColumnElement[bool]:
    return (Login.ended_at <= since) | (Login.idle_expires_at <= since) | (Login.expires_at <= since)


async def _delete_in_batches(
    database: Database, table: type[Session | Login], found: Select[int], disposable: ColumnElement[bool], batch: int
) -> int:
    total = 0
    while True:
        # SKIP LOCKED: a row that a request holds right now is in use; the next run will see. (SQLite has one writer and ignores it.)
        ids = found.limit(batch).with_for_update(skip_locked=True)
        async with database.write() as db:
            result = await db.execute(delete(table).where(table.id.in_(ids), disposable), execution_options={"synchronize_session": False})
            assert isinstance(result, CursorResult)
        total += result.rowcount
        if result.rowcount < batch:
            return total
