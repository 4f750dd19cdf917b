"""How many anonymous requests are worked on at once, decided before any of them touches the database.

Signing in costs a hash, a read and a write. Of the pool's connections, the one writer of SQLite and the two cores of a small
server, strangers get this share and no more; who is signed in never waits behind them in a pool. Each process counts for itself.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from weakref import WeakKeyDictionary

from app.database import Database
from app.errors import Unavailable

# Of ten connections (PostgreSQL) or eight readers (SQLite), three.
AT_ONCE = 3
# What is done within WAIT_SECONDS on two cores, about; longer queues would only answer people who have left.
MAX_WAITING = 120
# One address cannot fill the queue: a third is left to others, whatever it sends.
MAX_WAITING_PER_ADDRESS = 80
# Slowed-down guesses wait without a place; a coroutine each, bounded all the same.
MAX_SLOWED = 500
MAX_SLOWED_PER_ADDRESS = 20
WAIT_SECONDS = 5.0


class TooBusy(Unavailable):
    code, title = "too_busy", "Too many people sign in at the moment"


class Admission:
    def __init__(self, *, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._waiting = _Places(MAX_WAITING, MAX_WAITING_PER_ADDRESS)
        self._slowed = _Places(MAX_SLOWED, MAX_SLOWED_PER_ADDRESS)

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Wait for one of the places. Raises `TooBusy` beyond the queue, and after WAIT_SECONDS in it."""
        with self._waiting.taken(address):
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._places.acquire()
            except TimeoutError:
                raise _too_busy() from None
        try:
            yield
        finally:
            self._places.release()

    async def slow_down(self, address: str, seconds: float) -> None:
        """Let a guess wait, without a place. Raises `TooBusy` where too many wait."""
        with self._slowed.taken(address):
            await asyncio.sleep(seconds)


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
