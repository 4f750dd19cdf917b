"""SQL broken in every way there is: what is warm goes on, a write is refused clearly and in time, and nothing needs a restart."""

import asyncio
import resource
import sqlite3
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from tests.conftest import StartRedis
from tests.resilience.conftest import Tell
from tests.resilience.site import LENIENCE, Browser, People, Site, milliseconds, timed
from tests.resilience.sql_site import SqlSite, sql_site
from tests.servers.postgresql import PostgresServer
from tests.waiting import until

# Seconds, of the fault table.
FAILS_WITHIN = 2 * LENIENCE
RECOVERS_WITHIN = 5 * LENIENCE
NO_REQUEST_OVER = 3 + 1  # a second for this machine
STOPS_WITHIN = 10


@pytest.fixture(scope="module")
def standing_site(private_postgres: PostgresServer) -> Iterator[SqlSite]:
    with sql_site(private_postgres) as site:
        yield site


@pytest.fixture
async def site(standing_site: SqlSite) -> SqlSite:
    await standing_site.wait_for_redis()
    return standing_site


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[asyncpg.Connection]:
    url = make_url(site.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def locked(site: Site, table: str) -> AsyncIterator[None]:
    async with connected(site) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        yield


async def is_refused(browser: Browser, people: People) -> float:
    """A select is answered 503 with Retry-After, the cookies stay, what is warm is still served; how long the refusal took."""
    cookies = dict(browser.http.cookies)
    response = await browser.call("POST", f"/api/deals/{people.deals[1].id}/select")
    assert (response.status_code, "retry-after" in response.headers) == (503, True), response.text
    assert dict(browser.http.cookies) == cookies
    assert await browser.current_everywhere() == {people.deals[0].id}
    return browser.answers[-1 - len(browser.site.webs)].took


async def selects_again(browser: Browser, people: People) -> float:
    async def works() -> bool:
        return await browser.select(people.deals[1]) == 200

    took = await timed(until(works, within=RECOVERS_WITHIN))
    assert await browser.current_everywhere() == {people.deals[1].id}
    return took


async def is_unhealthy(browser: Browser) -> bool:
    return (await browser.call("GET", "/api/health/session")).status_code == 503


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_postgresql_away(site: SqlSite, people: People, how: str, tell: Tell) -> None:
    postgres = site.postgres.process
    assert postgres is not None
    browser = await people.browser(on=people.deals[0])
    stranger = await people.browser(signed_in=False)
    assert await browser.current_everywhere() == {people.deals[0].id}
    if how == "killed":
        postgres.kill()
    else:
        postgres.stop()
    try:
        took = [await is_refused(browser, people) for _ in range(3)]
        assert await stranger.sign_in() == 503
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{site.webs[0].url}/health/ready", timeout=10)).status_code == 503
            assert (await client.get(f"{site.webs[0].url}/health/live")).status_code == 200
        await until(lambda: "Backend flag cannot be read" in site.webs[0].output())
    finally:
        if how == "killed":
            await asyncio.to_thread(postgres.restart)
        else:
            postgres.cont()
    tell("refused after", [milliseconds(each) for each in took])
    tell("selects again after", f"{await selects_again(browser, people):.1f} s")
    assert max(took) <= NO_REQUEST_OVER
    assert await stranger.sign_in() == 200

    def is_told_once() -> bool:
        said = site.webs[0].output()
        return 0 < said.count("Backend flag cannot be read") == said.count("Backend flag can be read again")

    await until(is_told_once)


async def test_slow(site: SqlSite, people: People, tell: Tell) -> None:
    browser = await people.browser(on=people.deals[0])
    site.wire.latency = 0.1
    try:
        status = await browser.select(people.deals[1])
        took = browser.answers[-1].took
        for _ in range(5):
            await browser.current()
        warm = browser.answers[-1].took
    finally:
        site.wire.latency = 0
    tell("select, read at 100 ms a statement", f"{milliseconds(took)} ({status}), {milliseconds(warm)}")
    assert status in (200, 503)
    assert took <= NO_REQUEST_OVER
    assert await browser.current_everywhere() == {people.deals[1 if status == 200 else 0].id}
    assert await people.count("deal.selected") == (2 if status == 200 else 1)


async def test_table_locked(site: SqlSite, people: People, tell: Tell) -> None:
    browser = await people.browser(on=people.deals[0])
    async with locked(site, "sessions"):
        took = await is_refused(browser, people)
    tell("refused after", milliseconds(took))
    assert took <= FAILS_WITHIN
    await selects_again(browser, people)


async def test_pool_exhausted(site: SqlSite, people: People, tell: Tell) -> None:
    """Twice as many writers as connections: each is refused in time, nothing piles up, the next ones are served."""
    browsers = [await people.browser(on=people.deals[0]) for _ in range(4)]
    # With as many questions that need neither Redis nor SQL: what these take is the machine's.
    watch = await people.browser(people.owner, signed_in=False)
    async with locked(site, "sessions"):
        idle = asyncio.gather(*(watch.call("GET", "/health/live") for _ in range(40)))
        statuses = await asyncio.gather(*(browser.select(people.deals[1]) for browser in browsers for _ in range(10)))
        await idle
        slowest = max(answer.took for browser in browsers for answer in browser.answers)
        noise = max(answer.took for answer in watch.answers)
        assert await browsers[0].current_everywhere() == {people.deals[0].id}
    tell("slowest of 40", f"{milliseconds(slowest)}, noise {milliseconds(noise)}")
    assert set(statuses) == {503}
    assert slowest <= NO_REQUEST_OVER + noise
    for browser in browsers:
        await selects_again(browser, people)


async def test_connections_terminated(site: SqlSite, people: People) -> None:
    """Ended while idle, as by a restart of the database: the next requests open new ones, and nobody hears of it."""
    browser = await people.browser(on=people.deals[0])
    # So that each pool has several.
    await asyncio.gather(*(browser.call("GET", "/api/deals") for _ in range(12)))
    pooled = site.wire.connections
    async with connected(site) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await until(lambda: all(each.done() for each in pooled))  # the goodbye has come through
    assert await browser.current_everywhere() == {people.deals[0].id}
    assert set(await asyncio.gather(*(browser.select(people.deals[1]) for _ in range(12)))) == {200}
    assert {answer.status for answer in browser.answers} == {200}


async def test_deadlock_is_tried_again(site: SqlSite, people: People) -> None:
    """The database ends the web's transaction; it is made anew, and audited once."""
    browser = await people.browser(on=people.deals[0])
    async with connected(site) as other:
        await other.execute("SET deadlock_timeout = '30s'")  # the web's is found first, after its second
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT id FROM sessions WHERE user_id = $1 FOR UPDATE", people.viewer.id)
        select = asyncio.create_task(browser.select(people.deals[1]))
        async with connected(site) as watcher:
            waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            await until(lambda: watcher.fetchval(waiting))
        await other.execute("SELECT id FROM users WHERE id = $1 FOR UPDATE", people.viewer.id)
        await transaction.commit()
        assert await select == 200
        assert await other.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") is not None
    assert await browser.current_everywhere() == {people.deals[1].id}
    assert await people.count("deal.selected") == 2


async def test_serialization_failure_is_tried_again(site: SqlSite, people: People) -> None:
    """PostgreSQL says 40001 to the first two tries; the third is committed, and audited once."""
    browser = await people.browser(on=people.deals[0])
    async with connected(site) as other:
        await other.execute(
            "CREATE SEQUENCE tries;"
            "CREATE FUNCTION fail_twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF nextval('tries') < 3 THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;"
            "  RETURN new; END $$;"
            "CREATE TRIGGER fail_twice BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION fail_twice()"
        )
        try:
            assert await browser.select(people.deals[1]) == 200
            assert await other.fetchval("SELECT last_value FROM tries") == 3
        finally:
            await other.execute("DROP TRIGGER fail_twice ON sessions; DROP FUNCTION fail_twice; DROP SEQUENCE tries")
    assert await browser.current_everywhere() == {people.deals[1].id}
    assert await people.count("deal.selected") == 2


async def test_what_cannot_be_written_hides_nothing(site: SqlSite, people: People) -> None:
    """A change of the session that SQL refuses leaves no claim behind: what is warm is still served while SQL is away."""
    await people.browser(on=people.deals[0])
    browser = await people.browser()
    assert (await browser.call("GET", "/api/deals/current")).json()["notice"]["code"] == "restored"
    assert site.postgres.process
    site.postgres.process.kill()
    try:
        assert (await browser.call("POST", "/api/notices/dismiss")).status_code == 503
        assert await browser.current_everywhere() == {people.deals[0].id}
    finally:
        await asyncio.to_thread(site.postgres.process.restart)
    await selects_again(browser, people)


async def test_both_away(site: SqlSite, people: People) -> None:
    """Nobody can say, so nobody is told they are signed out; the same cookie works afterwards."""
    browser = await people.browser(on=people.deals[0])
    cookies = dict(browser.http.cookies)
    assert site.postgres.process
    site.redis.kill()
    site.postgres.process.kill()
    try:
        for path in ("/api/deals/current", "/api/me", "/workspace"):
            response = await browser.call("GET", path)
            assert (response.status_code, "retry-after" in response.headers) == (503, True), response.text
            assert "set-cookie" not in response.headers
        await until(lambda: is_unhealthy(browser), within=10)
        assert (await browser.call("GET", "/health/live")).status_code == 200
    finally:
        await asyncio.to_thread(site.postgres.process.restart)
        site.redis.restart()
    await selects_again(browser, people)
    assert set(cookies) == set(browser.http.cookies)
    # The worker has lived through it as well.
    await site.wait_for_redis()


async def test_clients_that_hang_up_leak_nothing(site: SqlSite, people: People) -> None:
    """A thousand of them: exactly the old or the new deal, and as many connections as before."""
    browser = await people.browser(on=people.deals[0])
    cookies = "; ".join(f"{name}={value}" for name, value in browser.http.cookies.items())

    async def hang_up(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", site.webs[number % 2].port)
        deal = people.deals[number % 3]
        head = f"POST /api/deals/{deal.id}/select HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookies}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        # Each at another point of the select, from before it began to after its end.
        await asyncio.sleep(number % 40 / 1000)
        writer.transport.abort()

    for batch in range(0, 1000, 8):
        await asyncio.gather(*(hang_up(number) for number in range(batch, batch + 8)))
    async with connected(site) as watcher:
        busy = (
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'holdfast-web' AND state <> 'idle'"
            " AND datname = current_database()"
        )
        await until(lambda: watcher.fetchval(busy), within=10)
    # As many at once as there would be connections left if each of a few had leaked.
    for _ in range(5):
        assert set(await asyncio.gather(*(browser.select(people.deals[2]) for _ in range(4)))) == {200}
    assert await browser.current_everywhere() == {people.deals[2].id}
    assert site.redis.say("CLIENT LIST").count("name=holdfast-web ") <= 2 * 32


async def test_asked_to_stop_during_requests(site: SqlSite, people: People) -> None:
    """What is under way is finished and answered."""
    browser = await people.browser(on=people.deals[0])
    web = site.webs[1]
    async with connected(site) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE visits IN ACCESS EXCLUSIVE MODE")
        selects = [asyncio.create_task(browser.select(people.deals[1], server=1)) for _ in range(5)]
        waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        async with connected(site) as watcher:
            await until(lambda: watcher.fetchval(waiting))
        began = time.perf_counter()
        ended = asyncio.create_task(asyncio.to_thread(web.terminate, within=STOPS_WITHIN))
        await until(lambda: "Shutting down" in web.output())
        await transaction.rollback()
        assert set(await asyncio.gather(*selects)) == {200}
        await ended
    assert time.perf_counter() - began < STOPS_WITHIN
    web.start()
    await web.wait_until_ready()
    assert await browser.current_everywhere() == {people.deals[1].id}


# SQLite


@pytest.fixture
async def small_site(database_url: str, start_redis: StartRedis) -> AsyncIterator[Site]:
    site = Site(database_url, start_redis(), webs=1, worker=False)
    try:
        await asyncio.to_thread(site.start)
        yield site
    finally:
        site.remove()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sqlite_locked_by_another_process(small_site: Site, tell: Tell) -> None:
    path = make_url(small_site.database_url).database
    assert path is not None
    async with People.of(small_site) as people:
        browser = await people.browser(on=people.deals[0])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            took = await is_refused(browser, people)
            statuses = await asyncio.gather(*(browser.select(people.deals[1]) for _ in range(6)))
            slowest = max(answer.took for answer in browser.answers)
            other.execute("ROLLBACK")
        tell("refused after, slowest of 6 at once", f"{milliseconds(took)}, {milliseconds(slowest)}")
        assert set(statuses) == {503}
        assert slowest <= NO_REQUEST_OVER
        await selects_again(browser, people)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sixteen_selects_at_once(small_site: Site, tell: Tell) -> None:
    async with People.of(small_site) as people:
        browsers = [await people.browser(on=people.deals[0]) for _ in range(16)]
        for _ in range(5):
            assert set(await asyncio.gather(*(browser.select(people.deals[1]) for browser in browsers))) == {200}
        times = [answer.took for browser in browsers for answer in browser.answers[-5:]]
        tell("p50, slowest", f"{milliseconds(statistics.median(times))}, {milliseconds(max(times))}")
        assert max(times) < 2, "they queue in the process, not at the file"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_disk_full(small_site: Site) -> None:
    """Reads work, writes are refused, and nothing is broken once there is room again."""
    web = small_site.webs[0]
    path = make_url(small_site.database_url).database
    assert path is not None
    async with People.of(small_site) as people:
        browser = await people.browser(on=people.deals[0])
        room = resource.prlimit(web.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(web.pid, resource.RLIMIT_FSIZE, (4096, room[1]))
        try:
            await is_refused(browser, people)
            answer = await browser.call("POST", f"/api/deals/{people.deals[1].id}/select")
            assert (answer.json()["code"], answer.json()["title"]) == ("storage_full", "Storage full")
        finally:
            resource.prlimit(web.pid, resource.RLIMIT_FSIZE, room)
        await selects_again(browser, people)
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
