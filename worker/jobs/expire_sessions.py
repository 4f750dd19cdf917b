"""Daily: takes expired sessions and dead logins out of SQL."""

from typing import Any

import structlog

from app.resources import Resources
from app.sessions import expiry

log = structlog.get_logger()


async def expire_sessions(ctx: dict[str, Any]) -> None:
    resources: Resources = ctx["resources"]
    gone = await expiry.expire_sessions(resources.database, resources.clock)
    log.info("Expired sessions deleted", sessions=gone.sessions, logins=gone.logins)
