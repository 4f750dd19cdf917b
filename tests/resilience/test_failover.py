"""Redis comes back as another one, older or empty, and what changed while it was away: nobody is shown what is over."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.conftest import StartRedis, StartWeb
from tests.factories import PASSWORD
from tests.resilience.conftest import StartWorker, Tell
from tests.resilience.matrix import IS_FULL, across, on
from tests.resilience.past import OTHER_PASSWORD, Past, follow, info
from tests.resilience.site import AS_IN_PRODUCTION, LENIENCE, WINDOW, Load, People, Site, milliseconds, p99
from tests.resilience.test_faults_redis import Fault, hung, refused
from tests.servers.redis import RedisServer
from tests.waiting import until

READS = 1000


def restart_empty(site: Site) -> None:
    site.redis.kill()
    site.redis.restart()


@contextmanager
def snapshot(site: Site) -> Iterator[None]:
    """Redis goes back to what it holds at the beginning."""
    assert site.redis.say("SAVE").startswith("+OK")
    dump = site.redis.directory / "dump.rdb"
    old = shutil.copy(dump, site.redis.directory / "old.rdb")
    yield
    site.redis.kill()
    shutil.copy(old, dump)
    site.redis.restart()
    dump.unlink()


@contextmanager
def lost_writes(site: Site, other: RedisServer) -> Iterator[None]:
    """The master dies, and a replica that had stopped following it takes its address."""
    follow(other, site.redis)
    assert other.say("REPLICAOF NO ONE").startswith("+OK")
    yield
    for proxy in site.proxies:
        proxy.target = other.port
        proxy.cut()


@contextmanager
def there_and_back(site: Site, other: RedisServer) -> Iterator[None]:
    """Demoted, resynced from one that holds old data, and promoted back: the same process with the same run id."""
    follow(other, site.redis)
    assert other.say("REPLICAOF NO ONE").startswith("+OK")
    yield
    run_id = info(site.redis, "run_id")
    follow(site.redis, other)
    assert site.redis.say("REPLICAOF NO ONE").startswith("+OK")
    assert info(site.redis, "run_id") == run_id


@on("sqlite")
async def test_restarted_empty(site: Site, people: People) -> None:
    past = await Past(people).begin()
    await past.change()
    await past.check()
    restart_empty(site)
    await past.check()
    await site.wait_for_redis()
    await past.check()
    assert await people.flips() == [*(await people.flips())[:-2], "sql", "redis"]


@on("postgresql")
async def test_restarted_from_an_old_snapshot(site: Site, people: People, tell: Tell) -> None:
    past = await Past(people).begin()
    with snapshot(site):
        await past.change()
    # At once: nobody has told these servers yet that it is another Redis.
    reads = await past.check(reads=200)
    await site.wait_for_redis()
    tell("stale reads", f"0 of {reads + await past.check(reads=200)}")


@on("sqlite")
async def test_replica_promoted_with_lost_writes(site: Site, people: People, start_redis: StartRedis) -> None:
    past = await Past(people).begin()
    original = site.redis.port
    try:
        with lost_writes(site, start_redis(site.redis.kind)):
            await past.change()
        await past.check(reads=200)
        await site.wait_for_redis()
        await past.check()
    finally:
        for proxy in site.proxies:
            proxy.target = original
            proxy.cut()
        await until(lambda: site.all_on("sqlalchemy"), within=20)


@on("postgresql")
async def test_demoted_resynced_and_promoted_back(site: Site, people: People, start_redis: StartRedis) -> None:
    """Connections live through it, so the second until each server looks is the window; its own browser is never in it."""
    past = await Past(people).begin()
    epoch = (await people.flag()).epoch
    with there_and_back(site, start_redis(site.redis.kind)):
        await past.change()
    for _ in range(20):
        assert await past.chooser.current() == past.new.id
    await until(lambda: risen(people, epoch), within=20)
    await site.wait_for_redis()
    await past.check(reads=200)


async def risen(people: People, epoch: int) -> bool:
    return (await people.flag()).epoch > epoch


async def test_flushed(site: Site, people: People) -> None:
    """Nobody is signed out, and the second read has filled Redis again."""
    browsers, flips = [await people.browser(on=people.deals[0]) for _ in range(10)], await people.flips()
    assert site.redis.say("FLUSHALL").startswith("+OK")
    await until(lambda: ":epoch" in site.redis.say("KEYS hf:*"))
    for _ in range(2):
        shown = await asyncio.gather(*(browser.current() for browser in browsers for _ in range(5)))
        assert set(shown) == {people.deals[0].id}
    assert int(site.redis.say("DBSIZE").strip(":\r\n")) >= len(browsers)
    await site.wait_for_redis()
    assert await people.flips() == flips


@on("sqlite")
async def test_evicting(site: Site, people: People) -> None:
    """A cache that forgets all the time costs SQL reads, no session."""
    used = int(info(site.redis, "used_memory"))
    try:
        site.redis.say("CONFIG SET maxmemory-policy allkeys-lru")
        site.redis.say(f"CONFIG SET maxmemory {used - 10_000}")
        async with Load(people) as load:
            await load.for_a_while(150)
    finally:
        site.redis.say("CONFIG SET maxmemory 0")
        site.redis.say("CONFIG SET maxmemory-policy noeviction")
    assert int(info(site.redis, "evicted_keys")) > 0
    assert (load.errors, load.wrong) == ([], [])


@across("fault", [refused, hung])
async def test_changed_during_the_outage(site: Site, people: People, fault: Fault, tell: Tell) -> None:
    """Redis comes back with all it held, where the fault leaves it that: the new state stands everywhere."""
    past = await Past(people).begin()
    outsider = await people.browser(people.owner)
    victims = [await people.browser(people.owner) for _ in range(2)]
    with fault(site):
        await past.change()
        await past.check(reads=8)
        assert await outsider.sign_in() == 200
        new = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        assert (await past.owner.call("POST", "/api/me/password", json=new)).status_code == 200
        await site.wait_for_sql()
    await until(past.is_over_everywhere, within=WINDOW)
    reads = await past.check(reads=40)
    await site.wait_for_redis()
    tell("stale reads, resurrections", f"0 of {reads + await past.check(reads=READS - reads)}")
    for browser in (outsider, *victims):
        assert await browser.status_everywhere() == {401}
    assert await past.owner.status_everywhere() == {200}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_flapping(database_url: str, start_redis: StartRedis, tell: Tell) -> None:
    """Half a second there, half a second away, eight times: one flip down, and one up when it stays.

    With MATRIX=full at the settings of production, where all of it takes four times as long, and fifteen times.
    """
    rhythm = 2 if IS_FULL else 0.5
    site = Site(database_url, start_redis(), settings=AS_IN_PRODUCTION if IS_FULL else {"PROBE_RISE_SECONDS": "2.5"})
    try:
        await asyncio.to_thread(site.start)
        async with People.of(site) as people:
            before = await people.flips()
            async with Load(people) as load:
                for _ in range(15 if IS_FULL else 8):
                    with refused(site):
                        await asyncio.sleep(rhythm)
                    await asyncio.sleep(rhythm)
                flips = (await people.flips())[len(before) :]
                back = await site.wait_for_redis(within=60)
            tell("flips, answers, p99", f"{flips}, {len(load.answers)}, {milliseconds(p99(load.times()))}")
            tell("back after it stays", f"{back:.1f} s")
            assert (load.errors, load.wrong) == ([], [])
            assert len(flips) <= 2
    finally:
        site.remove()


@on("postgresql", fixture="database_url")
async def test_one_of_three_servers_is_cut_off(database_url: str, start_redis: StartRedis) -> None:
    site = Site(database_url, start_redis(), webs=3)
    try:
        await asyncio.to_thread(site.start)
        async with People.of(site) as people:
            browser, epoch = await people.browser(on=people.deals[0]), (await people.flag()).epoch
            witness = await people.bystander(browser)
            site.proxies[2].refuse()
            assert await browser.select(people.deals[1], server=2) == 200
            assert await browser.current_everywhere() == {people.deals[1].id}
            await site.wait_for_sql()
            assert await witness.current_everywhere() == {people.deals[1].id}
            async with Load(people) as load:
                await load.for_a_while(100)
            assert (load.errors, load.wrong) == ([], [])
            flag = await people.flag()
            assert (flag.mode, flag.epoch) == ("sql", epoch), "no return without the one that is cut off"
            site.proxies[2].accept()
            await site.wait_for_redis()
            assert await witness.current_everywhere() == {people.deals[1].id}
    finally:
        site.remove()


@across("change", ["select", "revoke", "log out"])
@pytest.mark.parametrize("keeps", ["request", "answer"])
async def test_fall_is_told_before_the_change_is_answered(
    site: Site, people: People, change: str, keeps: Literal["request", "answer"]
) -> None:
    """One call gets no answer, and Redis serves on: no server shows anybody what was before, the one that made the change neither."""
    past, flips = await Past(people).begin(), await people.flips()
    lost = site.proxies[0].trap(lambda sent: b"SET" in sent and b"\r\nH" in sent, keeps=keeps)  # a hold
    if change == "select":
        assert await past.chooser.select(past.new, server=0) == 200
        assert await past.witness.current_everywhere() == {past.new.id}
    elif change == "revoke":
        members = f"/api/deals/{past.revoked.id}/members/{people.viewer.id}"
        assert (await past.owner.call("DELETE", members, server=0)).status_code == 204
        assert past.revoked.id not in await past.witness_of_strip.current_everywhere()
    else:
        assert (await past.leaver.call("POST", "/api/auth/logout", server=0)).status_code == 204
        assert await past.thief.status_everywhere() == {401}
    assert lost.is_set()
    assert (await people.flips())[len(flips)] == "sql"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_write_that_began_before_the_return(database_url: str, start_redis: StartRedis) -> None:
    """It has no hold, since Redis was away; meanwhile a reader of another server puts the old deal into the new epoch."""
    site = Site(database_url, start_redis(), worker=False)
    try:
        await asyncio.to_thread(site.start)
        async with People.of(site) as people:
            browser = await people.browser(on=people.deals[0])
            with refused(site):
                assert await browser.select(people.deals[1]) == 200
                await site.wait_for_sql()
            witness = await people.bystander(browser)

            async def is_known() -> bool:
                return await witness.current_everywhere() == {people.deals[1].id}

            await until(is_known, within=WINDOW)
            url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
            writer, riser = await asyncpg.connect(url), await asyncpg.connect(url)
            try:
                blocked = writer.transaction()
                await blocked.start()
                await writer.execute("LOCK TABLE visits IN EXCLUSIVE MODE")
                select = asyncio.create_task(browser.select(people.deals[2], server=0))
                await until(lambda: riser.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))
                async with riser.transaction():
                    flag = await people.flag()
                    site.tell_step("begins an epoch", flag.mode, flag.epoch, flag.epoch + 1, flag.redis_run_id)
                    await riser.execute("SELECT pg_advisory_xact_lock(7301)")
                    instance = [info(site.redis, name) for name in ("run_id", "master_replid")]
                    await riser.execute(
                        "UPDATE session_backend SET mode = 'redis', epoch = epoch + 1, "
                        "redis_run_id = $1 || ':' || redis_prefix, redis_replid = $2",
                        *instance,
                    )
                epoch = await riser.fetchval("SELECT epoch FROM session_backend")
                site.tell_step("began an epoch", epoch, True)

                async def is_in_redis() -> bool:
                    assert await witness.current(1) == people.deals[1].id
                    return f":s:{epoch}:" in site.redis.say("KEYS *")

                await until(is_in_redis)
                await blocked.rollback()
                assert await select == 200
            finally:
                await writer.close()
                await riser.close()

            async def is_shown() -> bool:
                return await witness.current_everywhere() == {people.deals[2].id}

            # The writer may still leave Redis alone, and then flips the flag, which others see within the window. A write that
            # slipped past the return would stay hidden behind the old record for as long as that lives.
            await until(is_shown, within=WINDOW)
    finally:
        site.remove()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_down_at_the_start(start_web: StartWeb, start_worker: StartWorker, start_redis: StartRedis, tell: Tell) -> None:
    """The site serves on SQL, the worker waits, and both take Redis when it comes."""
    redis = start_redis()
    redis.kill()
    url = {"REDIS_URL": redis.url}
    worker = start_worker(url)
    began = time.perf_counter()
    web = await start_web(url)
    tell("up after", f"{time.perf_counter() - began:.1f} s")
    assert "Session backend: SQLAlchemy (Redis unavailable)" in web.output()
    await until(lambda: worker.says("arq stopped, starting again"), within=20)
    redis.restart()
    await until(lambda: "Session backend: Redis (healthy)" in web.output(), within=20 * LENIENCE)
    worker.check_alive()
