"""What a process keeps open, opened and closed in one place."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.breaker import Breaker
from app.core.clock import Clock
from app.core.config import Settings
from app.core.database import Database
from app.core.errors import StoreUnavailable
from app.core.redis import RedisClient
from app.core.redis_keys import RedisKeys
from app.core.statements import Running
from app.events.service import record_always
from app.models import Switch
from app.sessions.backend import BackendFlag, Flip
from app.sessions.manager import SessionManager
from app.sessions.poll import BackendPoll
from app.sessions.record import SessionData, SessionLimits
from app.sessions.redis_store import RedisSessions
from app.sessions.sql_store import ColdContext, SqlSessions

InitialData = Callable[[AsyncSession, int, datetime], Awaitable[SessionData]]
FirstData = Callable[["Resources", AsyncSession, int, datetime], Awaitable[SessionData]]
SeesDeal = Callable[..., Awaitable[bool]]

# What the app finds sessions by: a column of `sessions` beside the data, with an index and a foreign key (models/sessions.py).
INDEXED_KEYS = ("current_deal_id",)


@dataclass(frozen=True)
class Resources:
    settings: Settings
    clock: Clock
    database: Database
    redis: RedisClient | None
    probe: RedisClient | None
    keys: RedisKeys
    backend: BackendFlag
    poll: BackendPoll
    # Operators' switches as the last poll read them.
    switches: dict[str, bool]
    sessions: SessionManager
    first_data: "FirstData"
    # `permissions.user_can_access_deal`, for features below the deals.
    sees_deal: SeesDeal

    async def initial_session_data(self, db: AsyncSession, user_id: int, now: datetime) -> SessionData:
        """What the session of a login made in this transaction begins with: its person, and the deal to come back to."""
        return await self.first_data(self, db, user_id, now)

    async def open(self) -> None:
        """Connect and take part in the fleet. Raises `StoreUnavailable` where SESSION_BACKEND=redis cannot be kept."""
        await self.poll.start()
        fault = self.backend.view.fault
        # A command is what one mends an outage with. And a Redis that merely awaits its epoch is there.
        if self.settings.session_backend == "redis" and fault and self.backend.fleet.kind != "cli":
            await self.close()
            raise StoreUnavailable(f"SESSION_BACKEND=redis, but: {fault} Start Redis or set SESSION_BACKEND=auto.")

    async def close(self) -> None:
        await self.sessions.drain()
        await self.poll.stop()
        for client in (self.redis, self.probe):
            if client:
                await client.close()
        await self.database.close()


async def _nothing(resources: Resources, db: AsyncSession, user_id: int, now: datetime) -> SessionData:
    return {}


async def _nobody(db: AsyncSession, user_id: int, deal_id: int, *, now: datetime) -> bool:
    return False


def make_resources(
    settings: Settings,
    *,
    kind: str,
    clock: Clock | None = None,
    context: ColdContext | None = None,
    first_data: FirstData = _nothing,
    sees_deal: SeesDeal = _nobody,
) -> Resources:
    """Everything wired and nothing connected yet. `kind` (web, worker, cli) names the clients.

    `context`, `first_data` and `sees_deal` are what the web app adds: this module stands below the features.
    """
    clock = clock or Clock()
    name = f"holdfast-{kind}"
    limits = SessionLimits(settings.permanent_session_lifetime, settings.login_idle, settings.login_lifetime)
    database = Database(settings.database_url, name=name, audit=settings.audit_enabled, clock=clock)
    redis = probe = store = None
    keys = RedisKeys(settings.redis_prefix or None)
    if settings.redis_url and settings.session_backend != "sql":
        redis = RedisClient(settings.redis_url, name=name, timeout=settings.redis_timeout, breaker=Breaker(), keys=keys)
        probe = RedisClient(settings.redis_url, name=f"{name}-probe", timeout=settings.redis_timeout, max_connections=2, keys=keys)
        secrets = [settings.secret_key, *settings.secret_key_fallbacks]
        store = RedisSessions(redis, clock=clock, limits=limits, secrets=secrets)
    switches: dict[str, bool] = {}
    backend = BackendFlag(
        database,
        store,
        probe,
        keys=keys,
        clock=clock,
        kind=kind,
        pin=settings.session_backend,
        poll=settings.session_backend_poll,
        record_flip=record_flip,
        read_along=partial(_read_switches, switches),
    )
    sql = SqlSessions(database, clock=clock, limits=limits, context=context, indexed_keys=INDEXED_KEYS)
    sessions = SessionManager(sql, backend, database=database, clock=clock)
    return Resources(
        settings, clock, database, redis, probe, keys, backend, BackendPoll(backend), switches, sessions, first_data, sees_deal
    )


async def record_flip(db: Running, flip: Flip) -> None:
    """Also where no audit trail is kept: the probe measures its pauses by these."""
    await record_always(db, "backend.flipped", **asdict(flip))


async def _read_switches(switches: dict[str, bool], db: AsyncSession) -> None:
    found = dict((await db.execute(select(Switch.name, Switch.enabled))).all())
    switches.clear()
    switches.update(found)


@asynccontextmanager
async def open_resources(settings: Settings, *, kind: str, clock: Clock | None = None) -> AsyncIterator[Resources]:
    """For commands and the worker; the web app opens its own with its server."""
    resources = make_resources(settings, kind=kind, clock=clock)
    await resources.open()
    try:
        yield resources
    finally:
        await resources.close()
