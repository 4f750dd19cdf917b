"""Turns due times into queued runs. Only SQL decides, so Redis and any single worker may be down at the time."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import insert_into
from app.jobs.cron import Cron
from app.jobs.definitions import JOBS
from app.models import JobRun, JobSchedule


async def sync_schedules(db: AsyncSession, zone: ZoneInfo, *, now: datetime) -> None:
    """Store when this version's jobs are due, in JOBS_TIMEZONE. A due time already missed stays due."""
    known = {schedule.name: schedule for schedule in await db.scalars(select(JobSchedule).with_for_update())}
    for name, job in JOBS.items():
        if job.cron is None:
            continue
        wanted = {"cron": str(job.cron), "zone": job.cron.zone(zone).key}
        schedule = known.get(name)
        if schedule is None:
            first = {"name": name, "next_due_at": job.cron.next_after(now, job.cron.zone(zone))}
            await db.execute(insert_into(db, JobSchedule).values(first | wanted).on_conflict_do_nothing())
        elif {"cron": schedule.cron, "zone": schedule.zone} != wanted:
            schedule.cron, schedule.zone = wanted["cron"], wanted["zone"]
            if schedule.next_due_at > now:
                schedule.next_due_at = job.cron.next_after(now, job.cron.zone(zone))


async def is_anything_due(db: AsyncSession, *, now: datetime) -> bool:
    """A query without locks, because nearly always nothing is due."""
    return await db.scalar(select(JobSchedule.name).where(_is_due(now)).limit(1)) is not None


def _is_due(now: datetime) -> ColumnElement[bool]:
    """Over `JobSchedule`. Leaves out jobs that only a newer version knows: its own workers run them."""
    return (JobSchedule.next_due_at <= now) & JobSchedule.paused_at.is_(None) & JobSchedule.name.in_(JOBS)


async def launch_due(db: AsyncSession, *, now: datetime) -> list[str]:
    """Queue one run for each job that is due, and return their names. If several due times were missed, only the last one counts.

    Safe in several workers at once: the row of the schedule is locked, and a due time has one run.
    """
    launched = []
    for schedule in (await db.scalars(select(JobSchedule).where(_is_due(now)).with_for_update(skip_locked=True))).all():
        cron, zone = Cron.parse(schedule.cron), ZoneInfo(schedule.zone)
        due = cron.last_until(now, zone, since=schedule.next_due_at)
        run = {"name": schedule.name, "trigger": "schedule", "due_at": due, "queued_at": now}
        blank: dict[str, Any] = {"payload": {}, "counts": {}, "earlier_attempts": []}
        await db.execute(insert_into(db, JobRun).values(run | blank).on_conflict_do_nothing())
        schedule.last_due_at, schedule.next_due_at = due, cron.next_after(due, zone)
        launched.append(schedule.name)
    return launched
