"""The main job through Debian's PgBouncer, in both of its modes that can be used, and the limits that a hold in Redis relies on."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import delete, text

from app.core.database import STATEMENT_LIMIT_SECONDS, Database
from app.core.database_url import parse_database_url
from app.core.errors import DatabaseUnavailable
from app.core.migrate import upgrade
from app.core.postgresql import Connector
from app.models import Session
from tests.factories import make_user
from tests.resilience.site import People, Site
from tests.servers import redis
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgresServer
from tests.servers.web import ROOT
from tests.waiting import until

# Within which the database is to end what nobody ends: the limit, and what a loaded machine adds; a hold lives 10 s.
ENDS_WITHIN = STATEMENT_LIMIT_SECONDS + 4
OURS = (
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
)
IGNORED = "statement_timeout, lock_timeout, idle_in_transaction_session_timeout, default_transaction_isolation"
GOOD = "Target,Acquirer,Year,Price,Date,Remark\nNest,Google,2014,$3.2bn,13/01/2014,home\nWaze,Google,2013,$966m,11/06/2013,maps\n"


class PooledSite(Site):
    pooler: PgBouncer
    through: str


@pytest.fixture(scope="module", params=["transaction", "session"])
def site(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[PooledSite]:
    """Migrated, served and worked for through PgBouncer; only the tests themselves go to PostgreSQL directly."""
    direct = postgres.create_database(migrated=False)
    pooler, store = PgBouncer(direct, request.param), redis.start("valkey")
    pooler.start()
    through = pooler.url_of(direct)
    site = PooledSite(direct, store, settings={"DATABASE_URL": through})
    site.pooler, site.through = pooler, through
    try:
        assert len(upgrade(through)) > 5
        site.start()
        yield site
    finally:
        site.remove()
        pooler.remove()
        store.remove()
        postgres.drop_database(direct)


@pytest.fixture
async def people(site: PooledSite) -> AsyncIterator[People]:
    async with People.of(site) as people:
        yield people


def holdfast(site: PooledSite, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environ = site.environ(site.proxies[0]) | {"PYTHONPATH": str(ROOT)} | changes
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments], env=environ, cwd=site.webs[0].directory, capture_output=True, text=True
    )


async def test_the_main_job(site: PooledSite, people: People, tmp_path: Path) -> None:
    browser = await people.browser(on=people.deals[0])
    for turn in range(20):
        deal = people.deals[turn % 3]
        assert await browser.select(deal) == 200
        assert await browser.current_everywhere() == {deal.id}
    # Nothing is left of it but what SQL keeps of the person: it is restored, on whichever server asks.
    async with people.database.write() as db:
        await db.execute(delete(Session))
    site.redis.say("FLUSHALL")
    assert await browser.current_everywhere() == {people.deals[19 % 3].id}
    # A race: whichever wins, everybody is shown the same, and what SQL keeps.
    for _ in range(5):
        assert set(await asyncio.gather(*(browser.select(deal, server=at % 2) for at, deal in enumerate(people.deals * 2)))) == {200}
        [shown] = await browser.current_everywhere()
        assert (await people.browser()).email == browser.email
        assert await browser.current() == shown
    # Work for the worker: an import, then a job by hand.
    admin = await people.browser(await make_user(people.database, people.organisation, role="admin"))
    sent = await admin.call("POST", "/api/imports?filename=deals.csv&start=true", content=GOOD, headers={"Content-Type": "text/csv"})
    assert sent.status_code == 202, sent.text
    path = f"/api/imports/{sent.json()['import']['id']}"

    async def is_imported() -> bool:
        return bool((await admin.call("GET", path)).json()["import"]["state"] == "done")

    await until(is_imported, within=30)
    done = await asyncio.to_thread(holdfast, site, "jobs", "run", "expire_sessions")
    assert done.returncode == 0, done.stderr
    done = await asyncio.to_thread(holdfast, site, "doctor", "--json")
    states = {each["check"]: each["state"] for each in json.loads(done.stdout)}
    assert done.returncode == 0, states
    assert (states["database"], states["schema"], states["last runs of jobs"]) == ("ok", "ok", "ok")
    assert {answer.status for answer in [*browser.answers, *admin.answers]} <= {200, 202}
    assert "Traceback" not in site.output()
    assert "leads to a pooler" in site.webs[0].output()


async def test_the_limits_are_those_of_every_transaction(site: PooledSite) -> None:
    database = Database(site.through, name="holdfast-limits")

    async def limits() -> tuple[str, ...]:
        async with database.write() as db:
            assert await db.scalar(text("SHOW transaction_isolation")) == "read committed"
            assert await db.scalar(text("SHOW application_name")) == "holdfast-limits"
            return tuple((await db.execute(text(OURS))).one())

    try:
        assert set(await asyncio.gather(*(limits() for _ in range(40)))) == {("5s", "1500ms", "5s")}
    finally:
        await database.close()
    # Nothing of it is left on a server connection for whoever comes next.
    other = await asyncpg.connect(site.through.replace("+asyncpg", ""), statement_cache_size=0)
    try:
        async with other.transaction():
            assert "5s" not in await other.fetchrow(OURS)
            assert await other.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
    finally:
        await other.close()


async def test_the_database_ends_what_nobody_ends(site: PooledSite, people: People) -> None:
    """A transaction that stands still, and a statement that does not end, are over before the hold taken for them."""
    connector = Connector(parse_database_url(site.through), "holdfast-still", limits=Database.limits, timeout=5)
    idle, busy = await connector.open(), await connector.open()

    async def stand_still() -> float:
        began = time.monotonic()
        await idle.execute("BEGIN")
        pid = await idle.fetchval("SELECT pg_backend_pid()")

        async def is_gone() -> bool:
            async with people.database.read() as db:
                return not await db.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": pid})

        await until(is_gone, within=ENDS_WITHIN)
        return time.monotonic() - began

    async def never_end() -> float:
        began = time.monotonic()
        with pytest.raises(asyncpg.QueryCanceledError):
            async with busy.transaction():
                await busy.execute("SELECT pg_sleep(60)")
        return time.monotonic() - began

    took = await asyncio.gather(stand_still(), never_end())
    await busy.close()
    idle.terminate()
    assert all(STATEMENT_LIMIT_SECONDS - 0.5 < each < ENDS_WITHIN for each in took), took


async def test_a_pooler_that_swallows_limits_is_found_out(site: PooledSite) -> None:
    """Told to ignore what it would refuse, it lets the connection through; the limits are there all the same."""
    pooler = PgBouncer(site.database_url, "transaction", ignore_startup_parameters=IGNORED)
    pooler.start()
    database = Database(pooler.url_of(site.database_url), name="holdfast-test")
    try:
        async with database.write() as db:
            assert tuple((await db.execute(text(OURS))).one()) == ("5s", "1500ms", "5s")
    finally:
        await database.close()
        pooler.remove()


async def test_connections_that_pgbouncer_ends_cost_nobody_anything(site: PooledSite, people: People) -> None:
    """Restarted, it has ended all of them, idle as they were."""
    browser = await people.browser(on=people.deals[0])
    await asyncio.gather(*(browser.call("GET", "/api/deals") for _ in range(12)))
    site.pooler.terminate()
    await asyncio.to_thread(site.pooler.start)
    assert set(await asyncio.gather(*(browser.select(people.deals[1]) for _ in range(6)))) == {200}
    assert await browser.current_everywhere() == {people.deals[1].id}


@pytest.mark.parametrize("site", ["session"], indirect=True)
async def test_session_mode_may_be_told_and_keeps_statements(site: PooledSite) -> None:
    database = Database(f"{site.through}?pooler=session", name="holdfast-test")
    try:
        for _ in range(2):
            async with database.write() as db:
                assert tuple((await db.execute(text(OURS))).one()) == ("5s", "1500ms", "5s")
        async with database.read() as db:
            assert await db.scalar(text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")) > 0
    finally:
        await database.close()


async def test_a_wrong_name_is_one_line(site: PooledSite) -> None:
    database = Database(site.through.replace("holdfast_test", "no_such"), name="holdfast-test")
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await database.close()
