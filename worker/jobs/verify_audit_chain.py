"""Daily: checks the chain of the audit trail. The run fails, so that it is seen, with the first row that is not as it was written."""

from typing import Any

from app.events.audit import verify
from app.jobs.run import Run
from app.resources import Resources


class AuditChainBroken(Exception):
    """An event was changed, removed or inserted by something other than Holdfast."""


async def verify_audit_chain(resources: Resources, run: Run) -> dict[str, Any]:
    verdict = await verify(resources.database, resources.clock)
    await run.progress(events=verdict.events, faults=len(verdict.faults))
    if not verdict.is_sound:
        raise AuditChainBroken(str(verdict.faults[0]))
    return {"events": verdict.events, "faults": 0}
