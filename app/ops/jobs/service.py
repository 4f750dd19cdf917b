"""What operators do to jobs: one transaction each, in which `app/jobs/service.py` also writes the audit event."""

from app.core.errors import BadRequest, NotFound
from app.http.web import UserCard
from app.jobs import service
from app.jobs.definitions import JOBS
from app.resources import Resources


async def run_now(resources: Resources, name: str, *, by: UserCard) -> int:
    """The id of the run that was queued. Raises `NotFound`, and `BadRequest` for a job that needs to be told what to do."""
    async with resources.database.write() as db:
        return await service.request_run(db, _scheduled(name), at=resources.clock.now(), requested_by=by.id, trigger="console")


async def pause(resources: Resources, name: str, *, by: UserCard) -> None:
    async with resources.database.write() as db:
        await service.pause_schedule(db, _scheduled(name), at=resources.clock.now(), requested_by=by.id)


async def resume(resources: Resources, name: str, *, by: UserCard) -> None:
    async with resources.database.write() as db:
        await service.resume_schedule(db, _scheduled(name), at=resources.clock.now(), requested_by=by.id)


async def retry(resources: Resources, run_id: int, *, by: UserCard) -> int:
    """The new run's id. Raises `NotFound`, `Conflict`."""
    async with resources.database.write() as db:
        return await service.retry_run(db, run_id, at=resources.clock.now(), requested_by=by.id)


async def cancel(resources: Resources, run_id: int, *, by: UserCard) -> str:
    """cancelled, or cancelling. Raises `NotFound`, `Conflict`."""
    async with resources.database.write() as db:
        return await service.cancel_run(db, run_id, at=resources.clock.now(), requested_by=by.id)


async def retry_group(resources: Resources, name: str, error_class: str, *, by: UserCard) -> list[int]:
    """The ids of the new runs, `MAX_RETRIED` at most."""
    async with resources.database.write() as db:
        return await service.retry_failures(db, name, error_class, at=resources.clock.now(), requested_by=by.id)


def _scheduled(name: str) -> str:
    job = JOBS.get(name)
    if job is None:
        raise NotFound
    if job.cron is None:
        raise BadRequest(f"{name} runs on demand only, with what it needs.", code="job_on_demand")
    return name
