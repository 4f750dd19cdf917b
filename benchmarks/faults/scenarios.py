"""What happens to a site, and what its visitors then see. Each scenario begins with a fresh site, a fresh Valkey and good sessions.

A scenario returns its cells: a heading, what happened in words, and whether that is bad: an error, a hang, or a promise broken.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.faults.sites import Site
from benchmarks.faults.visitor import HANG_SECONDS, Answer, Visitor
from tests.servers import redis

RACE_TRIALS = 100
# Sessions are read this often, from the moment Redis is back until it is in use again, and this much longer.
POLL_SECONDS = 0.1
LOOK_ON_SECONDS = 2
RETURN_LIMIT_SECONDS = 30
OLD, NEW = 0, 1


@dataclass(frozen=True)
class Cell:
    heading: str
    outcome: str
    bad: bool
    answers: list[Answer] = field(default_factory=list)


Fault = Callable[[redis.RedisServer], None]
Scenario = Callable[[Site], Awaitable[list[Cell]]]


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[redis.RedisServer]:
    # Nothing is saved unless a scenario says so, and what was saved is loaded at the next start.
    store = await asyncio.to_thread(redis.start, "valkey")
    try:
        await site.start(store.url)
        yield store
    finally:
        await asyncio.to_thread(site.stop)
        await asyncio.to_thread(store.remove)


async def signed_in(site: Site, name: str) -> Visitor:
    """Warm: what it wrote was read back."""
    visitor = site.visitor()
    answers = [await visitor.login(name), await visitor.write(OLD), await visitor.read()]
    if not all(answer.served for answer in answers) or answers[-1].value != OLD:
        raise RuntimeError(f"{site.name} does not work before any fault: {answers}")
    return visitor


def outage(fault: Fault, heal: Fault) -> Scenario:
    """Each call once while Redis is away, then Redis comes back with the data that it had."""

    async def scenario(site: Site) -> list[Cell]:
        async with running(site) as store:
            reader, writer, leaver = [await signed_in(site, name) for name in ("reader", "writer", "leaver")]
            slow_tab, thief, newcomer = writer.copy(), leaver.copy(), site.visitor()
            await asyncio.to_thread(store.say, "SAVE")
            await asyncio.to_thread(fault, store)
            read = await reader.read()
            write = await writer.write(NEW)
            read_back = await writer.read()
            login = await newcomer.login("newcomer")
            first_page = await newcomer.read()
            logout = await leaver.logout()
            replay = await thief.copy().read()
            await asyncio.to_thread(heal, store)
            values, replays, seconds = await watch(site, slow_tab, thief)
            return [
                _read_cell("read", read, OLD),
                _written("write", write, [read_back]),
                _came_in("login", login, first_page),
                _left("logout", logout, [replay]),
                _written("the value afterwards", write, values, afterwards=True),
                _left("the logged-out session afterwards", logout, replays, afterwards=True),
                Cell("Redis in use again", f"{seconds:.1f} s" if seconds else "not seen", not seconds),
            ]

    return scenario


async def flush(site: Site) -> list[Cell]:
    async with running(site) as store:
        reader = await signed_in(site, "reader")
        await asyncio.to_thread(store.say, "FLUSHALL")
        return [_read_cell("read", await reader.read(), OLD)]


async def old_snapshot(site: Site) -> list[Cell]:
    """Redis restarts with a dump from before the last writes, all of which were acknowledged."""
    async with running(site) as store:
        writer, leaver = [await signed_in(site, name) for name in ("writer", "leaver")]
        slow_tab, thief = writer.copy(), leaver.copy()
        await asyncio.to_thread(store.say, "SAVE")
        write, logout = await writer.write(NEW), await leaver.logout()
        newcomer = await signed_in(site, "newcomer")
        await asyncio.to_thread(store.kill)
        await asyncio.to_thread(store.restart)
        values, replays, _ = await watch(site, slow_tab, thief)
        return [
            _written("the value written since", write, values, afterwards=True),
            _left("the session logged out since", logout, replays, afterwards=True),
            _read_cell("a login made since", await newcomer.read(), OLD),
        ]


async def two_writers(site: Site) -> list[Cell]:
    """Two tabs set two keys of one session at the same moment. Lost: one of the two is not there after both were acknowledged."""
    async with running(site):
        visitor = await signed_in(site, "writer")
        await visitor.write(OLD, key="b")
        lost = failed = 0
        for trial in range(RACE_TRIALS):
            value = (trial + 1) % 2
            one, other = visitor.copy(), visitor.copy()
            answers = await asyncio.gather(one.write(value), other.write(value, key="b"))
            if not all(answer.served for answer in answers):
                failed += 1
                continue
            seen = [await visitor.read(), await visitor.read(key="b")]
            lost += [answer.value for answer in seen] != [value, value]
        errors = f", {failed} refused" if failed else ""
        return [Cell("both keys kept", f"{lost} of {RACE_TRIALS} lost{errors}", bool(lost or failed))]


async def watch(site: Site, slow_tab: Visitor, thief: Visitor) -> tuple[list[Answer], list[Answer], float | None]:
    """What old cookies show from now until Redis is in use again and a while longer, and after how long that was."""
    began = time.monotonic()
    back: float | None = None
    values, replays = [], []
    while time.monotonic() - began < (back + LOOK_ON_SECONDS if back else RETURN_LIMIT_SECONDS):
        values.append(await slow_tab.copy().read())
        replays.append(await thief.copy().read())
        if back is None and await site.back_to_normal():
            back = time.monotonic() - began
        await asyncio.sleep(POLL_SECONDS)
    return values, replays, back


def _well(answer: Answer) -> bool:
    return answer.served and answer.seconds <= HANG_SECONDS


def _read_cell(heading: str, answer: Answer, expected: int) -> Cell:
    wrong = answer.served and answer.value != expected
    return Cell(heading, "wrong value" if wrong else answer.ending, wrong or not _well(answer), [answer])


def _came_in(heading: str, login: Answer, first_page: Answer) -> Cell:
    if login.served and not first_page.served:
        return Cell(heading, f"{login.ending}, then {first_page.ending}", True, [login, first_page])
    return Cell(heading, login.ending, not _well(login), [login, first_page])


def _written(heading: str, write: Answer, reads: list[Answer], *, afterwards: bool = False) -> Cell:
    """Whether the reads show what the answer to the write said."""
    stale = sum(read.served and read.value != NEW for read in reads)
    signed_out = sum(read.says_signed_out for read in reads)
    failed = sum(not _well(read) and not read.says_signed_out for read in reads)
    answers = [write, *reads]
    if signed_out:
        return Cell(heading, f"signed out{_share(signed_out, reads)}", True, answers)
    if not write.served:
        # Refused, and said so: that is bad during the outage, and no more than consistent after it.
        if not afterwards:
            return Cell(heading, write.ending, True, answers)
        return Cell(heading, "as before, as told" if stale else "the refused one", not stale, answers)
    if stale:
        return Cell(heading, f"STALE{_share(stale, reads)}", True, answers)
    if failed:
        return Cell(heading, f"read fails{_share(failed, reads)}", True, answers)
    return Cell(heading, "the new one" if afterwards else write.ending, not afterwards and not _well(write), answers)


def _left(heading: str, logout: Answer, replays: list[Answer], *, afterwards: bool = False) -> Cell:
    alive = sum(replay.served for replay in replays)
    failed = sum(not replay.served and not replay.says_signed_out for replay in replays)
    answers = [logout, *replays]
    if not logout.served:
        if not afterwards:
            return Cell(heading, logout.ending, True, answers)
        return Cell(heading, "still alive, as told" if alive else "dead", bool(alive), answers)
    if alive:
        return Cell(heading, f"REVIVED{_share(alive, replays)}", True, answers)
    if failed and afterwards:
        return Cell(heading, f"dead, but {failed} errors", True, answers)
    return Cell(heading, "dead" if afterwards else logout.ending, not afterwards and not _well(logout), answers)


def _share(count: int, answers: list[Answer]) -> str:
    return f" ({count} of {len(answers)} reads)" if len(answers) > 1 else ""


def _kill(store: redis.RedisServer) -> None:
    store.kill()


def _restart(store: redis.RedisServer) -> None:
    store.restart()
    store.wait_until_ready()


def _fill(store: redis.RedisServer) -> None:
    """`noeviction`, the default policy: reads are served, writes are refused."""
    store.say("CONFIG SET maxmemory 1")


def _make_room(store: redis.RedisServer) -> None:
    store.say("CONFIG SET maxmemory 0")


SCENARIOS: dict[str, Scenario] = {
    "Redis refused (killed), back with its data": outage(_kill, _restart),
    "Redis silent (SIGSTOP), then awake": outage(redis.RedisServer.stop, redis.RedisServer.cont),
    "Redis full (refuses writes), then not": outage(_fill, _make_room),
    "FLUSHALL": flush,
    "Redis restarted from an old snapshot": old_snapshot,
    "Two writers, two keys of one session": two_writers,
}
