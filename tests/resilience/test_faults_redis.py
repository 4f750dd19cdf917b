"""Redis broken in every way there is: nobody notices, nothing is lost, health tells it, and it comes back by itself."""

import asyncio
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from sqlalchemy import select

from app.models import Process
from tests.conftest import StartRedis
from tests.resilience.conftest import Tell
from tests.resilience.matrix import across
from tests.resilience.site import FLIP_SECONDS, LENIENCE, Load, People, Site, milliseconds, p99
from tests.waiting import until

PASSWORD_OF_REDIS = "not-to-be-seen-in-any-log"
# Seconds, of the fault table: what the first hit may cost, and what nothing may ever take; how many of a process may pay.
FIRST_HIT = 0.4 * LENIENCE
NO_REQUEST_OVER = 3
PAYERS = 3

Fault = Callable[[Site], AbstractContextManager[None]]


@contextmanager
def killed(site: Site) -> Iterator[None]:
    site.redis.kill()
    yield
    site.redis.restart()


@contextmanager
def hung(site: Site) -> Iterator[None]:
    site.redis.stop()
    yield
    site.redis.cont()


@contextmanager
def blackholed(site: Site) -> Iterator[None]:
    for proxy in site.proxies:
        proxy.silent = True
    yield
    for proxy in site.proxies:
        proxy.silent = False


@contextmanager
def refused(site: Site) -> Iterator[None]:
    for proxy in site.proxies:
        proxy.refuse()
    yield
    for proxy in site.proxies:
        proxy.accept()


@contextmanager
def slow(site: Site) -> Iterator[None]:
    for proxy in site.proxies:
        proxy.latency = 0.2
    yield
    for proxy in site.proxies:
        proxy.latency = 0


@contextmanager
def full(site: Site) -> Iterator[None]:
    assert site.redis.say("CONFIG SET maxmemory 1").startswith("+OK")
    yield
    assert site.redis.say("CONFIG SET maxmemory 0").startswith("+OK")


@contextmanager
def read_only(site: Site) -> Iterator[None]:
    assert site.redis.say("REPLICAOF 127.0.0.1 1").startswith("+OK")
    yield
    assert site.redis.say("REPLICAOF NO ONE").startswith("+OK")


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """A password nobody here knows."""
    site.redis.say(f"CONFIG SET requirepass {PASSWORD_OF_REDIS}")
    site.redis.say(f"AUTH {PASSWORD_OF_REDIS}\r\nCLIENT KILL TYPE normal")
    yield
    site.redis.say(f'AUTH {PASSWORD_OF_REDIS}\r\nCONFIG SET requirepass ""')


@contextmanager
def crowded(site: Site) -> Iterator[None]:
    """No connection is left for anybody; ours is the one to end it by."""
    with socket.create_connection(("127.0.0.1", site.redis.port), timeout=5) as mine:
        mine.sendall(b"CONFIG SET maxclients 1\r\nCLIENT KILL TYPE normal\r\n")
        assert mine.recv(100).startswith(b"+OK")
        yield
        mine.sendall(b"CONFIG SET maxclients 10000\r\n")
        assert mine.recv(100)


FAULTS: list[Fault] = [killed, hung, blackholed, refused, slow, full, read_only, locked, crowded]
# What each process tells of it. A web process may have seen it first by a command that was refused.
REASONS = {
    "killed": "no connection",
    "hung": "no answer in time",
    "blackholed": "no answer in time",
    "refused": "no connection",
    "slow": "no answer in time",
    "full": "OutOfMemoryError",
    "read_only": "ReadOnlyError|read-only replica",
    "locked": "AuthenticationError",
    "crowded": "no connection|max number of clients",
}


# Redis has 0.25 s to answer (REDIS_TIMEOUT_SECONDS).
CALL_LIMIT_SECONDS = 0.25


async def is_left_alone(site: Site, load: Load) -> bool:
    """No call ended for longer than one may be under way, so that none is."""
    calls, began = await site.calls_of_redis(), time.perf_counter()
    while time.perf_counter() - began < 3 * CALL_LIMIT_SECONDS:
        await load.for_a_while(10)
    return await site.calls_of_redis() == calls


async def tell_why(people: People, reason: str) -> bool:
    """The flag is down, and each process names the fault, for health and the console."""
    async with people.database.read() as db:
        told = (await db.scalars(select(Process.redis_fault))).all()
    flag = await people.flag()
    return flag.mode == "sql" and bool(flag.reason) and all(re.search(reason, each) for each in told)


@across("fault", FAULTS)
async def test_nobody_notices(site: Site, people: People, fault: Fault, tell: Tell) -> None:
    async with Load(people) as load:
        calm = await load.for_a_while(50)
        with fault(site):
            began = time.perf_counter()
            down = await site.wait_for_sql()
            await until(lambda: is_left_alone(site, load), within=FLIP_SECONDS)
            settled, calls = time.perf_counter(), await site.calls_of_redis()
            await until(lambda: tell_why(people, REASONS[fault.__name__]), within=FLIP_SECONDS)
            await load.for_a_while(50)
            late_calls = await site.calls_of_redis() - calls
            ended = time.perf_counter()
        up = await site.wait_for_redis()
        await load.for_a_while(10)
    base, slowest = p99(load.times(calm, began)), load.times(began, ended)[-1]
    tell("p99 before", milliseconds(base))
    tell("slowest while Redis is given up", milliseconds(load.times(began, settled)[-1]))
    tell("p99 afterwards", milliseconds(p99(load.times(settled, ended))))
    tell("the machine's own part", milliseconds(load.noise(began, ended)))
    tell("flag down, up", f"{down:.1f} s, {up:.1f} s")
    assert load.errors == []
    assert load.wrong == []
    # Where nobody asks Redis any more, nobody waits for it: that is the p99 of the table on any machine.
    assert late_calls == 0
    assert slowest <= FIRST_HIT + 2 * (base + load.noise(began, ended))
    assert slowest <= NO_REQUEST_OVER
    assert PASSWORD_OF_REDIS not in site.output()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_who_only_reads_soon_stops_asking(database_url: str, start_redis: StartRedis, tell: Tell) -> None:
    """Nobody writes and no probe looks, so the flag stays up: the breaker alone keeps requests from waiting for a silent Redis."""
    site = Site(database_url, start_redis(), webs=1, worker=False, settings={"SESSION_BACKEND_POLL_SECONDS": "1"})
    try:
        await asyncio.to_thread(site.start)
        async with People.of(site) as people:
            browser = await people.browser(on=people.deals[0])
            assert await browser.current() == people.deals[0].id
            calls = await site.calls_of_redis()
            site.proxies[0].silent = True
            for _ in range(40):
                assert await browser.current() == people.deals[0].id
            times = [answer.took for answer in browser.answers[-40:]]
            paid = await site.calls_of_redis() - calls
            tell("first hit, then", f"{milliseconds(times[0])}, {milliseconds(p99(times[-20:]))}; {paid:.0f} paid")
            assert (await people.flag()).mode == "redis"
            assert paid <= PAYERS
            assert await site.figures("breaker_opened") == {"silent": 1}
            assert max(times) <= FIRST_HIT
            site.proxies[0].silent = False
            await site.wait_for_redis()
    finally:
        site.remove()
