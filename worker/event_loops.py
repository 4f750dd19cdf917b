"""What runs in the worker beside the jobs: sealing, the relay to the stream, one consumer per group, and the upkeep."""

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

# Whether there is more to do at once.
Step = Callable[[], Awaitable[Any]]

# Longer than a consumer waits for entries. No request ever waits for this client.
REDIS_TIMEOUT = timedelta(seconds=2)
RELAY_PAUSE = timedelta(seconds=0.5)
SEAL_PAUSE = timedelta(seconds=1)
UPKEEP_PAUSE = timedelta(seconds=5)
MAX_PAUSE = timedelta(seconds=5)
# What may be on its way through the stream is left to it for so long.
GRACE = timedelta(seconds=30)


async def run_events(resources: Resources) -> None:
    """Until cancelled. Nothing that Redis or SQL does ends it."""
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
    return False  # it went on until nothing was left; on SQLite others want to write too


async def run_forever(name: str, step: Step, pause: timedelta) -> None:
    """One step after the other, for ever; an outage is told when it begins and when it is over."""
    failing, wait = False, pause
    while True:
        more = False
        try:
            more = bool(await step())
            if failing:
                log.info("It goes on.", loop=name)
            failing, wait = False, pause
        except Unavailable as outage:
            if not failing:
                log.warning("Events wait until this is over.", loop=name, fault=outage.detail)
            failing, wait = True, min(max(2 * wait, RELAY_PAUSE), MAX_PAUSE)
        except Exception:  # a bug in one step must not stop the others, nor the next one
            log.exception("Event loop iteration failed; trying again.", loop=name)
            failing, wait = True, MAX_PAUSE
        await asyncio.sleep(0 if more else wait.total_seconds())


class Upkeep:
    """Relay and the look after it: who knows whether the stream works knows how long to leave events to it."""

    def __init__(self, resources: Resources, redis: RedisClient | None, *, grace: timedelta = GRACE) -> None:
        self.resources = resources
        self.redis = redis
        self.grace = grace
        # At a start nobody knows what became of the stream meanwhile.
        self.lost = asyncio.Event()
        self.lost.set()
        self._relay_fails = False
        self._failures: dict[str, Counter[int]] = {group: Counter() for group in EFFECTS}

    async def relay(self) -> bool:
        """Unless there was a full batch, what comes next waits a moment and goes together."""
        assert self.redis
        try:
            sent = await relay_once(self.resources.database, self.redis)
        except StoreUnavailable:
            self._relay_fails = True
            raise
        self._relay_fails = False
        return sent == BATCH

    async def step(self) -> bool:
        """Effects the stream will not bring, what operators asked for, and old entries."""
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
