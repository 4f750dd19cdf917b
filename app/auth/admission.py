"""How many anonymous requests are worked on at once, decided before any of them touches the database.

Signing in costs a hash, a read and a write. Of the pool's connections, the one writer of SQLite and the two cores of a small
server, strangers get this share and no more; who is signed in never waits behind them in a pool. Each process counts for itself.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from weakref import WeakKeyDictionary

from app.auth.backoff import network_of
from app.database import Database
from app.errors import AppError, Unavailable

# Of ten connections (PostgreSQL) or eight readers (SQLite), three: one of them for browsers that show a device cookie.
AT_ONCE, AT_ONCE_WITH_COOKIE = 2, 1
# What is done within WAIT_SECONDS on two cores, about; longer queues would only answer people who have left.
MAX_WAITING = 120
# One address cannot fill the queue: a third is left to others, whatever it sends.
MAX_WAITING_PER_ADDRESS = 80
MAX_WAITING_WITH_COOKIE, MAX_WAITING_PER_ADDRESS_WITH_COOKIE = 60, 10
# Slowed-down guesses wait without a place; a coroutine each, bounded all the same.
MAX_SLOWED = 500
MAX_SLOWED_PER_ADDRESS = 20
WAIT_SECONDS = 5.0
# An address that showed an unknown device cookie waits with everybody else for so long.
DEMOTED_SECONDS = 60.0
MAX_REMEMBERED = 4096


class TooBusy(Unavailable):
    code, title = "too_busy", "Too many people sign in at the moment"


class Admission:
    def __init__(self) -> None:
        self._strangers = _Lane(AT_ONCE, MAX_WAITING, MAX_WAITING_PER_ADDRESS)
        self._cookies = _Lane(AT_ONCE_WITH_COOKIE, MAX_WAITING_WITH_COOKIE, MAX_WAITING_PER_ADDRESS_WITH_COOKIE)
        self._slowed = _Places(MAX_SLOWED, MAX_SLOWED_PER_ADDRESS)
        self._demoted: dict[str, float] = {}

    def believes_cookie(self, address: str) -> bool:
        return self._demoted.get(network_of(address), 0) <= time.monotonic()

    def demote(self, address: str) -> None:
        """It showed a device cookie that nobody knows."""
        if len(self._demoted) >= MAX_REMEMBERED:
            self._demoted.pop(next(iter(self._demoted)))
        self._demoted[network_of(address)] = time.monotonic() + DEMOTED_SECONDS

    @asynccontextmanager
    async def place(self, address: str, *, with_cookie: bool = False) -> AsyncIterator[None]:
        """Wait for one of the places. Raises `TooBusy` when put out of a full queue, and after WAIT_SECONDS in it."""
        lane, network = self._cookies if with_cookie else self._strangers, network_of(address)
        await lane.enter(network)
        try:
            yield
        except AppError as refusal:
            if refusal.status < 500:
                lane.note_failure(network)
            raise
        finally:
            lane.leave()

    async def slow_down(self, address: str, seconds: float) -> None:
        """Let a guess wait, without a place. Raises `TooBusy` where too many wait."""
        with self._slowed.taken(network_of(address)):
            await asyncio.sleep(seconds)


class _Lane:
    """Next is an address with the fewest failures of late, any of them by lot. A full queue puts out, by lot, one who waits at the
    address with most waiting: who comes late, or again, has the same chance as who was there first."""

    def __init__(self, at_once: int, most: int, per_address: int) -> None:
        self._free, self._most, self._per_address = at_once, most, per_address
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._failures: Counter[str] = Counter()

    async def enter(self, address: str) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting.get(address, ())) >= self._per_address:
            raise _too_busy()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, []).append(turn)
        if sum(map(len, self._waiting.values())) > self._most:
            self._put_one_out()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()
            else:
                self._forget(address, turn)
            if isinstance(error, TimeoutError):
                raise _too_busy() from None
            raise

    def leave(self) -> None:
        """Hand the place on."""
        while self._waiting:
            fewest = min(self._failures[each] for each in self._waiting)
            address = random.choice([each for each in self._waiting if self._failures[each] == fewest])
            turn = self._waiting[address][0]
            self._forget(address, turn)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def note_failure(self, address: str) -> None:
        if len(self._failures) >= MAX_REMEMBERED:
            self._failures.clear()
        self._failures[address] += 1

    def _put_one_out(self) -> None:
        most = max(map(len, self._waiting.values()))
        # The failures decide first: who has none is put out last.
        crowded = [each for each, turns in self._waiting.items() if len(turns) == most]
        worst = max(self._failures[each] for each in crowded)
        address = random.choice([each for each in crowded if self._failures[each] == worst])
        turn = random.choice(self._waiting[address])
        self._forget(address, turn)
        if not turn.done():
            turn.set_exception(_too_busy())

    def _forget(self, address: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(address, [])
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(address, None)


class _Places:
    def __init__(self, most: int, per_address: int) -> None:
        self._most, self._per_address = most, per_address
        self._counts: Counter[str] = Counter()

    def taken(self, address: str) -> "_Place":
        return _Place(self, address)

    def take(self, address: str) -> None:
        if self._counts.total() >= self._most or self._counts[address] >= self._per_address:
            raise _too_busy()
        self._counts[address] += 1

    def leave(self, address: str) -> None:
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]


class _Place:
    def __init__(self, places: _Places, address: str) -> None:
        self._places, self._address = places, address

    def __enter__(self) -> None:
        self._places.take(self._address)

    def __exit__(self, *_: object) -> None:
        self._places.leave(self._address)


_admissions: WeakKeyDictionary[Database, Admission] = WeakKeyDictionary()


def admission_of(database: Database) -> Admission:
    return _admissions.setdefault(database, Admission())


def _too_busy() -> TooBusy:
    return TooBusy("Too many sign in at this moment. Please try again in a few seconds.", retry_after=timedelta(seconds=3))
