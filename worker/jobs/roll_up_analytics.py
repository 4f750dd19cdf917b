"""Hourly: makes up in the figures for what the stream lost, and deletes those that are no longer shown."""

from typing import Any

from app.events.rollup import roll_up
from app.jobs.run import Run
from app.resources import Resources


async def roll_up_analytics(resources: Resources, run: Run) -> dict[str, Any]:
    done = await roll_up(resources)
    return done.applied | {"deleted": done.deleted}
