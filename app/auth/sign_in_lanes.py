"""How many anonymous requests are worked on at once, decided before any of them touches the database.

Signing in costs a hash, a read and a write. Of the pool's connections, the one writer of SQLite and the two cores of a small
server, strangers get this share and no more; who is signed in never waits behind them in a pool. Each process counts for itself.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from weakref import WeakKeyDictionary

from app.core.database import Database
from app.core.errors import AppError, Unavailable
from app.core.hosts import network_of

# Of ten connections (PostgreSQL) or eight readers (SQLite), three: one of them for browsers that show a device cookie.
AT_ONCE, AT_ONCE_WITH_COOKIE = 2, 1
# What is done within WAIT_SECONDS on two cores, about; longer queues would only answer people who have left.
MAX_WAITING = 120
# One address cannot fill the queue: a third is left to others, whatever it sends.
MAX_WAITING_PER_ADDRESS = 80
MAX_WAITING_WITH_COOKIE, MAX_WAITING_PER_ADDRESS_WITH_COOKIE = 60, 10
# Slowed-down guesses wait without a place; a coroutine each, bounded all the same.
MAX_SLOWED, MAX_SLOWED_PER_ADDRESS = 500, 20
MAX_SLOWED_PER_NAME, MAX_SLOWED_PER_NAME_AND_ADDRESS = 50, 3
WAIT_SECONDS = 5.0
# Four turns at a name, at the default of LOGIN_SLOWDOWN_SECONDS.
SLOWED_SECONDS = 16.0
# An address that showed an unknown device cookie waits with everybody else for so long.
DEMOTED_SECONDS = 60.0
MAX_REMEMBERED = 4096


class TooBusy(Unavailable):
    code, title = "too_busy", "Too many people sign in at the moment"

    @classmethod
    def for_now(cls) -> "TooBusy":
        return cls("Too many sign in at this moment. Please try again in a few seconds.", retry_after=timedelta(seconds=3))


class SignInLanes:
    def __init__(self) -> None:
        self._strangers = _Lane(AT_ONCE, MAX_WAITING, MAX_WAITING_PER_ADDRESS)
        self._cookies = _Lane(AT_ONCE_WITH_COOKIE, MAX_WAITING_WITH_COOKIE, MAX_WAITING_PER_ADDRESS_WITH_COOKIE)
        self._names: dict[str, _NameQueue] = {}
        self._slowed: Counter[str] = Counter()
        self._demoted: dict[str, float] = {}

    def believes_cookie(self, address: str) -> bool:
        return self._demoted.get(network_of(address), 0) <= time.monotonic()

    def demote(self, address: str) -> None:
        """Record that this address presented an unknown device cookie."""
        if len(self._demoted) >= MAX_REMEMBERED:
            self._demoted.pop(next(iter(self._demoted)))
        self._demoted[network_of(address)] = time.monotonic() + DEMOTED_SECONDS

    @asynccontextmanager
    async def place(self, address: str, *, with_cookie: bool = False) -> AsyncIterator[None]:
        """Wait for a place. Raises `TooBusy` when evicted from a full queue, or after WAIT_SECONDS."""
        lane, network = self._cookies if with_cookie else self._strangers, network_of(address)
        await lane.enter(network)
        try:
            yield
        except AppError as refusal:
            if refusal.status < 500:
                lane.note_failures(network)
            raise
        finally:
            lane.leave()

    async def wait_for_turn(self, name: str, address: str, *, failures: int, take: Callable[[], Awaitable[float]]) -> None:
        """Wait, without a place, until a slowed-down attempt at `name` may be looked at. `take` takes the name's next turn, of all
        processes, and says in how many seconds it is. Raises `TooBusy`."""
        network = network_of(address)
        with self._slowed_down(network):
            queue = self._names.setdefault(name, _NameQueue())
            try:
                async with asyncio.timeout(SLOWED_SECONDS):
                    await queue.wait_for_turn(network, failures, take)
            except TimeoutError:
                raise TooBusy.for_now() from None
            finally:
                self._names = {each: queue for each, queue in self._names.items() if queue.is_needed()}

    @contextmanager
    def _slowed_down(self, network: str) -> Iterator[None]:
        if self._slowed[network] >= MAX_SLOWED_PER_ADDRESS:
            raise TooBusy.for_now()
        if self._slowed.total() >= MAX_SLOWED:
            # From the name with most waiting, so that a crowd at one name does not affect the others.
            max(self._names.values(), key=lambda queue: queue.waiting).evict_one()
        self._slowed[network] += 1
        try:
            yield
        finally:
            self._slowed[network] -= 1
            if not self._slowed[network]:
                del self._slowed[network]


class _Lane:
    """The next address is a random one of those with the fewest recent failures. A full queue evicts a random waiter of the
    address with most waiting: latecomers have the same chance as the first."""

    def __init__(self, at_once: int, most: int, per_address: int, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._free, self._most, self._per_address, self._wait_seconds = at_once, most, per_address, wait_seconds
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._failures: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def enter(self, address: str) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting.get(address, ())) >= self._per_address:
            raise TooBusy.for_now()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, []).append(turn)
        if self.waiting > self._most:
            self.evict_one()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()
            else:
                self._forget(address, turn)
            if isinstance(error, TimeoutError):
                raise TooBusy.for_now() from None
            raise

    def leave(self) -> None:
        """Pass the place on."""
        while self._waiting:
            fewest = min(self._failures[each] for each in self._waiting)
            address = random.choice([each for each in self._waiting if self._failures[each] == fewest])
            turn = self._waiting[address][0]
            self._forget(address, turn)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def note_failures(self, address: str, failures: int = 1) -> None:
        if len(self._failures) >= MAX_REMEMBERED:
            self._failures.clear()
        self._failures[address] += failures

    def evict_one(self) -> None:
        if not self._waiting:
            raise TooBusy.for_now()
        most = max(map(len, self._waiting.values()))
        # The failures decide first: who has none is put out last.
        crowded = [each for each, turns in self._waiting.items() if len(turns) == most]
        worst = max(self._failures[each] for each in crowded)
        address = random.choice([each for each in crowded if self._failures[each] == worst])
        turn = random.choice(self._waiting[address])
        self._forget(address, turn)
        if not turn.done():
            turn.set_exception(TooBusy.for_now())

    def _forget(self, address: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(address, [])
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(address, None)


class _NameQueue(_Lane):
    """Who waits for the next turn at one name. One of them has taken it; who gets it is decided when it has come, so that a guesser
    who was there first, and has failed of late, is behind everybody who has not."""

    def __init__(self) -> None:
        super().__init__(1, MAX_SLOWED_PER_NAME, MAX_SLOWED_PER_NAME_AND_ADDRESS, wait_seconds=SLOWED_SECONDS)
        self._turn_at: float | None = None

    async def wait_for_turn(self, address: str, failures: int, take: Callable[[], Awaitable[float]]) -> None:
        self._failures.pop(address, None)
        if failures:
            self.note_failures(address, failures)
        has_turn = False
        while not has_turn:
            await self.enter(address)
            try:
                if self._turn_at is None:
                    self._turn_at = time.monotonic() + await take()
                await asyncio.sleep(max(0, self._turn_at - time.monotonic()))
                has_turn = all(self._failures[each] >= self._failures[address] for each in self._waiting)
                if has_turn:
                    self._turn_at = None
            finally:
                self.leave()

    def is_needed(self) -> bool:
        """Whether somebody waits, or a turn taken is still to come."""
        return not self._free or (self._turn_at or 0) > time.monotonic()


_lanes_of: WeakKeyDictionary[Database, SignInLanes] = WeakKeyDictionary()


def sign_in_lanes_of(database: Database) -> SignInLanes:
    return _lanes_of.setdefault(database, SignInLanes())
