"""Sentinel: a new master is found by itself, and one of the sentinels may be silent."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from app.core.redis import RedisClient, check_redis_health
from tests.conftest import StartRedis
from tests.resilience.conftest import PAIRS, Tell
from tests.resilience.past import Past, follow, info
from tests.resilience.site import LENIENCE, Load, People, Site
from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory, wait_until
from tests.servers.redis import RedisServer, binary, say
from tests.waiting import until


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", sorted(set(PAIRS.values())))
async def test_sentinel_fails_over(database_url: str, start_redis: StartRedis, kind: str, tell: Tell) -> None:
    """Web, probe and arq find the new master by themselves; what it did not get of the old one is not believed."""
    master, replica = start_redis(kind), start_redis(kind)
    follow(replica, master)
    with sentinel_of(master) as sentinel:
        site = Site(database_url, master, webs=1, settings={"REDIS_URL": f"redis+sentinel://127.0.0.1:{sentinel}/holdfast/0"})
        try:
            await asyncio.to_thread(site.start)
            async with People.of(site) as people:
                past = await Past(people).begin()
                await past.change()
                async with Load(people) as load:
                    began = time.perf_counter()
                    master.kill()
                    await site.wait_for_sql()
                    await past.check()
                    await until(lambda: info(replica, "role") == "master", within=30)
                    await site.wait_for_redis()
                    tell("back on the new master after", f"{time.perf_counter() - began:.1f} s")
                    await past.check()
                assert (load.errors, load.wrong) == ([], [])
        finally:
            site.remove()


async def test_one_of_the_sentinels_is_silent_and_many_call_at_once(start_redis: StartRedis) -> None:
    """As after the host of a master and its sentinel died; and a burst is no outage, with sentinels as without."""
    master, replica = start_redis(), start_redis()
    follow(replica, master)
    with sentinel_of(master) as sentinel, socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis+sentinel://127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{sentinel}/holdfast/0"
        client = RedisClient(url, name="holdfast-test", timeout=timedelta(seconds=0.25 * LENIENCE), max_connections=4)

        async def wait_for_nothing() -> None:
            async with client.deadline() as commands:
                await commands.execute_command("BLPOP", "nothing", 0.05)  # type: ignore[no-untyped-call]

        try:
            assert (await check_redis_health(client, limit=client.timeout)).role == "master"
            await asyncio.gather(*(wait_for_nothing() for _ in range(8)))
        finally:
            await client.close()


@contextmanager
def sentinel_of(master: RedisServer) -> Iterator[int]:
    directory, port = held_directory("sentinel"), free_port()
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor holdfast 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds holdfast 500\nsentinel failover-timeout holdfast 5000\n"
    )
    process = ServerProcess([binary(master.kind), configuration, "--sentinel"], port=port, log=directory / "log", cwd=directory)
    process.start()
    try:
        process.wait_for_port()
        wait_until(
            lambda: "num-slaves\r\n$1\r\n1" in say(port, "SENTINEL MASTER holdfast"), within=20, what="a sentinel that knows the replica"
        )
        yield port
    finally:
        process.kill()
        remove_directory(directory)
