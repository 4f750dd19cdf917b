"""`holdfast jobs …` and `holdfast deals sweep`: the jobs from the shell. They use SQL only, so they work with Redis down."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import click
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import load_settings
from app.core.database import Database
from app.jobs import service
from app.jobs.definitions import JOBS
from app.jobs.store import RunFilter, list_runs, list_schedules
from app.models import RUN_STATES, JobRun, JobSchedule
from worker.run_here import request, run_here

T = TypeVar("T")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
# Each run of an on-demand job needs a payload of its own, which the requesting part of the site makes.
scheduled_argument = click.argument("name", type=click.Choice([job.name for job in JOBS.values() if job.cron]), metavar="NAME")


@click.group()
def jobs() -> None:
    """List, run, cancel or pause jobs, and show what ran."""


@click.group()
def deals() -> None:
    """Look after deals as a whole."""


@jobs.command("list")
@as_json_option
def list_jobs(*, as_json: bool) -> None:
    """Every job: when it is due, and how its last run went."""
    found = {schedule.name: (schedule, last) for schedule, last in _ask(list_schedules)}
    rows = [_job_row(name, *found.get(name, (None, None))) for name in JOBS]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']:22} {row['when']:18} next {row['next_due_at'] or '-':25} last {_last(row)}")


@jobs.command()
@scheduled_argument
@click.option("--no-wait", is_flag=True, help="Leave it to a worker and return at once.")
@as_json_option
def run(name: str, *, no_wait: bool, as_json: bool) -> None:
    """Run the job NAME now, in this process. Exit status 1 unless it succeeded."""
    _run(name, no_wait=no_wait, as_json=as_json)


@deals.command()
@as_json_option
def sweep(*, as_json: bool) -> None:
    """Forget last deals that nobody can come back to, and empty the 30-day bin, as the Sunday job does."""
    _run("sweep_stale_deals", no_wait=False, as_json=as_json)


@jobs.command()
@click.option("--job", "name", type=click.Choice(list(JOBS)), metavar="NAME", help="Of this job only.")
@click.option("--status", type=click.Choice(RUN_STATES), help="In this state only.")
@click.option("--limit", default=20, type=click.IntRange(1, 1000), show_default=True, help="At most so many.")
@click.option("--before", "before_id", type=int, metavar="RUN", help="Older than this run: the next page.")
@as_json_option
def history(*, name: str | None, status: str | None, limit: int, before_id: int | None, as_json: bool) -> None:
    """What ran and how it ended, the newest first."""
    wanted = RunFilter(name=name, status=status, before_id=before_id)
    runs = _ask(lambda db: list_runs(db, wanted, limit=limit))
    if as_json:
        click.echo(json.dumps([run_row(each) for each in runs], indent=2))
        return
    for each in runs:
        click.echo(line_of(each))


@jobs.command()
@click.argument("run_id", type=int, metavar="RUN")
def cancel(run_id: int) -> None:
    """Cancel the run RUN: a queued one at once, a running one within seconds."""
    click.echo(f"Run {run_id}: {_do(lambda db, now: service.cancel_run(db, run_id, at=now, requested_by=None))}.")


@jobs.command()
@click.argument("run_id", type=int, metavar="RUN")
def retry(run_id: int) -> None:
    """Queue again what RUN did not do, for a worker."""
    click.echo(f"Run {run_id} runs again as {_do(lambda db, now: service.retry_run(db, run_id, at=now, requested_by=None))}.")


@jobs.command()
@scheduled_argument
def pause(name: str) -> None:
    """Let the job NAME fall due no more, until resumed."""
    _do(lambda db, now: service.pause_schedule(db, name, at=now, requested_by=None))
    click.echo(f"{name} is paused.")


@jobs.command()
@scheduled_argument
def resume(name: str) -> None:
    """Let the job NAME fall due again from now on."""
    _do(lambda db, now: service.resume_schedule(db, name, at=now, requested_by=None))
    click.echo(f"{name} is due again as scheduled.")


def run_row(run: JobRun) -> dict[str, Any]:
    """A run as JSON."""
    return {column.name: _plain(getattr(run, column.name)) for column in JobRun.__table__.columns}


def line_of(run: JobRun) -> str:
    took = f"{run.took_ms / 1000:.1f} s" if run.took_ms is not None else ""
    late = "late" if run.is_late else ""
    what = run.error or " ".join(f"{name}={value}" for name, value in run.counts.items())
    facts = (f"{run.id:>7}", f"{run.name:22}", f"{run.due_at:%Y-%m-%d %H:%M:%S}", f"{run.status:9}", f"{run.trigger:8}", late, took, what)
    return "  ".join(fact for fact in facts if fact)


def _run(name: str, *, no_wait: bool, as_json: bool) -> None:
    settings = load_settings()
    if no_wait:
        run_id = _do(lambda db, now: request(db, name, now))
        click.echo(json.dumps({"id": run_id}) if as_json else f"Run {run_id} of {name} is queued.")
        return
    ended = asyncio.run(run_here(settings, name, show=lambda line: click.echo(line, err=True)))
    click.echo(json.dumps(run_row(ended), indent=2) if as_json else line_of(ended))
    if ended.status != "succeeded":
        raise click.exceptions.Exit(1)


def _job_row(name: str, schedule: JobSchedule | None, last: JobRun | None) -> dict[str, Any]:
    job = JOBS[name]
    return {
        "name": name,
        "summary": job.summary,
        "when": job.cron.in_words if job.cron else "on demand",
        "zone": schedule.zone if schedule else None,
        "next_due_at": _plain(schedule.next_due_at) if schedule and not schedule.paused_at else None,
        "last_due_at": _plain(schedule.last_due_at) if schedule else None,
        "last_success_at": _plain(schedule.last_success_at) if schedule else None,
        "paused_at": _plain(schedule.paused_at) if schedule else None,
        "last_run": run_row(last) if last else None,
    }


def _last(row: dict[str, Any]) -> str:
    last = row["last_run"]
    words = [last["status"], last["started_at"] or "", "late" if last["is_late"] else ""] if last else ["never"]
    return " ".join(word for word in [*words, "(paused)" if row["paused_at"] else ""] if word)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _ask(question: Callable[[AsyncSession], Awaitable[T]]) -> T:
    async def ask() -> T:
        database = Database(load_settings().database_url, name="holdfast-cli")
        try:
            async with database.read() as db:
                return await question(db)
        finally:
            await database.close()

    return asyncio.run(ask())


def _do(work: Callable[[AsyncSession, datetime], Awaitable[T]]) -> T:
    async def do() -> T:
        settings = load_settings()
        database = Database(settings.database_url, name="holdfast-cli", audit=settings.audit_enabled)
        try:
            async with database.write() as db:
                return await work(db, database.clock.now())
        finally:
            await database.close()

    return asyncio.run(do())
