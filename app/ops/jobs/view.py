"""What `/ops/jobs` shows: the schedule, the queue, what fails, what ran. The queue is in SQL, so Redis has no say in it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.http.cursors import Cursors
from app.http.query import Cursor
from app.jobs.cron import Cron
from app.jobs.definitions import FORMER_NAMES, JOBS, LATE_AFTER, Job, shown_name
from app.jobs.store import FailureGroup, count_waiting, get_run, list_failures, list_schedules
from app.models import JobRun, JobSchedule, User
from app.ops.jobs.store import RunFigures, RunsWanted, count_active, list_active, list_history
from app.ops.statistics.windows import WindowName

HISTORY_PAGE = 25
ACTIVE_SHOWN = 50

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Trigger = Literal["schedule", "cli", "console", "site", "retry"]
Sort = Literal["newest", "oldest", "longest", "shortest"]
ScheduleState = Literal["on_time", "missed", "paused", "on_demand", "no_worker"]


class RunQuery(BaseModel):
    """Which runs, in which order. A cursor is good for these filters and this order."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    job: Annotated[str, AfterValidator(shown_name)] | None = Field(default=None, max_length=60)
    status: Status | None = None
    trigger: Trigger | None = None
    error: str | None = Field(default=None, max_length=120)
    sort: Sort = "newest"
    cursor: Cursor | None = None


class JobsQuery(RunQuery):
    """The window is that of the charts."""

    window: WindowName = "24h"


class RunView(BaseModel):
    id: int
    job: str
    trigger: str
    status: str
    requested_by: str | None
    due_at: datetime
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    took_ms: int | None
    attempt: int
    is_late: bool
    is_cancelling: bool
    process_id: str | None
    done: int | None
    total: int | None
    counts: dict[str, Any]
    error_class: str | None
    error: str | None
    retry_of_id: int | None
    retried_at: datetime | None

    @classmethod
    def of(cls, run: JobRun, requested_by: str | None = None) -> "RunView":
        own = {
            "job": shown_name(run.name),
            "requested_by": requested_by,
            "is_cancelling": run.status == "running" and run.cancel_requested_at is not None,
        }
        return cls(**own, **{name: getattr(run, name) for name in cls.model_fields if name not in own and hasattr(run, name)})


class RunDetail(RunView):
    payload: dict[str, Any]
    traceback: str | None
    earlier_attempts: list[dict[str, Any]]
    retried_as: list[int]

    @property
    def can_retry(self) -> bool:
        return self.status in ("failed", "cancelled") and self.retried_at is None

    @property
    def can_cancel(self) -> bool:
        return self.status in ("queued", "running") and not self.is_cancelling


class ScheduleView(BaseModel):
    """`state`: on_time, or missed (its time came and nobody queued it), paused, on_demand, no_worker (none has ever started)."""

    job: str
    summary: str
    cron: str
    when: str
    zone: str
    state: ScheduleState
    next_due_at: datetime | None
    last_due_at: datetime | None
    last_success_at: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    last_run: RunView | None


class FailureView(BaseModel):
    job: str
    error_class: str
    count: int
    last_run_id: int


class RunBucket(BaseModel):
    start: datetime
    succeeded: int
    failed: int
    cancelled: int
    p95_ms: int | None

    @classmethod
    def of(cls, start: datetime, figures: RunFigures) -> "RunBucket":
        return cls(start=start, p95_ms=figures.p95_ms, **figures.ended)


class Queue(BaseModel):
    waiting: int
    running: int
    oldest_seconds: float | None
    open_failures: int
    missed: int
    late: int


class JobsView(BaseModel):
    at: datetime
    queue: Queue
    schedule: list[ScheduleView]
    active: list[RunView]
    failures: list[FailureView]


class History(BaseModel):
    runs: list[RunView]
    next_cursor: str | None


async def view_jobs(db: AsyncSession, *, now: datetime) -> JobsView:
    counts, waiting = await count_active(db), await count_waiting(db)
    schedule = await list_schedule(db, now)
    oldest = (now - waiting.oldest_queued_at).total_seconds() if waiting.oldest_queued_at else None
    return JobsView(
        at=now,
        queue=Queue(
            waiting=waiting.count,
            running=counts["running"],
            oldest_seconds=oldest,
            open_failures=counts["failed"],
            missed=sum(each.state == "missed" for each in schedule),
            late=sum(bool(each.last_run and each.last_run.is_late) for each in schedule),
        ),
        schedule=schedule,
        active=[RunView.of(run) for run in await list_active(db, limit=ACTIVE_SHOWN)],
        failures=_merged(await list_failures(db)),
    )


async def list_schedule(db: AsyncSession, now: datetime) -> list[ScheduleView]:
    """Every job there is, in the order of `JOBS`, under its present name; one without a schedule runs on demand."""
    known = {schedule.name: (schedule, run) for schedule, run in await list_schedules(db)}
    pausers = {schedule.paused_by_id for schedule, _ in known.values() if schedule.paused_by_id is not None}
    emails = {row.id: row.email for row in await db.execute(select(User.id, User.email).where(User.id.in_(pausers)))} if pausers else {}
    views = []
    for name, job in JOBS.items():
        if name in FORMER_NAMES:
            continue
        schedule, run = known.get(name, (None, None))
        cron = Cron.parse(schedule.cron) if schedule else job.cron
        views.append(
            ScheduleView(
                job=name,
                summary=job.summary,
                cron=str(cron or ""),
                when=cron.in_words if cron else "on demand",
                zone=schedule.zone if schedule else "",
                state=_state(job, schedule, now),
                next_due_at=schedule.next_due_at if schedule and not schedule.paused_at else None,
                last_due_at=schedule.last_due_at if schedule else None,
                last_success_at=schedule.last_success_at if schedule else None,
                paused_at=schedule.paused_at if schedule else None,
                paused_by=emails.get(schedule.paused_by_id or 0) if schedule else None,
                last_run=RunView.of(run) if run else None,
            )
        )
    return views


async def view_history(db: AsyncSession, query: RunQuery, *, settings: Settings) -> History:
    """One page; keyset, so the thousandth costs what the first does."""
    wanted = RunsWanted(query.job, query.status, query.trigger, query.error, query.sort)
    cursors = Cursors(settings, "job runs", wanted)
    took_ms, last_id = cursors.open(query.cursor, 2) if query.cursor else (None, None)
    after = (took_ms, last_id) if query.cursor else None
    rows = await list_history(db, wanted, after=after, limit=HISTORY_PAGE + 1)
    shown = rows[:HISTORY_PAGE]
    more = len(rows) > HISTORY_PAGE
    return History(
        runs=[RunView.of(run, email) for run, email in shown],
        next_cursor=cursors.seal(shown[-1][0].took_ms, shown[-1][0].id) if more else None,
    )


async def view_run(db: AsyncSession, run_id: int) -> RunDetail:
    """Raises `NotFound`."""
    run = await get_run(db, run_id)
    asker = await db.scalar(select(User.email).where(User.id == run.requested_by_id)) if run.requested_by_id else None
    again = await db.scalars(select(JobRun.id).where(JobRun.name == run.name, JobRun.id > run.id, JobRun.retry_of_id == run.id).limit(5))
    return RunDetail(
        **RunView.of(run, asker).model_dump(),
        payload=run.payload,
        traceback=run.traceback,
        earlier_attempts=run.earlier_attempts,
        retried_as=list(again),
    )


def _merged(groups: list[FailureGroup]) -> list[FailureView]:
    """One row for a job and an error, whatever the job was called then; the latest first, as they come."""
    rows: dict[tuple[str, str], FailureView] = {}
    for each in groups:
        row = rows.setdefault(
            (shown_name(each.name), each.error_class),
            FailureView(job=shown_name(each.name), error_class=each.error_class, count=0, last_run_id=each.last_id),
        )
        row.count += each.count
    return list(rows.values())


def _state(job: Job, schedule: JobSchedule | None, now: datetime) -> ScheduleState:
    if schedule is None:
        return "no_worker" if job.cron else "on_demand"
    if schedule.paused_at:
        return "paused"
    return "missed" if schedule.next_due_at < now - LATE_AFTER else "on_time"
