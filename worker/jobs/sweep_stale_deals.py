"""Sunday: people forget last deals that are gone or no longer theirs to see; the bin is emptied of what lay there for 30 days."""

from dataclasses import asdict
from typing import Any

from app.deals import sweep
from app.jobs.run import Run
from app.resources import Resources


async def sweep_stale_deals(house: Resources, run: Run) -> dict[str, Any]:
    return asdict(await sweep.sweep_stale_deals(house.database, house.clock, tell=run.progress))
