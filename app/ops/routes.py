"""Health, for load balancers and operators. Liveness touches nothing; readiness needs SQL only, so Redis never drains the fleet."""

from typing import Any

from quart import Blueprint, request
from quart.typing import ResponseReturnValue
from quart_schema import tag
from sqlalchemy import text

from app.errors import DatabaseUnavailable
from app.sessions.interface import current_session
from app.web import public, resources

health = Blueprint("health", __name__)


@health.get("/health/live")
@tag(["health"])
@public
async def live() -> ResponseReturnValue:
    """The process answers."""
    return {"status": "alive"}


@health.get("/health/ready")
@tag(["health"])
@public
async def ready() -> ResponseReturnValue:
    """The process can serve: SQL answers."""
    try:
        await _ask_sql()
    except DatabaseUnavailable:
        return {"status": "unavailable"}, 503, {"Retry-After": "2"}
    return {"status": "ready"}


@health.get("/api/health/session")
@tag(["health"])
@public
async def session_health() -> ResponseReturnValue:
    """200 while any backend works, 503 when none does; `?strict=1`: 503 when degraded, too. Operators are told why."""
    backend = resources().backend
    try:
        await _ask_sql()
        sql = "ok"
    except DatabaseUnavailable as fault:
        sql = fault.detail
    works = sql == "ok" or backend.backend == "redis"
    status = backend.status if sql == "ok" else "degraded" if works else "unhealthy"
    answer: dict[str, Any] = {"status": status, "backend": backend.backend}
    if (current_session().get("user") or {}).get("is_operator"):
        flag = backend.flag
        redis = backend.redis_fault or "ok"
        answer |= {
            "epoch": flag.epoch,
            "since": flag.changed_at.isoformat(),
            "checks": {"sql": sql, "redis": redis, "flag": flag.mode, "reason": flag.reason},
        }
    refused = not works or (request.args.get("strict") == "1" and status != "healthy")
    return answer, 503 if refused else 200


async def _ask_sql() -> None:
    async with resources().database.read() as db:
        await db.execute(text("SELECT 1"))
