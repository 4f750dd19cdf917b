"""Daily: takes expired sessions, dead logins and forgotten failures to sign in out of SQL."""

from typing import Any

import structlog

from app.auth.backoff import delete_forgotten
from app.resources import Resources
from app.sessions import expiry

log = structlog.get_logger()


async def expire_sessions(ctx: dict[str, Any]) -> None:
    resources: Resources = ctx["resources"]
    gone = await expiry.expire_sessions(resources.database, resources.clock)
    async with resources.database.write() as db:
        attempts = await delete_forgotten(db, now=resources.clock.now())
    log.info("Expired sessions deleted", sessions=gone.sessions, logins=gone.logins, attempts=attempts)
