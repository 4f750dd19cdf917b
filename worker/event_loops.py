"""The worker's event loops: sealing, the relay to the stream, one consumer per group, and maintenance. Each survives any outage."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import Any

import structlog

from app.core.errors import StoreUnavailable, Unavailable
from app.core.redis import RedisClient
from app.events.audit import seal
from app.events.effects import EFFECTS, catch_up, retry_requeued
from app.events.groups import Consumer, trim
from app.events.relay import BATCH, empty_without_redis, relay_once
from app.resources import Resources

log = structlog.get_logger()

# Returns whether there is more to do at once.
Step = Callable[[], Awaitable[Any]]

# Longer than a consumer blocks for entries. No request waits for this client.
REDIS_TIMEOUT = timedelta(seconds=2)
RELAY_PAUSE = timedelta(seconds=0.5)
SEAL_PAUSE = timedelta(seconds=1)
UPKEEP_PAUSE = timedelta(seconds=5)
MAX_PAUSE = timedelta(seconds=5)
# For so long an event is left to the stream before its effect is applied from SQL.
GRACE = timedelta(seconds=30)


async def run_events(resources: Resources) -> None:
    """Run until cancelled. No failure of Redis or SQL ends it."""
    redis = None
    if resources.settings.redis_url:
        redis = RedisClient(resources.settings.redis_url, name="holdfast-worker-events", timeout=REDIS_TIMEOUT, keys=resources.keys)
    try:
        async with asyncio.TaskGroup() as loops:
            for loop in _loops(resources, redis):
                loops.create_task(loop)
    finally:
        if redis:
            await redis.close()


def _loops(resources: Resources, redis: RedisClient | None) -> Iterator[Coroutine[Any, Any, None]]:
    upkeep = Upkeep(resources, redis)
    yield run_forever("seal", partial(_seal, resources), SEAL_PAUSE)
    yield run_forever("event upkeep", upkeep.step, UPKEEP_PAUSE if redis else SEAL_PAUSE)
    if redis:
        yield run_forever("relay", upkeep.relay, RELAY_PAUSE)
        name = f"{resources.backend.fleet.process_id}:{token_hex(3)}"
        for group in EFFECTS:
            consumer = Consumer(resources.database, resources.clock, redis, group=group, name=name, lost=upkeep.lost)
            yield run_forever(f"consumer {group}", consumer.step, timedelta(0))


async def _seal(resources: Resources) -> bool:
    await seal(resources.database, resources.clock)
    return False  # it sealed everything; on SQLite others want to write too


async def run_forever(name: str, step: Step, pause: timedelta) -> None:
    """Repeat a step until cancelled; log an outage when it begins and when it ends."""
    failing, wait = False, pause
    while True:
        more = False
        try:
            more = bool(await step())
            if failing:
                log.info("Event loop resumed.", loop=name)
            failing, wait = False, pause
        except Unavailable as outage:
            if not failing:
                log.warning("Event loop paused by an outage; events wait in SQL.", loop=name, fault=outage.detail)
            failing, wait = True, min(max(2 * wait, RELAY_PAUSE), MAX_PAUSE)
        except Exception:  # a bug in one step must not stop the others, nor the next one
            log.exception("Event loop iteration failed; trying again.", loop=name)
            failing, wait = True, MAX_PAUSE
        await asyncio.sleep(0 if more else wait.total_seconds())


class Upkeep:
    """The relay and what the stream misses. Whether the relay works decides how long events are left to the stream."""

    def __init__(self, resources: Resources, redis: RedisClient | None, *, grace: timedelta = GRACE) -> None:
        self.resources = resources
        self.redis = redis
        self.grace = grace
        # At a start it is unknown what happened to the stream meanwhile.
        self.lost = asyncio.Event()
        self.lost.set()
        self._relay_fails = False
        self._failures: dict[str, Counter[int]] = {group: Counter() for group in EFFECTS}

    async def relay(self) -> bool:
        """True after a full batch; otherwise the next events wait for a moment and go together."""
        assert self.redis
        try:
            sent = await relay_once(self.resources.database, self.redis)
        except StoreUnavailable:
            self._relay_fails = True
            raise
        self._relay_fails = False
        return sent == BATCH

    async def step(self) -> bool:
        """Apply effects that the stream will not deliver, retry requeued dead letters, and trim the stream."""
        alone = self.redis is None or self._relay_fails or self.lost.is_set()
        self.lost.clear()
        database, clock = self.resources.database, self.resources.clock
        try:
            for group, failures in self._failures.items():
                await catch_up(database, clock, group, older_than=timedelta(0) if alone else self.grace, failures=failures)
        except BaseException:
            self.lost.set()
            raise
        await retry_requeued(database, clock)
        if self.redis is None:
            await empty_without_redis(database)
        elif not self._relay_fails:
            await trim(self.redis)
        return self.lost.is_set()
