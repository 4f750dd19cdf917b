"""Checks database and Redis from outside the site: joins no fleet and changes nothing."""

from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.core.database import Database
from app.core.errors import DatabaseUnavailable, Unavailable
from app.core.redis import RedisClient, check_redis_health
from app.models import SessionBackend


@dataclass
class HealthReport:
    """`degraded`: everything works, on SQL alone although Redis is configured. `unhealthy`: sessions cannot be kept."""

    status: Literal["healthy", "degraded", "unhealthy"] = "healthy"
    backend: Literal["redis", "sqlalchemy"] = "sqlalchemy"
    epoch: int | None = None
    since: str | None = None
    checks: dict[str, str] = field(default_factory=dict)


async def check_health(settings: Settings) -> HealthReport:
    found = HealthReport()
    wants_redis = settings.redis_url is not None and settings.session_backend != "sql"
    found.checks["redis"] = await check_redis(settings) if wants_redis else "not used"
    found.checks["database"] = await _check_database(settings, found)
    if found.checks["database"] != "ok":
        found.status = "unhealthy"
    elif wants_redis and (found.checks["redis"] != "ok" or found.backend != "redis"):
        found.status = "degraded"
    return found


async def _check_database(settings: Settings, found: HealthReport) -> str:
    database = Database(settings.database_url, name="holdfast-health")
    try:
        await database.ping()
        async with database.read() as db:
            if not await is_migrated(db):
                return "The tables are missing: holdfast migrate."
            flag = (await db.execute(select(SessionBackend))).scalar_one()
    except DatabaseUnavailable as outage:
        return f"{outage.reason}. {outage.fix}".strip()
    finally:
        await database.close()
    found.backend = "redis" if flag.mode == "redis" else "sqlalchemy"
    found.epoch, found.since = flag.epoch, flag.changed_at.isoformat()
    return "ok"


async def is_migrated(db: AsyncSession) -> bool:
    """Whether there are tables at all, of whichever version."""
    return await db.run_sync(lambda sync: inspect(sync.connection()).has_table("alembic_version"))


async def check_redis(settings: Settings) -> str:
    """ "ok", or what is wrong."""
    assert settings.redis_url
    client = RedisClient(settings.redis_url, name="holdfast-health", timeout=settings.redis_timeout, max_connections=2)
    try:
        await check_redis_health(client)
    except Unavailable as outage:
        return outage.detail
    finally:
        await client.close()
    return "ok"
