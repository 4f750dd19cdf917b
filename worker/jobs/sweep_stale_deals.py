"""Sunday: people forget last deals that are gone or no longer theirs to see; the bin is emptied of what lay there for 30 days."""

from dataclasses import asdict
from typing import Any

from app.current_deal import sweep
from app.jobs.run import Run
from app.resources import Resources


async def sweep_stale_deals(resources: Resources, run: Run) -> dict[str, Any]:
    return asdict(await sweep.sweep_stale_deals(resources.database, resources.clock, tell=run.progress))
