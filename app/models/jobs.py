"""What the worker should do and has done: the schedule, and one row for every run of a job."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Json

TRIGGERS = ("schedule", "cli", "console", "site", "retry")
RUN_STATES = ("queued", "running", "succeeded", "failed", "cancelled")

_SCHEDULED = text("trigger = 'schedule'")
_FAILED = text("status = 'failed'")
_QUEUED = text("status = 'queued'")
_RUNNING = text("status = 'running'")


class JobRun(Base):
    """One run of a job, whatever asked for it, over all of its attempts. A due time of the schedule has one, whoever saw it first.

    The ids of people and processes point nowhere by design: a run is a record of what was, like an event.
    """

    __tablename__ = "job_runs"
    __table_args__ = (
        CheckConstraint(f"trigger IN {TRIGGERS!r}", name="trigger"),
        CheckConstraint(f"status IN {RUN_STATES!r}", name="status"),
        Index("uq_job_runs_name_due_at", "name", "due_at", unique=True, sqlite_where=_SCHEDULED, postgresql_where=_SCHEDULED),
        Index("ix_job_runs_name_id", "name", "id"),
        Index("ix_job_runs_status_id", "status", "id"),
        Index("ix_job_runs_name_status_id", "name", "status", "id"),
        Index("ix_job_runs_finished_at", "finished_at"),
        Index("ix_job_runs_took_ms_id", "took_ms", "id"),
        # What workers look for every second among all that is over. Conditions on them need the status as a literal.
        Index("ix_job_runs_queued", "id", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
        Index("ix_job_runs_running", "id", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
        Index("ix_job_runs_failures", "name", "error_class", "id", sqlite_where=_FAILED, postgresql_where=_FAILED),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(60))
    trigger: Mapped[str] = mapped_column(String(10))
    # When the schedule wanted it; for a run that somebody asked for, when they did.
    due_at: Mapped[datetime]
    # It started noticeably later than due: nobody was there to run it in time.
    is_late: Mapped[bool] = mapped_column(server_default=false())
    payload: Mapped[dict[str, Any]]
    requested_by_id: Mapped[int | None] = mapped_column(BigInteger)
    retry_of_id: Mapped[int | None] = mapped_column(BigInteger)

    status: Mapped[str] = mapped_column(String(10), server_default="queued")
    # 0 until it starts. Whoever runs it writes only while the row still names their attempt.
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    process_id: Mapped[str | None] = mapped_column(String(120))
    queued_at: Mapped[datetime]
    # A queued run is left alone until then: the pause before another attempt.
    not_before: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # Of the last attempt. In whole milliseconds, so that both databases can sort and average it.
    took_ms: Mapped[int | None] = mapped_column(BigInteger)
    cancel_requested_at: Mapped[datetime | None]

    # Of `total` things `done` are done; both unknown where a job cannot say.
    done: Mapped[int | None] = mapped_column(BigInteger)
    total: Mapped[int | None] = mapped_column(BigInteger)
    # What it did so far, in numbers and codes.
    counts: Mapped[dict[str, Any]]

    # Of the last attempt that failed; a run that succeeded in the end keeps none.
    error_class: Mapped[str | None] = mapped_column(String(120))
    error: Mapped[str | None] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    # {attempt, process_id, started_at, ended_at, error_class, error, traceback} of each attempt that did not finish the run.
    earlier_attempts: Mapped[list[Any]] = mapped_column(Json)
    # Of a failed run: when it was run again, by another row. It then no longer counts among the open failures.
    retried_at: Mapped[datetime | None]


class JobSchedule(Base):
    """When a job is due. The worker that starts writes down what this version's jobs want; the times are kept by all workers."""

    __tablename__ = "job_schedule"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    # The text of a `Cron`: "weekday=sun hour=2 minute=0".
    cron: Mapped[str] = mapped_column(String(120))
    zone: Mapped[str] = mapped_column(String(64))
    next_due_at: Mapped[datetime]
    last_due_at: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    # Nothing becomes due meanwhile, and nothing is caught up afterwards.
    paused_at: Mapped[datetime | None]
    paused_by_id: Mapped[int | None] = mapped_column(BigInteger)
