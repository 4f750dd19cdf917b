"""A run under way, as the body of its job sees it."""

import time
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, update

from app.core.database import Database
from app.core.errors import Unavailable
from app.core.statements import execute_returning
from app.models import JobRun

# Often enough for people who watch, seldom enough for the database.
TOLD_EVERY = timedelta(milliseconds=500)


class RunCancelled(Exception):
    """Somebody asked this run to stop."""


class RunLost(Exception):
    """Another process has taken this run up, because this one seemed dead. Nothing of it may be written any more."""


class Run:
    """Give `progress` what was done so far; what was counted last is what the run's row keeps."""

    def __init__(self, database: Database, row: JobRun) -> None:
        self.database = database
        self.id = row.id
        self.name = row.name
        self.payload: dict[str, Any] = row.payload
        self.attempt = row.attempt
        self.process_id = row.process_id
        self.requested_by_id = row.requested_by_id
        self.counts: dict[str, Any] = {}
        # Set by whoever watches over the row, so that a body learns of its end between two of its transactions.
        self.ended_by: RunCancelled | RunLost | None = None
        self._told_at = 0.0

    async def progress(self, done: int | None = None, total: int | None = None, **counts: Any) -> None:
        """Tell how far it is; written at most twice a second. Call it between transactions, never inside one: SQLite has one writer.

        Raises `RunCancelled` and `RunLost`: let them through, what is committed by then stays. A body that does not call
        this for some seconds is ended by a `CancelledError` instead.
        """
        self.counts |= counts
        if self.ended_by:
            raise self.ended_by
        if time.monotonic() - self._told_at < TOLD_EVERY.total_seconds():
            return
        self._told_at = time.monotonic()
        told = update(JobRun).where(*self.is_mine()).values(done=done, total=total, counts=self.counts)
        try:
            async with self.database.write() as db:
                rows = await execute_returning(db, told.returning(JobRun.cancel_requested_at))
        except Unavailable:
            return  # the work itself will meet the outage, or not
        if not rows:
            raise RunLost
        if rows[0].cancel_requested_at is not None:
            raise RunCancelled

    def is_mine(self) -> tuple[ColumnElement[bool], ...]:
        """The row still names this attempt by this process."""
        return (
            JobRun.id == self.id,
            JobRun.status == "running",
            JobRun.attempt == self.attempt,
            JobRun.process_id == self.process_id,
        )
