"""Daily: takes expired sessions, dead logins, forgotten failures to sign in and old job runs out of SQL, and files nobody imported."""

from dataclasses import asdict
from typing import Any

from app.auth.backoff import delete_forgotten
from app.imports.incoming import delete_abandoned
from app.jobs.retention import delete_old_runs
from app.jobs.run import Run
from app.resources import Resources
from app.sessions import expiry


async def expire_sessions(resources: Resources, run: Run) -> dict[str, Any]:
    gone = await expiry.expire_sessions(resources.database, resources.clock, tell=run.progress)
    async with resources.database.write() as db:
        attempts = await delete_forgotten(db, now=resources.clock.now())
    runs = await delete_old_runs(resources.database, resources.clock)
    files = await delete_abandoned(resources)
    return asdict(gone) | {"attempts": attempts, "runs": runs, "files": files}
