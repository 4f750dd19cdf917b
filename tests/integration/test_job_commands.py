"""`holdfast jobs` and `holdfast deals sweep`, with Redis down and no worker; and what the doctor says of jobs."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, insert, make_url, select, text, update

from app.cli import cli
from app.core.clock import Clock
from app.core.config import Settings, load_settings
from app.core.database import Database
from app.jobs.schedule import sync_schedules
from app.models import JobRun, JobSchedule, User
from app.ops.health.doctor import Check, examine
from tests.factories import make_deal, make_organisation, make_user
from tests.servers.blocking import blocking
from tests.servers.process import wait_until
from tests.servers.web import ROOT

SWEEP, NIGHTLY = "sweep_stale_deals", "expire_sessions"
Call = Callable[..., Result]
pytestmark = pytest.mark.parametrize("redis_url", ["none"], indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"REDIS_URL": "redis://127.0.0.1:1", "REDIS_TIMEOUT_SECONDS": "0.25"}


@pytest.fixture
def call(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Call:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def call(*words: str, status: int = 0) -> Result:
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == status, done.output
        return done

    return call


def in_database(url: str, work: Callable[[Database], Any]) -> Any:
    async def do() -> Any:
        database = Database(url, name="holdfast-test")
        try:
            return await work(database)
        finally:
            await database.close()

    return blocking(do)


async def make_stale_person(database: Database) -> int:
    organisation = await make_organisation(database)
    return (await make_user(database, organisation, last_deal_id=(await make_deal(database, organisation)).id)).id


async def write_schedule(database: Database, overdue: timedelta = timedelta(0)) -> None:
    async with database.write() as db:
        await sync_schedules(db, load_settings({"SECRET_KEY": "k" * 32}).jobs_timezone, now=Clock().now() - overdue)


def test_jobs_run_and_are_told_of_without_worker_and_redis(call: Call, database_url: str) -> None:
    user_id = in_database(database_url, make_stale_person)
    swept = json.loads(call("deals", "sweep", "--json").stdout)
    assert (swept["status"], swept["trigger"], swept["counts"]["revoked"]) == ("succeeded", "cli", 1)
    assert in_database(database_url, lambda database: _last_deal(database, user_id)) is None
    assert json.loads(call("jobs", "run", NIGHTLY, "--json").stdout)["counts"]["sessions"] == 0
    queued = json.loads(call("jobs", "run", SWEEP, "--no-wait", "--json").stdout)["id"]
    listed = {job["name"]: job for job in json.loads(call("jobs", "list", "--json").stdout)}
    assert listed["import_deals"]["when"] == "on demand"
    assert listed[NIGHTLY]["last_run"] is None, "without a schedule, which the first worker writes"
    history = json.loads(call("jobs", "history", "--json").stdout)
    assert [(run["name"], run["status"]) for run in history] == [(SWEEP, "queued"), (NIGHTLY, "succeeded"), (SWEEP, "succeeded")]
    assert [run["id"] for run in json.loads(call("jobs", "history", "--json", "--before", str(queued), "--limit", "1").stdout)] == [
        queued - 1
    ]
    assert "cancelled" in call("jobs", "cancel", str(queued)).stdout
    assert "There is no such run" in call("jobs", "cancel", "999", status=1).output
    assert f"runs again as {queued + 1}" in call("jobs", "retry", str(queued)).stdout
    assert re.search(rf"{queued + 1} +{SWEEP} .* queued +retry", call("jobs", "history", "--status", "queued").stdout)
    assert "is not one of" in call("jobs", "run", "sweep", status=2).output
    call("jobs", "run", "import_deals", status=2)


@on_sqlite
def test_schedules_are_listed_paused_and_resumed(call: Call, database_url: str) -> None:
    assert "no worker has started" in call("jobs", "pause", SWEEP, status=1).output
    in_database(database_url, write_schedule)
    call("jobs", "pause", SWEEP)
    listed = {job["name"]: job for job in json.loads(call("jobs", "list", "--json").stdout)}
    assert (listed[SWEEP]["next_due_at"], bool(listed[SWEEP]["paused_at"])) == (None, True)
    assert re.search(rf"^{SWEEP} +Sundays at 02:00 +next - +last never \(paused\)$", call("jobs", "list").stdout, re.MULTILINE)
    call("jobs", "resume", SWEEP)
    assert "paused" not in call("jobs", "list").stdout


@on_sqlite
def test_run_that_fails_is_exit_status_one(call: Call, database_url: str) -> None:
    in_database(database_url, _take_away_the_flag)
    failed = json.loads(call("jobs", "run", "check_session_backend", "--json", status=1).stdout)
    assert (failed["status"], failed["error_class"]) == ("failed", "DatabaseUnavailable")


@on_sqlite
def test_interrupted_command_cancels_its_run(environ: dict[str, str], database_url: str, tmp_path: Path) -> None:
    in_database(database_url, _make_many_stale_people)
    command = [sys.executable, "-m", "app", "deals", "sweep"]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environ
    with (tmp_path / "out").open("wb") as out:
        sweep = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=out, stderr=out)
    with closing(sqlite3.connect(make_url(database_url).database or "", timeout=20, isolation_level=None)) as connection:

        def is_between_batches() -> bool:
            """If so, it stays so: nobody else writes while this connection may."""
            connection.execute("BEGIN IMMEDIATE")
            (stale,) = connection.execute("SELECT count(*) FROM users WHERE last_deal_id IS NOT NULL").fetchone()
            if 0 < stale < MANY:
                return True
            connection.execute("ROLLBACK")
            return False

        wait_until(is_between_batches, within=20, what="a first batch")
        sweep.send_signal(signal.SIGINT)
        connection.execute("ROLLBACK")
    assert sweep.wait(15) == 1
    [run] = in_database(database_url, _runs)
    assert run.status == "cancelled"
    assert run.counts["revoked"] == MANY - in_database(database_url, _count_stale) > 0


async def test_the_doctor_tells_of_jobs_that_are_overdue_or_failed(settings: Settings, database: Database) -> None:
    await write_schedule(database, overdue=timedelta(days=8))
    finding = await _finding(settings, "jobs in time")
    assert (finding.state, finding.found) == (
        "failed",
        "overdue: check_session_backend, expire_sessions, roll_up_analytics, sweep_stale_deals, verify_audit_chain",
    )
    assert "holdfast worker" in finding.fix
    now = Clock().now()
    async with database.write() as db:
        await db.execute(update(JobSchedule).values(next_due_at=now - timedelta(minutes=4)))
        common = {"trigger": "schedule", "payload": {}, "counts": {}, "earlier_attempts": [], "queued_at": now, "finished_at": now}
        db.add(JobRun(name=SWEEP, status="failed", error_class="Broken", due_at=now - timedelta(days=1), **common))
        db.add(JobRun(name=NIGHTLY, status="failed", due_at=now - timedelta(days=1), **common))
        db.add(JobRun(name=NIGHTLY, status="succeeded", due_at=now, **common))
        db.add(JobRun(name=SWEEP, status="queued", due_at=now, **common | {"finished_at": None}))
    assert (await _finding(settings, "jobs in time")).state == "ok", "a few minutes are the worker's own affair"
    finding = await _finding(settings, "last runs of jobs")
    assert (finding.state, finding.fix.split(": ")[-1]) == ("failed", "holdfast jobs retry 1")
    assert f"{SWEEP} failed with Broken" in finding.found
    assert NIGHTLY not in finding.found
    async with database.write() as db:
        await db.execute(update(JobSchedule).where(JobSchedule.name == SWEEP).values(paused_at=now))
    finding = await _finding(settings, "jobs in time")
    assert (finding.state, finding.fix) == ("warning", f"holdfast jobs resume {SWEEP}")


MANY = 30_000


async def _make_many_stale_people(database: Database) -> None:
    user = await make_user(database)
    deal = await make_deal(database, await make_organisation(database))
    facts = {
        "organisation_id": user.organisation_id,
        "name": "X",
        "password_hash": "",
        "created_at": user.created_at,
        "last_deal_id": deal.id,
    }
    async with database.write() as db:
        await db.execute(insert(User), [{"email": f"{number}@many.example", **facts} for number in range(MANY)])


async def _take_away_the_flag(database: Database) -> None:
    async with database.write() as db:
        await db.execute(text("DROP TABLE session_backend"))


async def _count_stale(database: Database) -> int:
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(User).where(User.last_deal_id.is_not(None))) or 0


async def _runs(database: Database) -> list[JobRun]:
    async with database.read() as db:
        return list(await db.scalars(select(JobRun)))


async def _last_deal(database: Database, user_id: int) -> int | None:
    async with database.read() as db:
        return (await db.get_one(User, user_id)).last_deal_id


async def _finding(settings: Settings, check: str) -> Check:
    return next(finding for finding in await examine(settings, Clock()) if finding.check == check)
