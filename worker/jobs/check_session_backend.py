"""Every five minutes: records what the probe sees, for whoever is alerted by runs or looks back at a night."""

from typing import Any

from app.jobs.run import Run
from app.resources import Resources
from app.sessions.report import report_backend


async def check_session_backend(resources: Resources, run: Run) -> dict[str, Any]:
    return await report_backend(resources.backend)
