"""Raising the epoch by hand: after SQL was restored from a backup, Redis knows sessions that SQL has forgotten.

And becoming another installation by hand: a copy of a database must not go by the names of the one it was made of.
"""

from secrets import token_hex

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.statements import execute_dml
from app.models.sessions import SessionBackend
from app.sessions.backend import Flip, RecordFlip

REASON = "raised by hand"


async def raise_epoch(db: AsyncSession, clock: Clock, *, record_flip: RecordFlip) -> int:
    """Nothing that is in Redis now is read again, once each process has read the flag; the new epoch.

    The flag goes to SQL. A start, or the probe in a living fleet, brings Redis back by itself, under a newer epoch still.
    """
    now = clock.now()
    # The database that is no more may have gone further than this one knows, but never as far as the seconds since 1970.
    epoch = max(await db.scalar(select(SessionBackend.epoch).with_for_update()) or 0, int(now.timestamp())) + 1
    values = {"mode": "sql", "epoch": epoch, "redis_run_id": None, "redis_replid": None}
    await execute_dml(db, update(SessionBackend).values(values | {"reason": REASON, "changed_at": now, "changed_by": "cli"}))
    await record_flip(db, Flip(now, "sql", epoch, REASON))
    return epoch


async def become_another_installation(db: AsyncSession, clock: Clock, *, record_flip: RecordFlip) -> str:
    """A new id, which is also what the keys begin with from the next start of each process on; the id.

    Until all have started anew they and the others disagree about the place of their keys, and so use SQL alone.
    """
    installation_id = token_hex(4)
    await raise_epoch(db, clock, record_flip=record_flip)
    await execute_dml(db, update(SessionBackend).values(installation_id=installation_id, redis_prefix=installation_id))
    return installation_id
