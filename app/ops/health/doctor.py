"""The emergency checks, each with its fix. Works with Redis down, and says so with the database down."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import DatabaseUnavailable, ReadOnlyDatabase
from app.core.migrate import head_revision
from app.core.python_versions import FIX, find_untested
from app.current_deal.restore import RESTORE_SWITCH
from app.jobs.store import list_schedules
from app.models import DeadLetter, Deal, Event, Outbox, Process, Session, SessionBackend, Switch, User
from app.ops.health.checks import check_redis, is_migrated
from app.ops.health.neighbours import ask_neighbours, judge_neighbours
from app.resources import Resources
from app.sessions.backend import SKEW_LIMIT
from app.sessions.fleet import ask_time
from app.sessions.neighbours import Neighbour

# Seconds of silence after which a process no longer counts as living (sessions/fleet.py).
SILENCE = timedelta(seconds=10)
MAX_SESSIONS_A_USER = 10
# A worker looks every second, and starts within seconds.
OVERDUE = timedelta(minutes=5)
# The relay looks twice a second.
STUCK = timedelta(minutes=5)

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """One check: what was found, and what to do about it unless all is well."""

    check: str
    state: State
    found: str
    fix: str = ""


async def examine(settings: Settings, clock: Clock) -> list[Check]:
    """Everything at once, from outside of the site."""
    database = Database(settings.database_url, name="holdfast-doctor", clock=clock)
    redis: str = "not used"
    neighbours: list[Neighbour] = []
    if _wants_redis(settings):
        redis, neighbours = await check_redis(settings), await ask_neighbours(settings)
    try:
        return await _examine(database, clock, redis, settings, neighbours)
    finally:
        await database.close()


async def examine_site(resources: Resources) -> list[Check]:
    """The same from inside of a process of the site, by its own connections and its last look at Redis."""
    redis = resources.backend.redis_fault or "ok" if _wants_redis(resources.settings) else "not used"
    neighbours = await ask_neighbours(resources.probe) if resources.probe and redis == "ok" else []
    return await _examine(resources.database, resources.clock, redis, resources.settings, neighbours)


async def _examine(database: Database, clock: Clock, redis: str, settings: Settings, neighbours: Sequence[Neighbour]) -> list[Check]:
    """A check that cannot be made because the database is away is not made."""
    wants_redis = _wants_redis(settings)
    findings = [_of_redis(redis)]
    try:
        obstacle = await _find_obstacle(database)
        async with database.read() as db:
            findings.insert(0, Check("database", "ok", "answers") if obstacle is None else _of_outage(obstacle))
            findings.append(schema := await _schema(db))
            # The other checks need its tables, or depend on processes that write to it.
            if schema.state == "ok" and obstacle is None:
                now = await ask_time(db, clock)
                findings += [await check(db, now, wants_redis) for check in _CHECKS]
                findings.append(await _clocks(db, now, clock))
                findings += [Check("installations", *result) for result in await judge_neighbours(db, neighbours, settings)]
    except DatabaseUnavailable as outage:
        findings.insert(0, _of_outage(outage))
    return [*findings, *_of_python()]


def _of_python() -> list[Check]:
    """No finding on a tested Python."""
    untested = find_untested()
    return [Check("python", "warning", untested, FIX)] if untested else []


async def _find_obstacle(database: Database) -> ReadOnlyDatabase | None:
    """What keeps it from taking writes, if anything. Raises `DatabaseUnavailable` where it does not even answer."""
    try:
        await database.ping()
    except ReadOnlyDatabase as read_only:
        return read_only
    return None


def _of_outage(outage: DatabaseUnavailable) -> Check:
    return Check("database", "failed", outage.reason, outage.fix or "Start the database, or mend DATABASE_URL (holdfast config shows it).")


def _wants_redis(settings: Settings) -> bool:
    return settings.redis_url is not None and settings.session_backend != "sql"


def _of_redis(redis: str) -> Check:
    if redis in ("ok", "not used"):
        return Check("redis", "ok", redis)
    return Check("redis", "warning", redis, "Start Redis, or mend REDIS_URL. The site goes on with SQL; nothing is lost.")


async def _schema(db: AsyncSession) -> Check:
    if not await is_migrated(db):
        return Check("schema", "failed", "the tables are missing", "holdfast migrate")
    at, head = await db.scalar(text("SELECT version_num FROM alembic_version")), head_revision()
    if at == head:
        return Check("schema", "ok", head)
    return Check("schema", "failed", f"at {at}, this version needs {head}", "holdfast migrate")


async def _backend(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    flag = (await db.execute(select(SessionBackend))).scalar_one()
    found = f"{flag.mode}, epoch {flag.epoch}, since {flag.changed_at:%Y-%m-%d %H:%M:%S} UTC: {flag.reason or 'as installed'}"
    if flag.mode == "redis" or not wants_redis:
        return Check("session backend", "ok", found)
    return Check(
        "session backend", "warning", found, "A worker brings Redis back by itself once every process is served by it: see the next lines."
    )


async def _clocks(db: AsyncSession, now: datetime, clock: Clock) -> Check:
    """Nothing in Holdfast goes by the clocks of its machines, but what people read in logs and browsers check in certificates does."""
    known = select(Process.id, Process.clock_skew_ms).where(Process.heartbeat_at > now - SILENCE, Process.clock_skew_ms.is_not(None))
    skews = {name: timedelta(milliseconds=skew) for name, skew in await db.execute(known) if skew is not None}
    if clock.skew is not None:
        skews["this machine"] = clock.skew
    off = [f"{name} {_in_words(skew)}" for name, skew in sorted(skews.items()) if abs(skew) > SKEW_LIMIT]
    if not off:
        return Check("clocks", "ok", "those of the processes and the database's agree" if skews else "one machine's")
    fix = "Set the clock of each machine by NTP (chrony, systemd-timesyncd); sign-ins and jobs go by the database's meanwhile."
    return Check("clocks", "warning", f"against the database's: {'; '.join(off)}", fix)


def _in_words(skew: timedelta) -> str:
    return f"{abs(skew).total_seconds():.1f} s {'ahead' if skew > timedelta(0) else 'behind'}"


async def _processes(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    live = (await db.execute(select(Process).where(Process.heartbeat_at > now - SILENCE))).scalars().all()
    kinds = {kind: sum(process.kind == kind for process in live) for kind in ("web", "worker")}
    found = f"{kinds['web']} web, {kinds['worker']} worker"
    if blind := [process for process in live if wants_redis and not process.redis_run_id and process.kind != "cli"]:
        objections = "; ".join(f"{process.id}: {process.redis_fault.rstrip('.') or 'uses no Redis'}" for process in blind)
        return Check(
            "processes", "warning", f"{found}; not served by Redis: {objections}", "Let these processes reach Redis, or stop them."
        )
    if not kinds["worker"]:
        return Check(
            "processes", "warning", found, "holdfast worker: without one, jobs do not run and Redis does not come back after an outage."
        )
    return Check("processes", "ok", found)


async def _sessions(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    sessions, expired, users = (
        await db.execute(
            select(
                select(func.count()).select_from(Session).scalar_subquery(),
                select(func.count()).select_from(Session).where(Session.expires_at < now - timedelta(days=2)).scalar_subquery(),
                select(func.count()).select_from(User).scalar_subquery(),
            )
        )
    ).one()
    found = f"{sessions} {'session' if sessions == 1 else 'sessions'} for {users} {'person' if users == 1 else 'people'}"
    if expired:
        return Check(
            "sessions", "warning", f"{found}, {expired} expired over two days ago", "holdfast sessions purge; and is the worker running?"
        )
    if sessions > MAX_SESSIONS_A_USER * max(users, 1):
        return Check(
            "sessions",
            "warning",
            f"{found}, above {MAX_SESSIONS_A_USER} each",
            "holdfast sessions purge; look for a client that signs in again and again.",
        )
    return Check("sessions", "ok", found)


async def _pointers(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    deleted: ColumnElement[bool] = User.last_deal_id.in_(select(Deal.id).where(Deal.deleted_at.is_not(None)))
    stale = await db.scalar(select(func.count()).select_from(User).where(deleted)) or 0
    return Check(
        "last deals",
        "ok",
        f"{stale} point to a deal in the bin (they come back with it until the Sunday sweep)" if stale else "none is stale",
    )


async def _overdue(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    schedules = [schedule for schedule, _ in await list_schedules(db)]
    overdue = [each.name for each in schedules if each.paused_at is None and each.next_due_at < now - OVERDUE]
    if overdue:
        fix = f"holdfast worker runs what is due. holdfast jobs run {overdue[0]} does it at once."
        return Check("jobs in time", "failed", f"overdue: {', '.join(overdue)}", fix)
    if paused := [each.name for each in schedules if each.paused_at is not None]:
        return Check("jobs in time", "warning", f"paused: {', '.join(paused)}", f"holdfast jobs resume {paused[0]}")
    return Check("jobs in time", "ok", "nothing is overdue" if schedules else "no worker has started yet")


async def _last_runs(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    ended = [run for _, run in await list_schedules(db, "succeeded", "failed") if run]
    failed = [run for run in ended if run.status == "failed"]
    if failed:
        found = "; ".join(f"{run.name} failed with {run.error_class} at {run.finished_at:%Y-%m-%d %H:%M} UTC" for run in failed)
        fix = f"holdfast jobs history --status failed says why. Then: holdfast jobs retry {failed[0].id}"
        return Check("last runs of jobs", "failed", found, fix)
    return Check("last runs of jobs", "ok", f"{len(ended)} jobs have run, none failed" if ended else "none has run yet")


async def _events(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    dead = await db.scalar(select(func.count()).select_from(DeadLetter).where(DeadLetter.resolved_at.is_(None))) or 0
    if dead:
        found = f"{dead} {'event was' if dead == 1 else 'events were'} given up"
        return Check("events", "failed", found, "/ops/streams says why. Mend the cause, then requeue them there.")
    oldest = await db.scalar(select(Event.at).join(Outbox, Outbox.event_id == Event.id).order_by(Event.id).limit(1))
    if oldest is not None and now - oldest > STUCK:
        does = "relays them, and needs Redis" if wants_redis else "works them off"
        fix = f"holdfast worker {does}. They are kept in SQL until then."
        return Check("events", "warning", f"the oldest has waited since {oldest:%Y-%m-%d %H:%M:%S} UTC", fix)
    return Check("events", "ok", "none is stuck")


async def _auto_restore(db: AsyncSession, now: datetime, wants_redis: bool) -> Check:
    switch = await db.get(Switch, RESTORE_SWITCH)
    if switch is None or switch.enabled:
        return Check("auto-restore", "ok", "not switched off")
    found = f"switched off by {switch.changed_by or 'an operator'} at {switch.changed_at:%Y-%m-%d %H:%M} UTC"
    return Check("auto-restore", "warning", found, "Switch it on at /ops/sessions. AUTO_RESTORE_DEAL wins where it is set.")


_Check = Callable[[AsyncSession, datetime, bool], Awaitable[Check]]
_CHECKS: tuple[_Check, ...] = (_backend, _processes, _overdue, _last_runs, _events, _sessions, _pointers, _auto_restore)
