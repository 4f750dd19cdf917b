"""Two installations in one Redis, and on one host: each works as if it were alone, and operators are told of the other."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart
from redis.asyncio import Redis
from sqlalchemy import func, select, text

from app.core.clock import Clock
from app.core.config import ConfigError, load_settings
from app.core.database import Database
from app.core.migrate import upgrade
from app.dev.command import own_cookies
from app.events.measures import HOUR
from app.events.service import record_event
from app.factory import create_app
from app.jobs.service import request_run
from app.models import Analytics, EventMark, SessionBackend
from app.ops.health.doctor import Check, examine
from app.resources import Resources, make_resources, record_flip
from app.sessions.raise_epoch import become_another_installation
from app.sessions.record import Record
from tests.conftest import StartWeb
from tests.factories import PASSWORD
from tests.fakes import FakeClock
from tests.integration.conftest import KEY, set_key, sign_in
from tests.integration.scene import Scene
from tests.jobs import read_run
from tests.servers.process import AppProcess, held_directory, remove_directory
from tests.servers.web import ROOT
from tests.waiting import until

CHECK = "check_session_backend"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass
class Installation:
    environ: dict[str, str]
    app: Quart
    scene: Scene
    worker: AppProcess

    @property
    def resources(self) -> Resources:
        return self.scene.resources


def new_database(folder: Path, name: str) -> str:
    url = f"sqlite+aiosqlite:///{folder / name}"
    upgrade(url)
    return url


@pytest.fixture
def other_environ(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Of an installation in the same Redis, with a database and a key of its own."""
    return environ | {"DATABASE_URL": new_database(tmp_path, "other.db"), "SECRET_KEY": "for-the-other-tests-" * 3}


@pytest.fixture
async def two(environ: dict[str, str], other_environ: dict[str, str]) -> AsyncIterator[list[Installation]]:
    environs = [each | {"RATE_LIMIT_LIST": "3"} for each in (environ, other_environ)]
    directory, found = held_directory("two"), []
    apps = [create_app(load_settings(each)) for each in environs]
    workers = [_worker(each, directory / str(number)) for number, each in enumerate(environs)]
    try:
        async with apps[0].test_app(), apps[1].test_app():
            for each, app, worker in zip(environs, apps, workers, strict=True):
                found.append(Installation(each, app, await Scene.set(app), worker))
            for worker in workers:
                await until(lambda worker=worker: "redis_version" in worker.output(), within=30)  # type: ignore[misc]
            yield found
    finally:
        for worker in workers:
            worker.kill()
        remove_directory(directory)


def _worker(environ: dict[str, str], folder: Path) -> AppProcess:
    folder.mkdir()
    settings = environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    worker = AppProcess("worker", log=folder / "log", cwd=folder, env=settings)
    worker.start()
    return worker


async def is_on_redis(resources: Resources) -> bool:
    return resources.backend.backend == "redis"


async def marks(resources: Resources) -> dict[str, int]:
    async with resources.database.read() as db:
        return {mark.consumer_group: mark.event_id for mark in await db.scalars(select(EventMark))}


async def newest_event(resources: Resources) -> int:
    async with resources.database.read() as db:
        return int((await db.execute(text("SELECT max(id) FROM events"))).scalar_one())


@on_sqlite
@pytest.mark.timeout(180)
async def test_each_works_as_if_it_were_alone(two: list[Installation], redis_url: str) -> None:
    first, second = two
    for each in two:
        await until(lambda each=each: is_on_redis(each.resources), within=30)  # type: ignore[misc]
    assert first.resources.keys.prefix != second.resources.keys.prefix

    # The same ids on both sides, and each finds its own.
    for each in two:
        await each.scene.select("editor")
        assert (await each.scene.current("editor"))["deal"]["id"] == each.scene.deal.id

    # Jobs: the same run ids, by arq, each in its own database alone.
    for _ in range(3):
        for each in two:
            async with each.resources.database.write() as db:
                run_id = await request_run(db, CHECK, at=Clock().now())

            async def is_over(resources: Resources = each.resources, run_id: int = run_id) -> bool:
                return (await read_run(resources, run_id)).finished_at is not None

            await until(is_over, within=30)
            run = await read_run(each.resources, run_id)
            assert (run.status, run.attempt) == ("succeeded", 1)
            assert f"{each.resources.keys.prefix}:run:{run_id}:" in each.worker.output(), "arq did it, under a name of its own"
    for each, other in ((first, second), (second, first)):
        assert f"{other.resources.keys.prefix}:run:" not in each.worker.output()

    # Events: each stream has those of its own database and no other.
    async with first.resources.database.write() as db:
        for _ in range(5):
            await record_event(db, "deal.selected", at=Clock().now(), organisation_id=first.scene.organisation.id, source="selected")
    for each in two:

        async def is_through(resources: Resources = each.resources) -> bool:
            newest, done = await newest_event(resources), await marks(resources)
            return len(done) == 2 and min(done.values()) >= newest

        await until(is_through, within=40)
    figures = []
    for each in two:
        async with each.resources.database.read() as db:
            mine = Analytics.organisation_id == each.scene.organisation.id
            query = select(func.sum(Analytics.count)).where(Analytics.measure == "selected", Analytics.resolution == HOUR, mine)
            figures.append(await db.scalar(query))
    assert figures == [6, 1]

    # Rate limits: the same person's id on both sides.
    answers = [(await first.scene.call("owner", "GET", "/api/deals"))[0] for _ in range(4)]
    assert answers[-1] == 429
    assert (await second.scene.call("owner", "GET", "/api/deals"))[0] == 200

    # The flag: one falls, the other does not notice.
    epoch = second.resources.backend.flag.epoch
    await first.resources.backend.fail_over(first.resources.backend.flag.fence, "a test")
    await second.resources.backend.refresh()
    assert (second.resources.backend.flag.mode, second.resources.backend.flag.epoch) == ("redis", epoch)
    assert (await second.scene.current("editor"))["deal"]["id"] == second.scene.deal.id

    async with Redis.from_url(redis_url, decode_responses=True) as commands:
        keys = await commands.keys("*")
        prefixes = [each.resources.keys.prefix for each in two]
        of_arq = [f"arq:{kind}:{prefix}:" for prefix in prefixes for kind in ("job", "retry", "in-progress", "result")]
        begins = (*(f"hf:{prefix}:" for prefix in prefixes), *of_arq)
        assert [key for key in keys if not key.startswith(begins)] == ["hf:installations"]
        assert all(any(key.startswith(f"hf:{prefix}:") for key in keys) for prefix in prefixes)
        await commands.flushall()
    for each in two:
        assert (await each.scene.current("editor"))["deal"]["id"] == each.scene.deal.id
        await each.scene.select("editor")
        await until(lambda each=each: is_on_redis(each.resources), within=30)  # type: ignore[misc]
        assert (await each.scene.current("editor"))["deal"]["id"] == each.scene.deal.id


async def keys_in_sql(url: str) -> tuple[str, str]:
    database = Database(url, name="holdfast-test")
    try:
        async with database.read() as db:
            row = (await db.execute(select(SessionBackend))).scalar_one()
            return row.installation_id, row.redis_prefix
    finally:
        await database.close()


async def test_new_installation_has_names_of_its_own_and_one_in_use_keeps_those_it_has(empty_database_url: str, tmp_path: Path) -> None:
    await asyncio.to_thread(upgrade, empty_database_url)
    installation_id, prefix = await keys_in_sql(empty_database_url)
    assert len(installation_id) == 8
    assert prefix == installation_id
    for number, in_use in enumerate(
        (
            "UPDATE session_backend SET epoch = 1",
            "INSERT INTO processes (id, kind, version, started_at, heartbeat_at) VALUES ('p', 'web', '1', '2026-01-01', '2026-01-01')",
        )
    ):
        path = tmp_path / f"old{number}.db"
        await asyncio.to_thread(upgrade, f"sqlite+aiosqlite:///{path}", "0013")
        with sqlite3.connect(path) as db:
            db.execute(in_use)
        await asyncio.to_thread(upgrade, f"sqlite+aiosqlite:///{path}")
        another_id, prefix = await keys_in_sql(f"sqlite+aiosqlite:///{path}")
        assert (len(another_id), prefix) == (8, "")
        assert another_id != installation_id


async def test_processes_that_disagree_about_the_names_use_no_redis_and_serve_nothing_old(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """As one of an older version does, which knows `hf:` alone; and one of another database number of the same Redis."""
    another_number = {"REDIS_URL": f"{environ['REDIS_URL'].rpartition('/')[0]}/1"}
    names: dict[str, dict[str, str]] = {"plain": {}, "own": {"REDIS_PREFIX": "mine"}, "number": another_number}
    database = Database(environ["DATABASE_URL"], name="holdfast-test")
    async with database.write() as db:
        await db.execute(text("UPDATE session_backend SET redis_prefix = ''"))
    await database.close()
    each_resources = {who: make_resources(load_settings(environ | changed), kind="web", clock=clock) for who, changed in names.items()}
    plain = each_resources["plain"]
    await plain.open()
    try:
        await sign_in(plain)
        await set_key(plain, "n", 1)
        await plain.sessions.read(KEY)
        assert plain.backend.usable_epoch is not None
        for who in ("own", "number"):
            resources = each_resources[who]
            clock.advance(timedelta(seconds=1))  # the younger of two leaves it to the older to begin an epoch
            await resources.open()
            assert resources.backend.usable_epoch is None, who
            assert resources.backend.redis_fault == "this Redis is not the one the epoch is bound to"
            for number in range(3):
                await set_key(resources, "n", [who, number])

                async def reads_it(expected: object = [who, number]) -> bool:
                    record = (await plain.sessions.read(KEY)).record
                    return isinstance(record, Record) and record.data["n"] == expected

                # The first within a poll: who writes cannot tell a place it does not know.
                await until(reads_it, within=2)
                await until(lambda: plain.backend.usable_epoch is None, within=2)
                # And the probe would begin no epoch while both live.
                views = {each.backend.view.instance for each in (plain, resources)}
                assert len(views - {None}) == 2
            await resources.close()
            await plain.backend.refresh()
            assert await plain.backend.begin_epoch(plain.backend.view.instance, "a test")  # type: ignore[arg-type]
            await plain.sessions.read(KEY)
            assert plain.backend.usable_epoch is not None
    finally:
        await plain.close()


async def told(environ: dict[str, str]) -> list[Check]:
    return [each for each in await examine(load_settings(environ), Clock()) if each.check == "installations"]


@on_sqlite
async def test_doctor_tells_of_others_of_copies_and_of_those_with_the_same_names(
    environ: dict[str, str], other_environ: dict[str, str], tmp_path: Path, database: Database, start_web: StartWeb
) -> None:
    await start_web({})
    assert await told(environ) == [], "one's own processes are nobody else"

    other = await start_web(other_environ)
    [found] = await told(environ)
    assert (found.state, found.fix) == ("ok", "")
    assert "other.db" in found.found
    assert (await told(other_environ))[0].state == "ok"
    assert await asyncio.to_thread(other.terminate, within=20) in (0, -15)
    assert await told(environ) == [], "who left is gone at once"

    original = environ["DATABASE_URL"].partition(":///")[2]
    copied = environ | {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'copy.db'}"}
    with sqlite3.connect(original) as source, sqlite3.connect(tmp_path / "copy.db") as target:
        source.backup(target)
    copy = await start_web(copied)
    [found] = await told(environ)
    assert found.state == "failed"
    assert "a copy of this database" in found.found
    assert "copy.db" in found.found
    assert "holdfast sessions new-installation-id" in found.fix
    assert await asyncio.to_thread(copy.terminate, within=20) in (0, -15)

    of_copy = Database(copied["DATABASE_URL"], name="holdfast-test")
    async with of_copy.write() as db:
        installation_id = await become_another_installation(db, of_copy.clock, record_flip=record_flip)
    await of_copy.close()
    assert await keys_in_sql(copied["DATABASE_URL"]) == (installation_id, installation_id)
    copy = await start_web(copied)
    [found] = await told(environ)
    assert found.state == "ok"
    assert f"hf:{installation_id}:" in found.found
    assert await asyncio.to_thread(copy.terminate, within=20) in (0, -15)

    # Two that were there before installations had names of their own.
    for url in (environ["DATABASE_URL"], other_environ["DATABASE_URL"]):
        with sqlite3.connect(url.partition(":///")[2]) as db_:
            db_.execute("UPDATE session_backend SET redis_prefix = ''")
    await start_web(other_environ)
    [found] = await told(environ)
    assert found.state == "failed"
    assert "another installation uses the same names" in found.found
    assert "REDIS_PREFIX" in found.fix
    assert (await told(environ | {"REDIS_PREFIX": "mine"}))[0].state == "ok"


@on_sqlite
async def test_rubbish_where_installations_show_themselves_harms_nobody(
    environ: dict[str, str], redis_url: str, start_web: StartWeb
) -> None:
    async with Redis.from_url(redis_url) as commands:
        await commands.zadd("hf:installations", {b"\xff rubbish": 4e9, '{"installation": 7}': 4e9})
        await start_web({})
        assert await told(environ) == []
        await commands.delete("hf:installations")
        await commands.set("hf:installations", "not ours")
        web = await start_web({})
        assert await told(environ) == []
        assert "Backend poll failed" not in web.output()
        assert "Session backend: Redis (healthy)" in web.output()


@on_sqlite
@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
async def test_two_sites_on_one_host_share_a_browser(environ: dict[str, str], other_environ: dict[str, str]) -> None:
    """One cookie jar, as of localhost:5001 and localhost:5002: cookies know no ports."""
    suffixed = {"COOKIE_SUFFIX": "staging"}
    apps = [create_app(load_settings(each)) for each in (environ, other_environ | suffixed, other_environ)]
    async with apps[0].test_app(), apps[1].test_app(), apps[2].test_app():
        scenes = [await Scene.set(apps[0]), await Scene.set(apps[1])]
        people = [scenes[0].users["owner"].email, scenes[1].users["admin"].email, scenes[1].users["admin"].email]
        jar = httpx.Cookies().jar

        async def ask(number: int, method: str, path: str, **options: Any) -> httpx.Response:
            site: Any = apps[number]
            transport = httpx.ASGITransport(app=site)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://localhost:500{number + 1}", cookies=jar) as browser:
                return await browser.request(method, path, **options)

        async def sign_in_at(number: int) -> None:
            answer = await ask(number, "POST", "/api/auth/login", json={"email": people[number], "password": PASSWORD})
            assert answer.status_code == 200

        async def who(number: int) -> str | None:
            answer = await ask(number, "GET", "/api/me")
            return answer.json()["user"]["email"] if answer.status_code == 200 else None

        for number in (0, 1):
            await sign_in_at(number)
        assert [await who(0), await who(1)] == people[:2]
        assert {cookie.name for cookie in jar} == {
            *("holdfast_auth", "holdfast_session", "holdfast_device"),
            *("holdfast_auth-staging", "holdfast_session-staging", "holdfast_device-staging"),
        }
        assert (await ask(1, "POST", "/api/auth/logout")).status_code in (200, 204)
        assert [await who(0), await who(1)] == [people[0], None]

        # Under one name a look leaves the other site's login where it is; only signing in takes its place.
        before = {cookie.name: cookie.value for cookie in jar}
        for path in ("/", "/login", "/login?next=/", "/api/me", "/api/deals/current", "/health/ready", "/nowhere"):
            answer = await ask(2, "GET", path)
            assert not [each for each in answer.headers.get_list("Set-Cookie") if not each.startswith("holdfast_session_refused")], path
        assert {name: value for name, value in before.items() if "refused" not in name}.items() <= {
            cookie.name: cookie.value for cookie in jar
        }.items()
        assert await who(0) == people[0]
        await sign_in_at(2)
        assert [await who(0), await who(2)] == [None, people[2]]


@pytest.mark.parametrize("given", ["a b", "ä", "a;b", "x" * 33, "a=b", "a/b"])
@pytest.mark.parametrize("name", ["COOKIE_SUFFIX", "REDIS_PREFIX"])
def test_what_cannot_be_part_of_a_name_is_refused(name: str, given: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=.*letters, digits, - or _"):
        load_settings({name: given, "SECRET_KEY": "only-for-tests-" * 3})


def test_make_run_on_another_port_has_cookies_of_its_own() -> None:
    def environ(**given: str) -> dict[str, str]:
        return own_cookies(load_settings({"SECRET_KEY": "only-for-tests-" * 3} | given))

    assert environ() == environ(PORT="5001") == {}
    assert environ(PORT="5002") == {"COOKIE_SUFFIX": "5002"}
    assert environ(PORT="5002", COOKIE_SUFFIX="mine") == {}
