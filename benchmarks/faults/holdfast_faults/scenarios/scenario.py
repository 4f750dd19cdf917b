"""What a scenario is, and what all of them do: sign in, and look on."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..cells import OLD, Cell
from ..site import Need, Site
from ..visitor import Answer, Visitor


@dataclass(frozen=True)
class Pace:
    """How often, and how long. `late_seconds` is below the time that clients usually wait for Redis."""

    trials: int = 100
    poll_seconds: float = 0.1
    look_on_seconds: float = 2
    return_limit_seconds: float = 30
    pause_seconds: float = 2
    late_seconds: float = 0.1


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    does: str
    judges: str
    matters: str
    needs: frozenset[Need]
    play: Callable[[Site, Pace], Awaitable[list[Cell]]]
    # What is about the order of requests is run with nothing beside it.
    alone: bool = False


class NotReady(Exception):
    """The site does not work before anything is done to it."""


async def signed_in(site: Site, name: str) -> Visitor:
    """Warm on every server: what it wrote was read back, and asked once more, as some layers read a second time only from a cache."""
    visitor = site.visitor()
    answers = [await visitor.login(name), await visitor.set(OLD)]
    reads = [await visitor.get(server=server) for server in (*range(len(site.servers)), *range(len(site.servers)))]
    if not all(answer.served for answer in answers) or not all(read.served and read.value == OLD for read in reads):
        raise NotReady(f"does not work before any fault: login {answers[0].status}, set {answers[1].status}, {reads}")
    return visitor


async def everywhere(site: Site, visitor: Visitor) -> list[Answer]:
    """`whoami` with these cookies on each server; each time with a copy, so that what an answer says does not change what is held."""
    return [await visitor.thief().whoami(server=server) for server in range(len(site.servers))]


async def read_everywhere(site: Site, visitor: Visitor, *, key: str = "a") -> list[Answer]:
    return [await visitor.tab().get(key=key, server=server) for server in range(len(site.servers))]


async def reads_redis(site: Site, visitor: Visitor) -> bool:
    """Whether every server asks Redis for the session: more keys are read than a probe reads in so short a time."""
    for server in range(len(site.servers)):
        before = await site.redis.keys_read()
        for _ in range(4):
            await visitor.thief().whoami(server=server)
        if await site.redis.keys_read() - before < 4:
            return False
    return True


async def find_witness(site: Site, visitor: Visitor) -> Visitor | None:
    """Cookies that no fault takes away, if the layer asks Redis for their session."""
    return visitor.thief() if await reads_redis(site, visitor) else None


@dataclass(frozen=True)
class Seen:
    values: list[Answer]
    replays: list[Answer]
    back_after: float | None


async def look_on(site: Site, pace: Pace, *, reader: Visitor, gone: list[Visitor], witness: Visitor | None) -> Seen:
    """What is seen from now until Redis is asked for the session of `witness` again, and a while longer, and after how long that was."""
    began = time.monotonic()
    back_after = None if witness else 0.0
    values: list[Answer] = []
    replays: list[Answer] = []
    while time.monotonic() - began < (pace.return_limit_seconds if back_after is None else back_after + pace.look_on_seconds):
        values += await read_everywhere(site, reader)
        for visitor in gone:
            replays += await everywhere(site, visitor)
        if witness and back_after is None and await reads_redis(site, witness):
            back_after = time.monotonic() - began
        await asyncio.sleep(pace.poll_seconds)
    return Seen(values, replays, back_after)
