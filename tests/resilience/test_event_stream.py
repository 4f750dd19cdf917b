"""Every event has its effect exactly once, however often relay and consumers are killed and whatever becomes of Redis."""

import asyncio
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import func, insert, select

from app.core.clock import Clock
from app.core.database import Database
from app.core.errors import DatabaseUnavailable
from app.core.redis_keys import RedisKeys
from app.events.audit import verify
from app.events.effects import EFFECTS
from app.events.measures import FIVE_MINUTES, HOUR, measures_of, period_of
from app.events.streams import STREAM, read_stream_state
from app.models import Analytics, DeadLetter, Event, EventEffect, Outbox, UserNotice
from app.models.event_stream import ALL_ORGANISATIONS
from tests.conftest import StartRedis
from tests.factories import make_organisation, make_user
from tests.resilience.matrix import IS_FULL
from tests.servers.process import ServerProcess, held_directory, remove_directory
from tests.servers.redis import PRIVATE_KINDS, RedisServer
from tests.servers.web import ROOT
from tests.waiting import until

KILLS = int(os.environ.get("EVENT_KILLS", "100"))
EVENTS = 6 * KILLS
SEED = int(os.environ.get("EVENT_SEED", "7"))
# Valkey with one database, a real Redis with the other, as elsewhere.
PAIRS = {"sqlite": "valkey", "postgresql": PRIVATE_KINDS[-1]}


class Lives(ServerProcess):
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.directory = held_directory("lives")
        command = [sys.executable, "-m", "tests.resilience.event_lives", str(KILLS), str(SEED)]
        super().__init__(command, port=0, log=self.directory / "log", cwd=ROOT, env={**os.environ, **environ})

    def are_through(self) -> bool:
        self.check_alive()
        return f"killed {KILLS}" in self.output()


@pytest.fixture
def redis(database: Database, start_redis: StartRedis) -> RedisServer:
    return start_redis(PAIRS[database.dialect])


@pytest.fixture
def lives(environ: dict[str, str], redis: RedisServer) -> Iterator[Lives]:
    lives = Lives(environ | {"REDIS_URL": redis.url, "LOG_LEVEL": "warning"})
    lives.start()
    yield lives
    lives.kill()
    remove_directory(lives.directory)


# Half a minute on each.
@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"] if IS_FULL else ["postgresql"], indirect=True)
async def test_a_hundred_kills_and_an_empty_redis_lose_and_repeat_nothing(database: Database, lives: Lives, redis: RedisServer) -> None:
    organisation = await make_organisation(database)
    people = [(await make_user(database, organisation)).id for _ in range(4)]
    rng = random.Random(SEED)
    poison = EVENTS // 3
    for number in range(EVENTS):
        values: dict[str, Any] = something_happens(rng, people, organisation.id)
        if number == poison:
            values |= {"kind": "deal.restored", "payload": {"source": "restored", "ms": "soon"}}
        await write(database, values)
        if number == EVENTS // 2:
            redis.kill()
        elif number == EVENTS // 2 + 20:
            redis.restart()
    await until(lives.are_through, within=90)
    async with Redis.from_url(redis.url) as client:
        await client.xadd(RedisKeys().name(STREAM), {"event": "no number"})
    await until(lambda: everything_is_done(database), within=60)
    await until(lambda: holds_dead(database, 3), within=60)

    async with database.read() as db:
        events = list(await db.scalars(select(Event).order_by(Event.id)))
        assert len(events) == EVENTS
        dead = list(await db.scalars(select(DeadLetter)))
        notices = list(await db.scalars(select(UserNotice).order_by(UserNotice.user_id, UserNotice.sequence)))
        rows = await db.execute(
            select(Analytics.resolution, Analytics.start, Analytics.organisation_id, Analytics.measure, Analytics.count)
        )
        counted = Counter({row[:4]: row.count for row in rows})
        assert await db.scalar(select(func.count()).select_from(EventEffect)) == 0, "what is below the marks is deleted"
    [poisoned] = [letter for letter in dead if letter.event_id is not None]
    assert (poisoned.consumer_group, poisoned.event_id) == ("analytics", events[poison].id)
    assert sorted(letter.consumer_group for letter in dead if letter.event_id is None) == sorted(EFFECTS)
    expected: Counter[tuple[Any, ...]] = Counter()
    for event in events:
        if event.id != poisoned.event_id:
            for measure in measures_of(event):
                expected[HOUR, period_of(event.at, HOUR), organisation.id, measure.name] += 1
                expected[HOUR, period_of(event.at, HOUR), ALL_ORGANISATIONS, measure.name] += 1
                expected[FIVE_MINUTES, period_of(event.at, FIVE_MINUTES), ALL_ORGANISATIONS, measure.name] += 1
    assert counted == expected
    told = [event for event in events if event.kind == "member.granted" and event.user_id != event.actor_id]
    assert sorted(notice.event_id for notice in notices) == [event.id for event in told]
    for person in people:
        mine = [notice.sequence for notice in notices if notice.user_id == person]
        assert mine == list(range(1, len(mine) + 1))
    by_the_stream = sum(map(int, re.findall(r"from the stream: (\d+)", lives.output())))
    assert by_the_stream > 0, "how much depends on the machine; SQL makes up for what the stream lost"
    verdict = await verify(database, Clock())
    assert (verdict.events, verdict.faults) == (EVENTS, [])
    state = await read_stream_state(database, None, now=Clock().now())
    assert state.dead_letters == 3


def something_happens(rng: random.Random, people: list[int], organisation_id: int) -> dict[str, Any]:
    actor, user = rng.choice(people), rng.choice(people)
    kind, payload = rng.choice(
        [
            ("deal.selected", {}),
            ("deal.restored", {"source": "restored", "ms": rng.uniform(0.5, 30)}),
            ("deal.restore_refused", {"reason": "refused_revoked"}),
            ("member.granted", {"role": "viewer"}),
            ("login.succeeded", {}),
        ]
    )
    return {
        "kind": kind,
        "at": datetime.now(UTC),
        "organisation_id": organisation_id,
        "actor_id": actor,
        "user_id": user,
        "deal_id": 1,
        "payload": payload,
    }


async def write(database: Database, values: dict[str, Any]) -> None:
    """As often as it takes: on SQLite five processes and we want to write at once."""
    while True:
        with suppress(DatabaseUnavailable):
            async with database.write() as db:
                await db.execute(insert(Event).values(values))
            return


async def everything_is_done(database: Database) -> bool:
    await asyncio.sleep(0.1)
    async with database.read() as db:
        waiting = await db.scalar(select(func.count()).select_from(Outbox))
    state = await read_stream_state(database, None, now=Clock().now())
    return not waiting and all(group.behind == 0 for group in state.groups)


async def holds_dead(database: Database, number: int) -> bool:
    await asyncio.sleep(0.1)
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(DeadLetter)) == number
