"""Health, for load balancers and operators. Liveness touches nothing; readiness needs SQL only, so Redis never drains the fleet."""

from datetime import datetime
from hmac import compare_digest
from typing import Any, Literal

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from app.core.config import LOOPBACK_HOSTS
from app.core.errors import DatabaseUnavailable, Forbidden
from app.core.metrics import METRICS
from app.http.openapi import documented
from app.http.web import current_resources, is_operator, public
from app.ops.console.console import current_console
from app.ops.statistics.site import as_families
from app.server.drain import current_drain
from app.sessions.interface import current_session

health = Blueprint("health", __name__)


class State(BaseModel):
    status: str


class SessionHealth(State):
    """`epoch`, `since` and `checks` are for operators."""

    backend: Literal["redis", "sqlalchemy"]
    epoch: int | None = None
    since: datetime | None = None
    checks: dict[str, str] | None = None


@health.get("/health/live")
@documented("health", State, public=True)
@public
async def live() -> ResponseReturnValue:
    """The process answers."""
    return {"status": "alive"}


@health.get("/health/ready")
@documented("health", State, public=True)
@public
async def ready() -> ResponseReturnValue:
    """The process can serve: SQL answers and takes writes, and it is not about to end."""
    if current_drain().draining:
        return {"status": "draining"}, 503, {"Retry-After": "2"}
    try:
        await current_resources().database.ping()
    except DatabaseUnavailable:
        return {"status": "unavailable"}, 503, {"Retry-After": "2"}
    return {"status": "ready"}


@health.get("/api/health/session")
@documented("health", SessionHealth, public=True)
@public
async def session_health() -> ResponseReturnValue:
    """200 while any backend works, 503 when none does; `?strict=1`: 503 when degraded, too. Operators are told why."""
    backend = current_resources().backend
    try:
        await current_resources().database.ping()
        sql = "ok"
    except DatabaseUnavailable as fault:
        sql = fault.reason
    works = sql == "ok" or backend.backend == "redis"
    status = backend.status if sql == "ok" else "degraded" if works else "unhealthy"
    answer: dict[str, Any] = {"status": status, "backend": backend.backend}
    if await _is_for_operator():
        flag, breaker = backend.flag, backend.breaker
        checks = {"sql": sql, "redis": backend.redis_fault or "ok", "flag": flag.mode, "reason": flag.reason}
        checks["breaker"] = f"{breaker.state} {breaker.open_reason}".strip() if breaker else "not used"
        answer |= {"epoch": flag.epoch, "since": flag.changed_at.isoformat(), "checks": checks}
    refused = not works or (request.args.get("strict") == "1" and status != "healthy")
    return answer, 503 if refused else 200


async def _is_for_operator() -> bool:
    """Nobody while SQL is away: `holdfast doctor` says the same, and only SQL knows who is one."""
    card = current_session().get("user") or {}
    try:
        return await is_operator(card.get("id", 0), remembered=bool(card.get("is_operator")))
    except DatabaseUnavailable:
        return False


@health.get("/metrics")
@public
async def metrics() -> ResponseReturnValue:
    """For Prometheus: with METRICS_TOKEN as a bearer, or, where none is set, from this machine only."""
    token = current_resources().settings.metrics_token
    if token is None:
        if request.remote_addr not in LOOPBACK_HOSTS:
            raise Forbidden("Figures are given to this machine only, unless METRICS_TOKEN is set.")
    elif not compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()):
        raise Forbidden("Figures are given for the bearer token of METRICS_TOKEN.")
    samples = await current_console().site_figures.get()
    return METRICS.render(as_families(samples)), 200, {"Content-Type": CONTENT_TYPE_LATEST}
