"""What `/ops/sessions` shows: the backend, its flips, the fleet, sessions against their target, restores against theirs.

SQL alone is asked. What this process knows of Redis comes from its own poll, so no page ever waits for Redis.
"""

from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.current_deal.restore import RESTORE_SWITCH, who_decides_restore
from app.models import Event, Process, Session, SessionBackend, Switch, User
from app.ops.sessions.targets import Target, judge
from app.ops.statistics.traffic import Counts, load
from app.ops.statistics.windows import Window
from app.resources import Resources
from app.sessions.fleet import ask_time

FLIP_KIND = "backend.flipped"
SHOWN_FLIPS = 50
# How long a process that was killed, and so could not say goodbye, is still listed.
REMEMBERED_SILENCE = timedelta(hours=1)


class BackendView(BaseModel):
    """`uses`: what the process that answers reads sessions from now; `mode`: what the flag allows everybody.

    `began_at`: the first event there is, before which there was no installation; null where no audit trail is kept.
    """

    status: Literal["healthy", "degraded"]
    uses: Literal["redis", "sqlalchemy"]
    mode: Literal["redis", "sql"]
    epoch: int
    began_at: datetime | None
    since: datetime
    reason: str
    changed_by: str
    redis_configured: bool
    redis_fault: str


class ProcessView(BaseModel):
    id: str
    kind: str
    version: str
    started_at: datetime
    heartbeat_at: datetime
    is_live: bool
    pinned: str
    breaker: str
    redis_ok_since: datetime | None
    redis_fault: str
    # Of its machine's clock against the database's, ahead where positive; null where that has none of its own.
    clock_skew_ms: int | None = None


class Flip(BaseModel):
    event_id: int
    at: datetime
    to: Literal["redis", "sql"]
    epoch: int
    reason: str


class SessionCounts(BaseModel):
    live: int
    expired: int
    users: int
    a_user: float


class RestoreSwitch(BaseModel):
    """`set_by` says which is in force: the environment wins over the operators' switch.

    While it is on, an organisation may still switch it off for itself.
    """

    enabled: bool
    set_by: Literal["environment", "operator", "default"]
    switched_on: bool
    changed_at: datetime | None
    changed_by: str


class TargetView(BaseModel):
    name: str
    value: float | None
    unit: str
    target: float
    alert: float | None
    wants: str
    state: Literal["ok", "warning", "failed", "unknown"]

    @classmethod
    def of(cls, target: Target) -> "TargetView":
        return cls(**vars(target))


class TrafficBucket(BaseModel):
    """Counts of one stretch of time; rates in per cent, null where nothing was counted."""

    start: datetime
    requests: int
    failures: int
    hit_ratio: float | None
    restore_rate: float | None
    restore_p50_ms: float | None
    restore_p99_ms: float | None
    restored: int
    restores_refused: int
    restores_failed: int

    @classmethod
    def of(cls, start: datetime, counts: Counts) -> "TrafficBucket":
        return cls(
            start=start,
            requests=counts["requests"],
            failures=counts["failures"],
            hit_ratio=counts.hit_ratio,
            restore_rate=counts.restore_rate,
            restore_p50_ms=counts.restore_quantile_ms(0.5),
            restore_p99_ms=counts.restore_quantile_ms(0.99),
            restored=counts["restored"] + counts["only_deal"],
            restores_refused=counts["restores_refused"],
            restores_failed=counts["restores_failed"],
        )


class SessionsView(BaseModel):
    at: datetime
    window: str
    backend: BackendView
    processes: list[ProcessView]
    flips: list[Flip]
    sessions: SessionCounts
    auto_restore: RestoreSwitch
    targets: list[TargetView]
    hit_ratio: float | None
    traffic: list[TrafficBucket]


async def view_sessions(db: AsyncSession, resources: Resources, window: Window, *, sessions: SessionCounts) -> SessionsView:
    """`sessions` is counted apart, since counting costs the more the more there are."""
    now = resources.clock.now()
    buckets, whole = await load(db, window, now)
    return SessionsView(
        at=now,
        window=window.name,
        backend=await view_backend(db, resources),
        processes=await list_processes(db, resources),
        flips=await list_flips(db),
        sessions=sessions,
        auto_restore=await view_restore_switch(db, resources),
        targets=[TargetView.of(each) for each in judge(whole, sessions.a_user)],
        hit_ratio=whole.hit_ratio,
        traffic=[TrafficBucket.of(start, counts) for start, counts in zip(window.starts(now), buckets, strict=True)],
    )


async def view_backend(db: AsyncSession, resources: Resources) -> BackendView:
    first_event = select(Event.at).order_by(Event.id).limit(1).scalar_subquery()
    flag, began_at = (await db.execute(select(SessionBackend, first_event))).one()
    backend = resources.backend
    return BackendView(
        status=backend.status,
        uses=backend.backend,
        mode="redis" if flag.mode == "redis" else "sql",
        epoch=flag.epoch,
        began_at=began_at,
        since=flag.changed_at,
        reason=flag.reason,
        changed_by=flag.changed_by,
        redis_configured=backend.redis is not None,
        redis_fault=backend.redis_fault if backend.redis is not None else "",
    )


async def list_processes(db: AsyncSession, resources: Resources) -> list[ProcessView]:
    """The living first, web before worker; then those that fell silent lately."""
    now = await ask_time(db, resources.clock)
    found = await db.scalars(select(Process).where(Process.heartbeat_at > now - REMEMBERED_SILENCE, Process.kind != "cli"))
    window = resources.backend.fleet.live_window
    views = [
        ProcessView(
            is_live=each.heartbeat_at > now - window,
            **{name: getattr(each, name) for name in ProcessView.model_fields if name != "is_live"},
        )
        for each in found
    ]
    return sorted(views, key=lambda each: (not each.is_live, each.kind, each.started_at))


async def list_flips(db: AsyncSession, *, limit: int = SHOWN_FLIPS) -> list[Flip]:
    """The latest first."""
    flips = select(Event.id, Event.at, Event.payload).where(Event.organisation_id.is_(None), Event.kind == FLIP_KIND)
    rows = await db.execute(flips.order_by(Event.id.desc()).limit(limit))
    changes = [(row, row.payload.get("epoch", 0), row.payload.get("reason", "")) for row in rows]
    return [Flip(event_id=row.id, at=row.at, to=_mode(row.payload), epoch=epoch, reason=reason) for row, epoch, reason in changes]


async def count_sessions_cheaply(db: AsyncSession, now: datetime) -> SessionCounts:
    """Along the index on the expiry."""
    live, expired, users = (
        await db.execute(
            select(
                select(func.count()).select_from(Session).where(Session.expires_at > now).scalar_subquery(),
                select(func.count()).select_from(Session).where(Session.expires_at <= now).scalar_subquery(),
                select(func.count()).select_from(User).scalar_subquery(),
            )
        )
    ).one()
    return SessionCounts(live=live, expired=expired, users=users, a_user=round((live + expired) / max(users, 1), 2))


async def view_restore_switch(db: AsyncSession, resources: Resources) -> RestoreSwitch:
    switch, configured = await db.get(Switch, RESTORE_SWITCH), resources.settings.auto_restore_deal
    return RestoreSwitch(
        enabled=who_decides_restore(configured, switch.enabled if switch else None, organisation=True)[0],
        set_by="environment" if configured is not None else "operator" if switch else "default",
        switched_on=switch.enabled if switch else True,
        changed_at=switch.changed_at if switch else None,
        changed_by=switch.changed_by if switch else "",
    )


def _mode(payload: dict[str, Any]) -> Literal["redis", "sql"]:
    return "redis" if payload.get("mode") == "redis" else "sql"
