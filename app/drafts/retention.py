"""Deletes drafts that are over: discarded, not touched for a year, or of a deal that their writer has not seen for 30 days."""

from datetime import timedelta

from sqlalchemy import and_, delete, or_, select, update

from app.access.permissions import visible_to
from app.core.batches import BatchSizer
from app.core.clock import Clock
from app.core.database import Database
from app.core.statements import execute_dml
from app.drafts.store import READABLE_AFTER
from app.models import Deal, Draft

# As long as what else is remembered of where somebody was.
RETENTION = timedelta(days=365)
# Time enough for an undo.
DISCARDED_FOR = timedelta(days=1)


async def delete_old_drafts(database: Database, clock: Clock) -> int:
    """Note whose access was lost or came back since the last time, then delete. Returns how many. Raises `DatabaseUnavailable`."""
    now = clock.now()
    sees = visible_to(Draft.user_id, Deal.id, now=now).where(Deal.id == Draft.deal_id).correlate(Draft).exists()  # type: ignore[arg-type]
    lost, back = and_(Draft.unseen_since.is_(None), ~sees), and_(Draft.unseen_since.is_not(None), sees)
    over = or_(Draft.discarded_at <= now - DISCARDED_FOR, Draft.updated_at <= now - RETENTION, Draft.unseen_since <= now - READABLE_AFTER)
    batches, total = BatchSizer(), 0
    for which, change in ((lost, {"unseen_since": now}), (back, {"unseen_since": None}), (over, None)):
        while True:
            with batches.batch() as rows:
                async with database.write() as db:
                    some = select(Draft.id).where(which).order_by(Draft.id).limit(rows).with_for_update(of=Draft, skip_locked=True)
                    mine = Draft.id.in_(some)
                    count = await execute_dml(
                        db, delete(Draft).where(mine) if change is None else update(Draft).where(mine).values(**change)
                    )
            if not count:
                break
            total += count if change is None else 0
            await batches.throttle()
    return total
