"""The session backend at this moment, in numbers and codes: what the five-minute check records."""

from typing import Any

from sqlalchemy import func, select

from app.models.sessions import Process
from app.sessions.backend import BackendFlag


async def report_backend(backend: BackendFlag) -> dict[str, Any]:
    """The flag, this process's own check of Redis, and how many live processes are served by it. Raises `DatabaseUnavailable`."""
    if backend.probe:
        await backend.probe_redis(backend.probe.timeout)
    flag = await backend.refresh()
    served = func.count(Process.redis_run_id)
    async with backend.database.read() as db:
        live = select(Process.kind, func.count(), served).where(backend.fleet.is_live(), Process.kind != "cli").group_by(Process.kind)
        rows = (await db.execute(live)).all()
    return {
        "status": backend.status,
        "mode": flag.mode,
        "epoch": flag.epoch,
        "since": flag.changed_at.isoformat(),
        "redis": (backend.view.fault or "ok") if backend.redis else "not used",
        "breaker": backend.breaker.state if backend.breaker else "not used",
    } | {f"{kind}_{what}": count for kind, lives, count_served in rows for what, count in (("live", lives), ("on_redis", count_served))}
