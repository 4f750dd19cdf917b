"""Turns due times into queued runs. SQL alone decides, so neither Redis nor any one worker has to be there at the time."""

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
    """Write down when this version's jobs are due, in JOBS_TIMEZONE. What is owed already stays owed."""
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
    """A look that locks nothing, since nearly always there is nothing to do."""
    return await db.scalar(select(JobSchedule.name).where(_is_due(now)).limit(1)) is not None


def _is_due(now: datetime) -> ColumnElement[bool]:
    """Over `JobSchedule`. Not a job that only a newer version knows: its workers see to it."""
    return (JobSchedule.next_due_at <= now) & JobSchedule.paused_at.is_(None) & JobSchedule.name.in_(JOBS)


async def launch_due(db: AsyncSession, *, now: datetime) -> list[str]:
    """Queue one run for each job that is due, and return their names. Of several due times that were missed, the last one counts.

    Several workers may do this at once: the schedule's row is locked, and a due time has one run.
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
