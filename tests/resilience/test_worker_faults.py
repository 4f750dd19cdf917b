"""The worker in an outage: it goes on looking and reporting, stops when asked, and brings Redis back with everybody's consent."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import pytest
from sqlalchemy import select

from app.core.database import Database
from app.models import Process
from tests.conftest import StartRedis
from tests.resilience.conftest import StartWorker, Tell
from tests.resilience.matrix import on
from tests.resilience.site import AS_IN_PRODUCTION, Load, People, Site, p99
from tests.waiting import until

STOPS_WITHIN = 10
TOLD_WITHIN = 10
# As in production, so that what is measured is what operators will see.
DOWN = "Session backend: SQLAlchemy (Redis unavailable)"
UP = "Session backend: Redis (healthy)"


async def processes(database: Database, kind: str = "worker") -> Sequence[Process]:
    async with database.read() as db:
        return (await db.scalars(select(Process).where(Process.kind == kind))).all()


async def last_heartbeat(database: Database) -> datetime:
    return max(each.heartbeat_at for each in await processes(database))


@pytest.fixture
async def site(database_url: str, start_redis: StartRedis) -> AsyncIterator[Site]:
    site = Site(database_url, start_redis())
    try:
        await asyncio.to_thread(site.start)
        yield site
    finally:
        site.remove()


@pytest.fixture
async def people(site: Site) -> AsyncIterator[People]:
    async with People.of(site) as people:
        yield people


@on("sqlite", fixture="database_url")
async def test_worker_reports_and_stops_while_redis_hangs(
    database: Database, database_url: str, start_worker: StartWorker, start_redis: StartRedis, tell: Tell
) -> None:
    redis = start_redis()
    worker = start_worker({"DATABASE_URL": database_url, "REDIS_URL": redis.url})
    await until(lambda: worker.says("Starting worker for"), within=30)

    async def sees(fault: bool) -> bool:
        return any(bool(each.redis_fault) == fault for each in await processes(database))

    await until(lambda: sees(False), within=20)
    redis.stop()
    await until(lambda: sees(True), within=TOLD_WITHIN)
    seen = await last_heartbeat(database)

    async def beats() -> bool:
        return await last_heartbeat(database) > seen

    await until(beats, within=10)
    began = time.perf_counter()
    assert await asyncio.to_thread(worker.terminate, within=STOPS_WITHIN) == 0
    tell("stopped after", f"{time.perf_counter() - began:.1f} s")
    assert "Worker stopped" in worker.output()
    assert not await processes(database), "a clean exit leaves the fleet"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_down_and_up_under_load(database_url: str, start_redis: StartRedis, tell: Tell) -> None:
    """kill -9 of Redis and its return, with the settings of production: no error, health tells it, two lines in the log."""
    site = Site(database_url, start_redis(), settings=AS_IN_PRODUCTION)
    try:
        await asyncio.to_thread(site.start)
        async with People.of(site) as people, Load(people) as load:
            await load.for_a_while(30)
            # After a while: each says at the end of a poll what it saw in it, its start included.
            lines = [web.output().count(UP) for web in site.webs]
            began = time.perf_counter()
            site.redis.kill()
            tell("health tells it is down after", f"{await site.wait_for_sql():.1f} s")
            site.redis.restart()
            tell("health tells it is back after", f"{await site.wait_for_redis():.1f} s")
            await load.for_a_while(30)
            assert (load.errors, load.wrong) == ([], [])
            tell("answers, p99", f"{len(load.answers)}, {p99(load.times(began)) * 1000:.0f} ms")
            assert await people.flips() == ["redis", "sql", "redis"]
        # Each tells it at the end of the poll that saw it.
        await until(lambda: [web.output().count(UP) for web in site.webs] == [count + 1 for count in lines], within=TOLD_WITHIN)
        for web in site.webs:
            down, up = web.output().rindex(DOWN), web.output().rindex(UP)
            assert down < up
            assert '"reason"' in web.output()[down - 300 : down + 300], "the line says why"
    finally:
        site.remove()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_a_worker_the_site_fails_over_and_waits(site: Site, people: People, start_worker: StartWorker) -> None:
    """The worker dies first: the web processes see to themselves, and stay on SQL until there is one again."""
    assert site.worker
    site.worker.kill()
    browser = await people.browser(on=people.deals[0])
    site.redis.kill()
    await site.wait_for_sql()
    assert await browser.select(people.deals[1]) == 200
    assert await browser.current_everywhere() == {people.deals[1].id}
    site.redis.restart()
    epoch = (await people.flag()).epoch

    async def both_are_served_again() -> bool:
        return all(not each.redis_fault for each in await processes(people.database, "web"))

    await until(both_are_served_again, within=20)
    flag = await people.flag()
    assert (flag.mode, flag.epoch) == ("sql", epoch)
    site.worker.start()
    # The first one died without a goodbye, so it is waited for until its heartbeat is old.
    await site.wait_for_redis()
    assert await browser.current_everywhere() == {people.deals[1].id}


@on("postgresql", fixture="database_url")
async def test_two_workers_make_one_return(site: Site, people: People, start_worker: StartWorker) -> None:
    second = start_worker({"DATABASE_URL": site.database_url, "REDIS_URL": site.redis.url})
    await second.wait_until_ready()
    before = await people.flips()
    for _ in range(2):
        site.redis.kill()
        await site.wait_for_sql()
        site.redis.restart()
        await site.wait_for_redis()
    assert (await people.flips())[len(before) :] == ["sql", "redis"] * 2
    assert second.terminate(within=STOPS_WITHIN) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_process_pinned_to_sql_keeps_the_fleet_there(site: Site, people: People, start_worker: StartWorker) -> None:
    start_worker({"DATABASE_URL": site.database_url, "REDIS_URL": site.redis.url, "SESSION_BACKEND": "sql"})

    async def pinned() -> bool:
        return any(each.pinned == "sql" for each in await processes(people.database))

    await until(pinned, within=30)
    site.redis.kill()
    await site.wait_for_sql()
    site.redis.restart()
    await until(lambda: "not every process agrees yet" in site.output(), within=20)
    assert (await people.flag()).mode == "sql"
