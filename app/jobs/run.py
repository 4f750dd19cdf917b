"""An active run, as the body of its job sees it."""

import time
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, update

from app.core.database import Database
from app.core.errors import Unavailable
from app.core.statements import execute_returning
from app.models import JobRun

# Frequent enough for people who watch, rare enough for the database.
PROGRESS_INTERVAL = timedelta(milliseconds=500)


class RunCancelled(Exception):
    """An operator or a command cancelled this run."""


class RunLost(Exception):
    """Another process has reclaimed this run because this one seemed dead. It may write nothing more."""


class Run:
    """Report through `progress`; the last counts stay in the row of the run."""

    def __init__(self, database: Database, row: JobRun) -> None:
        self.database = database
        self.id = row.id
        self.name = row.name
        self.payload: dict[str, Any] = row.payload
        self.attempt = row.attempt
        self.process_id = row.process_id
        self.requested_by_id = row.requested_by_id
        self.counts: dict[str, Any] = {}
        # Set by the runner, which polls the row, so that a body stops between two of its transactions.
        self.ended_by: RunCancelled | RunLost | None = None
        self._reported_at = 0.0

    async def progress(self, done: int | None = None, total: int | None = None, **counts: Any) -> None:
        """Report progress; written at most twice a second. Call it between transactions, never inside one: SQLite has one writer.

        Raises `RunCancelled` and `RunLost`: let them propagate, committed work stays. A body that does not call
        this for some seconds is ended by a `CancelledError` instead.
        """
        self.counts |= counts
        if self.ended_by:
            raise self.ended_by
        if time.monotonic() - self._reported_at < PROGRESS_INTERVAL.total_seconds():
            return
        self._reported_at = time.monotonic()
        report = update(JobRun).where(*self.is_mine()).values(done=done, total=total, counts=self.counts)
        try:
            async with self.database.write() as db:
                rows = await execute_returning(db, report.returning(JobRun.cancel_requested_at))
        except Unavailable:
            return  # the work itself finds out if the outage matters
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
