"""Redis becomes another instance while it is in use: calls end well or as an outage, and each that fails is counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from app.core.errors import StoreUnavailable
from app.core.metrics import METRICS
from app.core.redis import Instance, RedisClient, check_redis_health
from tests.conftest import StartRedis
from tests.waiting import until

SWITCHES = 300
TIMEOUT = timedelta(seconds=2)


def faults() -> float:
    samples = [sample for metric in METRICS.redis_faults.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def test_hundreds_of_switches_under_load_fail_nobody_in_a_way_that_is_not_an_outage(start_redis: StartRedis) -> None:
    client = RedisClient(start_redis().url, name="holdfast-test", timeout=TIMEOUT, max_connections=8)
    here = await check_redis_health(client)
    elsewhere = replace(here, run_id="b" * 40)
    served, failed, before, is_over = 0, 0, faults(), False

    async def ask() -> None:
        nonlocal served, failed
        while not is_over:
            try:
                async with client.deadline() as commands:
                    pipeline = commands.pipeline(transaction=False)
                    pipeline.set("a", b"x" * 20_000)
                    pipeline.get("a")
                    await pipeline.execute()
                    await commands.mget("a", "b")
                served += 1
            except StoreUnavailable:
                failed += 1

    async with asyncio.TaskGroup() as load:
        for _ in range(16):
            load.create_task(ask())
        for turn in range(SWITCHES):
            enough = served + failed + 3
            await until(lambda enough=enough: served + failed >= enough)  # type: ignore[misc]
            client.bind(elsewhere if turn % 5 == 0 else replace(here) if turn % 2 else None)
        is_over = True
    assert served > SWITCHES
    assert failed > 0
    assert faults() - before == failed
    await client.close()
    assert not client._closing


async def test_after_a_switch_no_connection_made_before_it_is_used(start_redis: StartRedis) -> None:
    client = RedisClient(start_redis().url, name="holdfast-test", timeout=TIMEOUT)
    here = await check_redis_health(client)
    async with client.deadline() as commands:
        before = await commands.client_id()
        client.bind(replace(here, run_id="b" * 40))
        assert await commands.client_id() == before, "a call under way ends on the connection it has"
    with pytest.raises(StoreUnavailable, match="AnotherInstance"):
        async with client.deadline() as commands:
            await commands.client_id()
    client.bind(here)
    async with client.deadline() as commands:
        assert await commands.client_id() != before
        left = [each["id"] for each in await commands.client_list()]
    assert str(before) not in left
    await client.close()


@asynccontextmanager
async def rude_server(answer: bytes) -> AsyncIterator[str]:
    """Says OK to everything but INFO and GET."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            for asked in chunk.split(b"*")[1:]:
                writer.write(answer if b"INFO" in asked or b"GET" in asked else b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


async def get_by_pipeline(client: RedisClient) -> None:
    async with client.deadline() as commands:
        pipeline = commands.pipeline(transaction=False)
        pipeline.get("a")
        await pipeline.execute()


@pytest.mark.parametrize(
    "answer", [b":1\r\n", b"*1\r\n*-7\r\n", b"$1\r\n", b"$4\r\n\xff\xff\xff\xff\r\n", b"?\r\n", b"$-9\r\n", b":x\r\n", b"*1\r\n:1\r\n"]
)
async def test_whatever_a_server_answers_is_an_outage_and_counted(answer: bytes) -> None:
    async with rude_server(answer) as url:
        client = RedisClient(url, name="holdfast-test", timeout=timedelta(milliseconds=250))
        before = faults()
        with pytest.raises(StoreUnavailable):
            await check_redis_health(client)
        client.bind(Instance("a" * 40, "b" * 40))
        with pytest.raises(StoreUnavailable):
            await get_by_pipeline(client)
        assert faults() > before
        await client.close()


async def test_an_error_of_ours_is_not_taken_for_an_outage(start_redis: StartRedis) -> None:
    client = RedisClient(start_redis().url, name="holdfast-test", timeout=TIMEOUT)

    async def work() -> float:
        async with client.deadline() as commands:
            return 1 / len((await commands.mget("a"))[1:])

    with pytest.raises(ZeroDivisionError):
        await work()
    await client.close()
