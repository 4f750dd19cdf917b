"""Deletes runs that ended long ago."""

from datetime import timedelta

from sqlalchemy import delete, select

from app.core.batches import BatchSizer
from app.core.clock import Clock
from app.core.database import Database
from app.core.statements import execute_dml
from app.models import JobRun

# A quarter: enough to compare months; the five-minute check alone leaves 26 000 rows in it.
RETENTION = timedelta(days=90)


async def delete_old_runs(database: Database, clock: Clock) -> int:
    """Delete older runs and return how many. Raises `DatabaseUnavailable`."""
    batches, total, over = BatchSizer(), 0, JobRun.finished_at <= clock.now() - RETENTION
    while True:
        with batches.batch() as rows:
            old = select(JobRun.id).where(over).order_by(JobRun.finished_at).limit(rows).with_for_update(skip_locked=True)
            async with database.write() as db:
                count = await execute_dml(db, delete(JobRun).where(JobRun.id.in_(old), over))
        if not count:
            return total
        total += count
        await batches.throttle()
