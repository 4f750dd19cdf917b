"""On demand: imports the deals of an uploaded file, with progress, from where an earlier attempt ended."""

from typing import Any

from app.imports.incoming import stop_import
from app.imports.run import run_import
from app.jobs.run import Run, RunCancelled
from app.resources import Resources


async def import_file(resources: Resources, run: Run) -> dict[str, Any]:
    import_id: int = run.payload["import_id"]
    try:
        return await run_import(resources, import_id, tell=run.progress)
    except RunCancelled:
        # By an operator, who cancels jobs: the people of the organisation are to see it too.
        await stop_import(resources, import_id)
        raise
