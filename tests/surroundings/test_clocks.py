"""Servers whose clocks disagree, by fractions of a second up to an hour, both ways: nobody notices, and operators are told."""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, text, update

from app.core.clock import Clock
from app.core.config import load_settings
from app.core.database import Database
from app.jobs.service import request_run
from app.models import JobRun, JobSchedule, Login, Process, User
from app.ops.health.doctor import examine
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_deal, make_organisation, make_user
from tests.integration.event_reader import Reader, listening
from tests.servers.process import ServerProcess, held_directory, remove_directory, wait_until
from tests.servers.skewed import clock_off_by, clock_told_by, set_clock
from tests.servers.web import ROOT, WebServer
from tests.waiting import until

SKEWS = (3600, -600, 8, -0.4)
NEW_PASSWORD = "another correct horse battery"
StartWorker = Callable[[float], ServerProcess]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"RATE_LIMIT_LOGIN": "5"}


@pytest.fixture
def start_worker(environ: dict[str, str]) -> Iterator[StartWorker]:
    workers: list[tuple[ServerProcess, Any]] = []

    def start(skew: float) -> ServerProcess:
        directory = held_directory("worker")
        env = environ | {"PYTHONPATH": str(ROOT)} | clock_off_by(skew)
        worker = ServerProcess([sys.executable, "-m", "app", "worker"], port=0, log=directory / "log", cwd=directory, env=env)
        workers.append((worker, directory))
        worker.start()
        wait_until(lambda: "Worker started" in worker.output(), within=30, what="Worker started")
        return worker

    yield start
    for worker, directory in workers:
        worker.kill()
        remove_directory(directory)


class Browser:
    """One person's, which a balancer sends to whichever server."""

    def __init__(self, email: str) -> None:
        self.email = email
        self.http = httpx.AsyncClient(timeout=20, trust_env=False)

    async def sign_in(self, server: WebServer, password: str = PASSWORD) -> httpx.Response:
        return await self.http.post(f"{server.url}/api/auth/login", json={"email": self.email, "password": password})

    async def call(self, server: WebServer, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.http.request(method, server.url + path, **options)

    async def statuses(self, servers: list[WebServer], path: str = "/api/me", **options: Any) -> set[int]:
        return {(await self.call(server, "GET", path, **options)).status_code for server in servers}


@asynccontextmanager
async def browser(email: str) -> AsyncIterator[Browser]:
    opened = Browser(email)
    async with opened.http:
        yield opened


async def database_time(database: Database) -> datetime:
    async with database.read() as db:
        moment: datetime = (await db.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return moment


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_nobody_notices_that_clocks_disagree(
    start_web: StartWeb, environ: dict[str, str], database: Database, tmp_path: Path
) -> None:
    told = tmp_path / "clock"
    set_clock(told, SKEWS[-1])
    clocks = [*map(clock_off_by, SKEWS[:-1]), clock_told_by(told)]
    servers = list(await asyncio.gather(*map(start_web, clocks)))
    home = await make_organisation(database)
    boss = await make_user(database, home, role="admin", is_operator=True)
    deals = [await make_deal(database, home, owner=boss, name=f"Deal {number}") for number in range(2)]
    for signer in servers:
        await _a_day_of_one_person(signer, servers, database, boss, [deal.id for deal in deals])
    await _one_time_links(servers, boss.email, database)
    await _waits_after_failures(servers, database)
    await _deadlines_are_the_databases(servers, boss, database)
    await _operators_are_told(servers, boss.email, environ, database)
    set_clock(told, 5400)  # as a machine that NTP sets, or that was resumed, while it runs
    await until(lambda: "Set both by NTP" in servers[-1].output(), within=10)
    await _a_day_of_one_person(servers[-1], servers, database, boss, [deal.id for deal in deals])


async def _a_day_of_one_person(signer: WebServer, servers: list[WebServer], database: Database, boss: User, deals: list[int]) -> None:
    others = [server for server in servers if server is not signer]
    async with browser(boss.email) as person, browser(boss.email) as second:
        assert (await person.sign_in(signer)).status_code == 200
        assert await person.statuses(servers) == {200}, "used at once elsewhere"
        assert await person.statuses(servers, "/login") == {303}
        for server, deal in zip(servers, itertools.cycle(deals), strict=False):
            chosen = await person.call(server, "POST", f"/api/deals/{deal}/select")
            assert chosen.status_code == 200
            for reader in servers:
                assert (await person.call(reader, "GET", "/api/deals/current")).json()["deal"]["id"] == deal
        for server in others:
            assert (await second.sign_in(server)).json()["current_deal"]["id"] == deals[-1], "restored"
            async with database.read() as db:
                login = (await db.scalars(select(Login).order_by(Login.id.desc()).limit(1))).one()
            now = await database_time(database)
            assert abs(login.created_at - now) < timedelta(seconds=5), "in the database's time"
            assert abs(login.idle_expires_at - now - timedelta(days=1)) < timedelta(seconds=5), "neither longer nor shorter"
        theirs, own = (listening(each.http, f"{other.url}/api/events") for each, other in zip((second, person), others, strict=False))
        async with theirs as stream, own as stays:
            assert await stream.next()
            assert await stays.next()
            assert all(await asyncio.gather(_goes_on(stream), _goes_on(stays)))
            old = dict(person.http.cookies)
            body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
            assert (await person.call(others[0], "POST", "/api/me/password", json=body)).status_code == 200
            assert await person.statuses(servers) == {200}
            assert await second.statuses(servers) == {401}, "signed out by the change"
            async with httpx.AsyncClient(cookies=old, trust_env=False) as thief:
                assert {(await thief.get(f"{server.url}/api/me")).status_code for server in servers} == {401}
        await _set_password_back(database, boss.id)
        cookies = dict(person.http.cookies)
        assert (await person.call(others[-1], "POST", "/api/auth/logout")).status_code == 204
        without_version = {name: value for name, value in cookies.items() if name == "holdfast_auth"}
        for kept in (cookies, without_version):
            async with httpx.AsyncClient(cookies=kept, trust_env=False) as ghost:
                assert {(await ghost.get(f"{server.url}/api/me")).status_code for server in servers} == {401}


async def _goes_on(stream: Reader) -> bool:
    """Longer than it takes to look at the logins behind the streams."""
    try:
        async with asyncio.timeout(1.5):
            while said := await stream.next():
                if said.event == "end":
                    return False
    except TimeoutError:
        return True
    return False


async def _set_password_back(database: Database, user_id: int) -> None:
    """PASSWORD again: a password that was used before is nothing this test is about."""
    other = await make_user(database)
    async with database.write() as db:
        await db.execute(update(User).where(User.id == user_id).values(password_hash=other.password_hash))


async def _one_time_links(servers: list[WebServer], admin: str, database: Database) -> None:
    async with browser(admin) as boss:
        await boss.sign_in(servers[0])
        for number, (maker, user) in enumerate(itertools.pairwise([*servers, servers[0]])):
            email = f"newcomer{number}@test.example"
            made = await boss.call(maker, "POST", "/api/admin/invitations", json={"email": email, "role": "member"})
            assert made.status_code in (200, 201), made.text
            link = made.json()["link"]
            token = httpx.URL(link["url"]).params["token"]
            left = datetime.fromisoformat(link["expires_at"]) - await database_time(database)
            assert abs(left - timedelta(days=7)) < timedelta(seconds=10)
            async with browser(email) as person:
                assert (await person.call(user, "GET", f"/link?token={token}")).status_code == 200
                form = {"token": token, "name": "New", "password": PASSWORD, "again": PASSWORD}
                assert (await person.call(user, "POST", "/link", data=form)).status_code == 303
                assert await person.statuses(servers) == {200}
                assert await person.statuses(servers, f"/link?token={token}") == {404}


async def _waits_after_failures(servers: list[WebServer], database: Database) -> None:
    victim = await make_user(database)
    async with browser(victim.email) as guesser:
        answers = [await guesser.sign_in(server, "wrong") for server in itertools.islice(itertools.cycle(servers), 6)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        for server in servers:
            waits = await guesser.sign_in(server, "wrong")
            assert waits.status_code in (401, 429)  # the first wait is one second, which may be over
            assert int(waits.headers.get("Retry-After", 1)) <= 60, "never as long as clocks are apart"
    async with database.write() as db:
        await db.execute(text("DELETE FROM login_attempts"))


async def _deadlines_are_the_databases(servers: list[WebServer], boss: User, database: Database) -> None:
    for left, expected in ((timedelta(seconds=60), 200), (timedelta(seconds=-1), 401)):
        async with browser(boss.email) as person:
            await person.sign_in(servers[0])
            async with database.write() as db:
                newest = select(func.max(Login.id)).scalar_subquery()
                ends = await database_time(database) + left
                await db.execute(update(Login).where(Login.id == newest).values(idle_expires_at=ends))
                await db.execute(text("UPDATE session_backend SET mode = 'sql'"))
            # Not from what Redis was told before: each server asks SQL, once it has looked at the flag.
            await until(lambda: _all_on_sql(servers), within=10)
            assert await person.statuses(servers) == {expected}


async def _all_on_sql(servers: list[WebServer]) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        answers = [(await client.get(f"{server.url}/api/health/session")).json() for server in servers]
    return all(answer["backend"] == "sqlalchemy" for answer in answers)


async def _operators_are_told(servers: list[WebServer], operator: str, environ: dict[str, str], database: Database) -> None:
    async with database.read() as db:
        told = await db.scalars(select(Process.clock_skew_ms).where(Process.kind == "web", Process.clock_skew_ms.is_not(None)))
        skews = sorted((skew or 0) / 1000 for skew in told)
    assert skews == pytest.approx(sorted(SKEWS), abs=0.3)
    findings = {finding.check: finding for finding in await examine(load_settings(environ), Clock())}
    clocks = findings["clocks"]
    assert (clocks.state, clocks.found.count(" ahead"), clocks.found.count(" behind")) == ("warning", 2, 1)
    assert "3600.0 s ahead" in clocks.found
    assert "NTP" in clocks.fix
    assert "4 web" in findings["processes"].found, "all of them live"
    async with browser(operator) as person:
        await person.sign_in(servers[1])
        assert "600.0 s behind" in (await person.call(servers[1], "GET", "/ops/sessions")).text
    assert "Set both by NTP" in servers[0].output()
    assert "Set both by NTP" not in servers[3].output()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_jobs_run_once_and_in_time_whatever_the_workers_clocks_say(start_worker: StartWorker, database: Database) -> None:
    ahead, behind = start_worker(3600), start_worker(-3600)
    async with database.write() as db:
        now = await database_time(database)
        await db.execute(update(JobSchedule).values(next_due_at=now + timedelta(days=1)))
        due = now + timedelta(seconds=3)
        await db.execute(update(JobSchedule).where(JobSchedule.name == "expire_sessions").values(next_due_at=due))
        asked = [await request_run(db, "check_session_backend", at=now) for _ in range(4)]

    async def all_over() -> bool:
        async with database.read() as db:
            left = await db.scalar(select(func.count()).where(JobRun.status.in_(("queued", "running"))))
            scheduled = await db.scalar(select(JobRun.finished_at).where(JobRun.name == "expire_sessions"))
        return left == 0 and scheduled is not None

    await until(all_over, within=30)
    async with database.read() as db:
        runs = (await db.scalars(select(JobRun).order_by(JobRun.id))).all()
    assert len(runs) == len(asked) + 1, "nothing ran twice, nothing too soon"
    assert {(run.status, run.attempt, run.is_late) for run in runs} == {("succeeded", 1, False)}
    (scheduled,) = (run for run in runs if run.trigger == "schedule")
    assert scheduled.started_at is not None
    assert timedelta(0) <= scheduled.started_at - due < timedelta(seconds=10)
    for worker in (ahead, behind):
        assert "process is gone" not in worker.output(), "nobody takes a living one for dead"
        worker.check_alive()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sqlite_has_no_clock_yet_nobody_is_refused_or_left_signed_in(start_web: StartWeb, database: Database) -> None:
    """Its processes share a machine, so this takes a set-up nobody has. Deadlines then are off by the skew, and nothing else is."""
    servers = list(await asyncio.gather(*(start_web(clock_off_by(skew)) for skew in (8, -600))))
    boss = await make_user(database)
    for signer, other in (servers, servers[::-1]):
        async with browser(boss.email) as person:
            await person.sign_in(signer)
            assert await person.statuses(servers) == {200}
            cookies = dict(person.http.cookies)
            assert (await person.call(other, "POST", "/api/auth/logout")).status_code == 204
            async with httpx.AsyncClient(cookies=cookies, trust_env=False) as ghost:
                assert {(await ghost.get(f"{server.url}/api/me")).status_code for server in servers} == {401}
