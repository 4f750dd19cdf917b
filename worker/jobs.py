"""What each job of `app.jobs.definitions` does: call one service and return the counts that its run shows.

A body may be interrupted anywhere and run again, so what it does is idempotent.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from app.auth.backoff import delete_forgotten
from app.current_deal import sweep
from app.drafts.retention import delete_old_drafts
from app.events.audit import verify
from app.events.rollup import roll_up
from app.history.store import delete_old_revisions
from app.imports.incoming import delete_abandoned, stop_import
from app.imports.run import run_import
from app.jobs.retention import delete_old_runs
from app.jobs.run import Run, RunCancelled
from app.resources import Resources
from app.sessions import expiry
from app.sessions.report import report_backend

JobBody = Callable[[Resources, Run], Awaitable[dict[str, Any]]]


class AuditChainBroken(Exception):
    """An event was changed, removed or inserted by something other than Holdfast."""


async def expire_sessions(resources: Resources, run: Run) -> dict[str, Any]:
    """Delete what is over: sessions, logins, failed sign-ins, job runs, old drafts and revisions, and files that nobody imported."""
    gone = await expiry.expire_sessions(resources.database, resources.clock, progress=run.progress)
    async with resources.database.write() as db:
        attempts = await delete_forgotten(db, now=resources.clock.now())
    runs = await delete_old_runs(resources.database, resources.clock)
    drafts = await delete_old_drafts(resources.database, resources.clock)
    revisions = await delete_old_revisions(resources.database)
    files = await delete_abandoned(resources)
    return asdict(gone) | {"attempts": attempts, "runs": runs, "drafts": drafts, "revisions": revisions, "files": files}


async def sweep_stale_deals(resources: Resources, run: Run) -> dict[str, Any]:
    """Forget last deals that are deleted or no longer visible to their users, and empty the bin."""
    return asdict(await sweep.sweep_stale_deals(resources.database, resources.clock, progress=run.progress))


async def check_session_backend(resources: Resources, run: Run) -> dict[str, Any]:
    """Record what the probe sees, for alerts on runs and for whoever reviews a night."""
    return await report_backend(resources.backend)


async def roll_up_analytics(resources: Resources, run: Run) -> dict[str, Any]:
    """Count the events that the stream lost, and delete statistics that are no longer shown."""
    done = await roll_up(resources)
    return done.applied | {"deleted": done.deleted}


async def verify_audit_chain(resources: Resources, run: Run) -> dict[str, Any]:
    """Fail, so that operators see it, with the first event that is not as it was written."""
    verdict = await verify(resources.database, resources.clock)
    await run.progress(events=verdict.events, faults=len(verdict.faults))
    if not verdict.is_sound:
        raise AuditChainBroken(str(verdict.faults[0]))
    return {"events": verdict.events, "faults": 0}


async def import_file(resources: Resources, run: Run) -> dict[str, Any]:
    """Import the deals of an uploaded file, from where an earlier attempt ended."""
    import_id: int = run.payload["import_id"]
    try:
        return await run_import(resources, import_id, progress=run.progress)
    except RunCancelled:
        # Operators cancel jobs; the people of the organisation are to see it too.
        await stop_import(resources, import_id)
        raise


BODIES: dict[str, JobBody] = {
    body.__name__: body
    for body in (expire_sessions, sweep_stale_deals, check_session_backend, roll_up_analytics, verify_audit_chain, import_file)
}
# The name under which a version before workbooks queued imports.
BODIES["import_deals"] = import_file
