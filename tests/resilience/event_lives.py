"""Relay, consumers, upkeep and sealer, each a process that is killed at random and born again.

`python -m tests.resilience.event_lives KILLS SEED` takes its settings from the environment, says "killed KILLS" when it is
through, and then lets everything live until it is ended itself. Lives are forked, so that one costs milliseconds.
"""

import asyncio
import os
import random
import signal
import sys
import time
from datetime import timedelta
from functools import partial

from app.core.config import load_settings
from app.core.logging import configure_logging
from app.core.parent import end_with_parent
from app.core.redis import RedisClient
from app.events.audit import seal
from app.events.effects import EFFECTS
from app.events.groups import Consumer, StreamTimeouts
from app.resources import make_resources
from worker.event_loops import Upkeep, run_forever

ROLES = ("relay", "upkeep", "seal", *EFFECTS)
PACE = StreamTimeouts(block=timedelta(seconds=0.05), claim_after=timedelta(seconds=0.3))
QUICK = timedelta(seconds=0.02)
MAX_LIFE = 0.12


async def live(role: str) -> None:
    settings = load_settings()
    resources = make_resources(settings, kind="worker")
    assert settings.redis_url
    redis = RedisClient(settings.redis_url, name=role, timeout=timedelta(seconds=1))
    upkeep = Upkeep(resources, redis, grace=timedelta(seconds=1))
    # As in a worker that has been up for a while; else each birth would leave nothing for the stream to do.
    upkeep.lost.clear()
    if role == "relay":
        await run_forever(role, upkeep.relay, QUICK)
    elif role == "upkeep":
        await run_forever(role, upkeep.step, QUICK)
    elif role == "seal":
        await run_forever(role, lambda: seal(resources.database, resources.clock), QUICK)
    else:
        consumer = Consumer(
            resources.database, resources.clock, redis, group=role, name=f"{role}-{os.getpid()}", lost=asyncio.Event(), timeouts=PACE
        )
        await run_forever(role, partial(step_and_tell, consumer), timedelta(0))


async def step_and_tell(consumer: Consumer) -> bool:
    """For the test to know that the stream does its part, and not SQL all of it."""
    before = consumer.applied
    more = await consumer.step()
    if consumer.applied > before:
        print(f"from the stream: {consumer.applied - before}", flush=True)  # noqa: T201
    return more


def bear(role: str) -> int:
    parent = os.getpid()
    if child := os.fork():
        return child
    end_with_parent(parent)
    asyncio.run(live(role))
    os._exit(1)


def main(kills: int, seed: int) -> None:
    configure_logging(load_settings())
    rng = random.Random(seed)
    lives = {role: bear(role) for role in ROLES}
    for _ in range(kills):
        time.sleep(rng.uniform(0, MAX_LIFE))
        role = rng.choice(ROLES)
        os.kill(lives[role], signal.SIGKILL)
        _, status = os.waitpid(lives[role], 0)
        assert os.WIFSIGNALED(status), f"{role} ended by itself"
        lives[role] = bear(role)
    print(f"killed {kills}", flush=True)  # noqa: T201
    signal.pause()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
