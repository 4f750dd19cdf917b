"""The consumer groups on a real Redis: claiming, poison, requeueing, trimming, a stream that is gone, and no stream at all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, insert, select

from app.core.clock import Clock
from app.core.config import load_settings
from app.core.database import Database
from app.core.errors import StoreUnavailable
from app.core.redis import RedisClient
from app.core.redis_keys import RedisKeys
from app.events.effects import EFFECTS, TRIES, catch_up, retry_requeued
from app.events.groups import Consumer, StreamTimeouts, trim
from app.events.relay import relay_once
from app.events.rollup import roll_up
from app.events.statistics import read_figures
from app.events.streams import DEAD_STREAM as DEAD_KEY
from app.events.streams import STREAM as KEY
from app.events.streams import StreamState, list_dead_letters, read_stream_state, requeue_dead_letters
from app.models import DeadLetter, Event, EventEffect, Outbox, UserNotice
from app.resources import open_resources
from tests.conftest import StartRedis
from tests.factories import make_organisation, make_user
from tests.waiting import until
from worker.event_loops import Upkeep

CLOCK = Clock()
STREAM, DEAD_STREAM = RedisKeys().name(KEY), RedisKeys().name(DEAD_KEY)
TIMEOUTS = StreamTimeouts(block=timedelta(milliseconds=10), claim_after=timedelta(milliseconds=20))
POISON: dict[str, Any] = {"kind": "deal.restored", "payload": {"source": "restored", "ms": "soon"}}
MakeConsumer = Callable[..., Consumer]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = RedisClient(redis_url, name="test", timeout=timedelta(seconds=2))
    yield client
    await client.close()


@pytest.fixture
async def commands(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as commands:
        yield commands


@pytest.fixture
def consumer(database: Database, redis: RedisClient) -> MakeConsumer:
    def make(group: str = "analytics", name: str = "one", **timeouts: timedelta) -> Consumer:
        chosen = StreamTimeouts(**timeouts) if timeouts else TIMEOUTS
        return Consumer(database, CLOCK, redis, group=group, name=name, lost=asyncio.Event(), timeouts=chosen)

    return make


async def happen(database: Database, number: int = 1, **values: Any) -> list[int]:
    row = {"kind": "deal.selected", "at": datetime.now(UTC), "organisation_id": 1, "payload": {}} | values
    async with database.write() as db:
        return list(await db.scalars(insert(Event).returning(Event.id), [row] * number))


async def drain(*consumers: Consumer) -> None:
    for each in consumers:
        while await each.step():
            pass


async def state(database: Database, redis: RedisClient | None) -> StreamState:
    return await read_stream_state(database, redis, now=CLOCK.now())


async def selected(database: Database) -> int:
    async with database.read() as db:
        return (await read_figures(db, "24h", now=CLOCK.now())).of("selected")


async def count(database: Database, table: Any) -> int:
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(table)) or 0


async def test_an_event_goes_from_the_outbox_through_the_stream_into_the_figures(
    database: Database, redis: RedisClient, consumer: MakeConsumer, commands: Redis
) -> None:
    await happen(database, 3)
    assert (await state(database, redis)).outbox_backlog == 3
    assert (await relay_once(database, redis), await relay_once(database, redis)) == (3, 0)
    analytics, notify = consumer(), consumer("notify")
    await drain(analytics)
    told = await state(database, redis)
    assert (told.redis, told.length, told.outbox_backlog) == ("ok", 3, 0)
    assert [(group.name, group.behind, group.lag, group.pending) for group in told.groups] == [("analytics", 0, 0, 0), ("notify", 3, 0, 0)]
    assert analytics.lost.is_set(), "a group that was not there may have lost something"
    assert await trim(redis) == 0, "the other group has not read it"
    await drain(notify)
    assert await trim(redis) == 2, "all but the last one handed out"
    for entry in await commands.xrange(STREAM):  # whatever is delivered again has no effect
        await commands.xadd(STREAM, entry[1])
    await drain(analytics, notify)
    assert await selected(database) == 3
    for group in EFFECTS:
        assert await catch_up(database, CLOCK, group) == 0
    assert await count(database, EventEffect) == 0
    await commands.xadd(STREAM, {"event": "1"})
    await drain(analytics)
    assert await selected(database) == 3, "below the mark, where no row tells any more"


async def test_a_dead_consumers_entries_are_claimed(
    database: Database, redis: RedisClient, consumer: MakeConsumer, commands: Redis
) -> None:
    await happen(database, 5)
    await relay_once(database, redis)
    survivor = consumer(name="survivor")
    await survivor.step()  # makes the group
    await commands.xreadgroup("analytics", "dead", {STREAM: ">"})
    told = (await state(database, redis)).groups[0]
    assert (told.pending, told.consumers) == (5, 1)
    assert told.oldest_pending is not None
    assert await trim(redis) == 0, "what is pending is needed"

    async def done() -> bool:
        await survivor.step()
        return await selected(database) == 5

    await until(done)
    assert (await state(database, redis)).groups[0].pending == 0
    await drain(consumer("notify"))
    await trim(redis, timeouts=StreamTimeouts(forget_after=timedelta(0)))
    assert [each["name"] for each in await commands.xinfo_consumers(STREAM, "analytics")] != ["dead", "survivor"]


async def test_poison_is_put_aside_after_its_tries_and_can_be_tried_again(
    database: Database, redis: RedisClient, consumer: MakeConsumer, commands: Redis
) -> None:
    [poison] = await happen(database, **POISON)
    await happen(database, 2)
    await relay_once(database, redis)
    await commands.xadd(STREAM, {"something": "else"})
    group = consumer()
    deliveries = 0

    async def is_dead() -> bool:
        nonlocal deliveries
        deliveries += await group.step()
        return await count(database, DeadLetter) == 2

    await until(is_dead, within=20)
    assert deliveries > TRIES
    assert await selected(database) == 2, "what came with it had its effect"
    async with database.read() as db:
        garbage, letter = await list_dead_letters(db)
    if garbage.event_id is not None:
        garbage, letter = letter, garbage
    assert (letter.event_id, letter.deliveries, letter.error[:10]) == (poison, TRIES, "ValueError")
    assert (garbage.event_id, garbage.content) == (None, {"fields": {"something": "else"}})
    assert await commands.xlen(DEAD_STREAM) == 2
    assert (await state(database, redis)).groups[0].dead_letters == 2
    assert await catch_up(database, CLOCK, "analytics") == 0, "nor does SQL try again"

    async with database.write() as db:
        assert await requeue_dead_letters(db, [letter.id, garbage.id], by="operator", actor_id=None, now=CLOCK.now()) == 1
    assert await retry_requeued(database, CLOCK) == 0, "it still cannot"
    async with database.write() as db:
        again = await db.get_one(DeadLetter, letter.id)
        assert (again.requeued_at, again.resolved_at, again.deliveries) == (None, None, TRIES + 1)
        await requeue_dead_letters(db, group="analytics", by="operator", actor_id=None, now=CLOCK.now())
        again.consumer_group = "notify"  # where it can
    assert await retry_requeued(database, CLOCK) == 1
    assert await retry_requeued(database, CLOCK) == 0
    async with database.read() as db:
        assert [each.id for each in await list_dead_letters(db)] == [garbage.id]
        assert [each.id for each in await list_dead_letters(db, resolved=True)] == [letter.id]
        assert await db.scalar(select(func.count()).where(Event.kind == "dead_letter.requeued")) == 2


async def test_what_an_emptied_stream_held_comes_from_sql(
    database: Database, redis: RedisClient, consumer: MakeConsumer, commands: Redis
) -> None:
    await happen(database, 4)
    analytics = consumer()
    await drain(analytics)
    analytics.lost.clear()
    await relay_once(database, redis)
    await commands.flushdb()  # as a Redis that comes back empty: outbox rows are gone, and so is the stream
    await happen(database, 1)
    await relay_once(database, redis)
    await drain(analytics)
    assert analytics.lost.is_set()
    assert await selected(database) == 1
    assert await catch_up(database, CLOCK, "analytics", older_than=timedelta(hours=1)) == 0, "it may be on its way"
    assert await catch_up(database, CLOCK, "analytics") == 4
    assert await selected(database) == 5


@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
async def test_without_redis_everything_comes_from_sql(database: Database, environ: dict[str, str]) -> None:
    organisation = await make_organisation(database)
    person = await make_user(database, organisation)
    await happen(database, kind="member.granted", user_id=person.id, payload={"role": "viewer"})
    [poison] = await happen(database, **POISON)
    await happen(database, 250)
    async with open_resources(load_settings(environ), kind="worker") as resources:
        upkeep = Upkeep(resources, None)
        for _ in range(TRIES):
            await upkeep.step()
        assert (await roll_up(resources)).applied == {"analytics": 0, "notify": 0}
        await upkeep.step()
    assert await selected(database) == 250
    assert [await count(database, table) for table in (UserNotice, Outbox, EventEffect)] == [1, 0, 0]
    async with database.read() as db:
        assert [(each.consumer_group, each.event_id) for each in await list_dead_letters(db)] == [("analytics", poison)]
    told = await state(database, None)
    assert (told.redis, told.length, [group.behind for group in told.groups]) == ("not used", None, [0, 0])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_state_is_told_while_redis_is_dead(database: Database, start_redis: StartRedis) -> None:
    server = start_redis()
    client = RedisClient(server.url, name="test", timeout=timedelta(seconds=1))
    server.kill()
    await happen(database, 2)
    told = await state(database, client)
    assert (told.redis, told.length, told.outbox_backlog) == ("Redis does not serve: no connection.", None, 2)
    with pytest.raises(StoreUnavailable):
        await relay_once(database, client)
    assert (await state(database, None)).outbox_backlog == 2
    await client.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_figures_count_refusals_as_failures(database: Database) -> None:
    now = datetime(2026, 3, 1, 12, 34, tzinfo=UTC)
    for minutes, kind, payload in (
        (2, "deal.restored", {"source": "restored", "ms": 4}),
        (3, "deal.restored", {"source": "only_deal", "ms": 8}),
        (70, "deal.restored", {"source": "restored", "ms": 2000}),
        (4, "deal.restore_refused", {"reason": "refused_deleted"}),
        (60 * 25, "deal.selected", {}),
    ):
        await happen(database, kind=kind, payload=payload, at=now - timedelta(minutes=minutes))
    await happen(database, organisation_id=2, at=now)
    await catch_up(database, CLOCK, "analytics")
    async with database.read() as db:
        hour, day, week = [await read_figures(db, window, now=now) for window in ("1h", "24h", "7d")]
        own = await read_figures(db, "24h", now=now, organisation_id=2)
    assert (hour.restore_rate, day.restore_rate) == (2 / 3, 3 / 4)
    assert (hour.restore_times.measured, hour.restore_times.mean_ms, hour.restore_times.p50_ms, hour.restore_times.p99_ms) == (2, 6, 5, 10)
    assert (day.restore_times.p99_ms, day.restore_times.histogram[-1]) == (None, (None, 1))
    assert (day.of("selected"), week.of("selected"), own.of("selected"), own.restore_rate) == (1, 2, 1, None)
    assert [len(each.periods) for each in (hour, day, week)] == [13, 25, 169]
    assert hour.periods[0].start == datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
    assert [period.of("restored") for period in day.periods[-2:]] == [1, 1]
