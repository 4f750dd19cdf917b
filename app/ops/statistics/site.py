"""The gauges of `/metrics` that come from SQL: the flag, sessions, jobs, events.

Asked once a scrape, by whichever process answers it, and kept for some seconds, so that several scrapers cost what one does.
"""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import func, select

from app.core.errors import Unavailable
from app.events.streams import GROUPS, read_stream_state
from app.jobs.definitions import JOBS
from app.jobs.store import count_waiting
from app.models import JobSchedule, Process, SessionBackend
from app.ops.jobs.store import count_active, count_missed
from app.ops.sessions.view import count_sessions_cheaply
from app.resources import Resources

# By name: what it says, and its label. docs/operations/metrics.md has the same names, which a test compares.
GAUGES: dict[str, tuple[str, str]] = {
    "database_up": ("1 while SQL answers the process that was scraped; the gauges below are absent while it does not", ""),
    "redis_configured": ("1 where sessions are meant to use Redis", ""),
    "session_flag_redis": ("1 while the backend flag allows Redis, 0 while everybody uses SQL", ""),
    "session_flag_changed_timestamp_seconds": ("When the backend flag last changed", ""),
    "session_epoch": ("The epoch of the backend flag", ""),
    "processes": ("Processes with a recent heartbeat", "kind"),
    "sessions": ("Rows of the session table: live, expired", "state"),
    "users": ("People who have an account", ""),
    "sessions_per_user": ("Rows of the session table for each user", ""),
    "job_runs": ("Runs of jobs: queued, running, and failed ones that were not run again", "status"),
    "jobs_oldest_queued_seconds": ("How long the oldest waiting run has waited; 0 while none waits", ""),
    "jobs_missed": ("Schedules whose time passed without a run", ""),
    "job_last_success_timestamp_seconds": ("When a scheduled job last succeeded", "job"),
    "stream_length": ("Entries of the event stream; absent while Redis does not answer", ""),
    "stream_lag": ("Entries a group has not been handed yet; absent while Redis does not answer", "group"),
    "stream_pending": ("Entries handed out and not acknowledged; absent while Redis does not answer", "group"),
    "stream_oldest_pending_seconds": ("How long the oldest of those has waited", "group"),
    "events_behind": ("Events without their effect in a group, at most 10001", "group"),
    "dead_letters": ("Events a group gave up", "group"),
    "outbox_backlog": ("Events not in the stream yet, at most 10001", ""),
    "outbox_oldest_seconds": ("How long the oldest of those has waited; 0 while none waits", ""),
}

# (name, value of its label or "", value)
Sample = tuple[str, str, float]


async def measure_site(resources: Resources) -> list[Sample]:
    """Bounded in cost: counts along indexes, and one round trip to Redis within its deadline."""
    now = resources.clock.now()
    configured: Sample = ("redis_configured", "", float(resources.backend.redis is not None))
    try:
        samples = [("database_up", "", 1.0), configured, *await _of_sql(resources, now), *await _of_streams(resources, now)]
    except Unavailable:
        return [("database_up", "", 0.0), configured]
    return samples


def as_families(samples: list[Sample]) -> Iterator[GaugeMetricFamily]:
    for name, (documentation, label) in GAUGES.items():
        family = GaugeMetricFamily(f"holdfast_{name}", documentation, labels=[label] if label else [])
        for each, labelled, value in samples:
            if each == name:
                family.add_metric([labelled] if label else [], value)
        if family.samples:
            yield family


async def _of_sql(resources: Resources, now: datetime) -> list[Sample]:
    async with resources.database.read() as db:
        flag = (await db.execute(select(SessionBackend))).scalar_one()
        living = select(Process.kind, func.count()).where(resources.backend.fleet.is_live())
        alive = dict((await db.execute(living.group_by(Process.kind))).all())
        sessions = await count_sessions_cheaply(db, now)
        runs, waiting = await count_active(db), await count_waiting(db)
        missed = await count_missed(db, now)
        succeeded = (await db.execute(select(JobSchedule.name, JobSchedule.last_success_at))).all()
    return [
        ("session_flag_redis", "", float(flag.mode == "redis")),
        ("session_flag_changed_timestamp_seconds", "", flag.changed_at.timestamp()),
        ("session_epoch", "", flag.epoch),
        *(("processes", kind, alive.get(kind, 0)) for kind in ("web", "worker")),
        ("sessions", "live", sessions.live),
        ("sessions", "expired", sessions.expired),
        ("users", "", sessions.users),
        ("sessions_per_user", "", sessions.a_user),
        *(("job_runs", status, number) for status, number in runs.items()),
        ("jobs_oldest_queued_seconds", "", _waited(waiting.oldest_queued_at, now)),
        ("jobs_missed", "", missed),
        *(("job_last_success_timestamp_seconds", name, at.timestamp()) for name, at in succeeded if at is not None and name in JOBS),
    ]


async def _of_streams(resources: Resources, now: datetime) -> list[Sample]:
    state = await read_stream_state(resources.database, resources.redis, now=now)
    samples: list[Sample] = [
        ("outbox_backlog", "", state.outbox_backlog),
        ("outbox_oldest_seconds", "", _waited(state.outbox_oldest_at, now)),
    ]
    if state.length is not None:
        samples.append(("stream_length", "", state.length))
    for group in state.groups:
        assert group.name in GROUPS
        samples += [("events_behind", group.name, group.behind), ("dead_letters", group.name, group.dead_letters)]
        samples += [("stream_lag", group.name, group.lag)] if group.lag is not None else []
        if group.pending is not None:
            oldest = group.oldest_pending.total_seconds() if group.oldest_pending else 0.0
            samples += [("stream_pending", group.name, group.pending), ("stream_oldest_pending_seconds", group.name, oldest)]
    return samples


def _waited(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
