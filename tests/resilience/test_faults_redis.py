"""Redis broken in every way there is: nobody notices, nothing is lost, health tells it, and it comes back by itself."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.resilience.conftest import Tell
from tests.resilience.site import LENIENCE, Load, People, Site, milliseconds, p99

PASSWORD_OF_REDIS = "not-to-be-seen-in-any-log"
# Seconds, of the fault table: what the first hit may cost, and what nothing may ever take.
FIRST_HIT = 0.4 * LENIENCE
NO_REQUEST_OVER = 3

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


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nobody_notices(site: Site, people: People, fault: Fault, tell: Tell) -> None:
    async with Load(people) as load:
        calm = await load.for_a_while(50)
        with fault(site):
            began = time.perf_counter()
            down = await site.wait_for_sql()
            settled, calls = await load.for_a_while(10), await site.calls_of_redis()
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
