"""Who may go to the database and who waits, decided before a connection is asked for.

First come, first served. A request that was served before goes ahead of new ones, since what has begun is to end: it was a new one
once, so new ones cannot starve behind it. Work in the background steps back a little, but its place improves as it waits, so that
nobody starves. Who cannot be served within what it may wait is refused at once, rather than after it waited for nothing and kept
others waiting.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import Enum

from app.core.errors import DatabaseUnavailable

BUSY = "Too many requests want the database at once."
FIX = "More than this process can serve: raise WEB_CONCURRENCY, or look for slow statements (pg_stat_activity)."
# How much of each turn's length goes into the mean, which is what a wait is foreseen by.
WEIGHT = 0.05
# What was measured so long ago counts half: a slow minute says little of the next one.
HALF_LIFE_SECONDS = 5.0


class Rank(Enum):
    """Seconds by which somebody counts as having come later."""

    BEGUN = -10.0
    REQUEST = 0.0
    BACKGROUND = 0.5


class Admission:
    """`slots` turns at once. Costs nothing while there is a free one."""

    def __init__(self, slots: int) -> None:
        self._slots = self._free = slots
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._turn_seconds = 0.0
        self._measured_at = time.monotonic()

    @property
    def waiting(self) -> int:
        return sum(not place.done() for _, _, place in self._waiting)

    @asynccontextmanager
    async def turn(self, rank: Rank, *, within: float) -> AsyncIterator[None]:
        """Raises `DatabaseUnavailable` where there is none `within` so many seconds, or will foreseeably be none."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(rank, within)
        began = time.monotonic()
        try:
            yield
        finally:
            now = time.monotonic()
            mean = self._mean_turn(now)
            self._turn_seconds, self._measured_at = mean + WEIGHT * (now - began - mean), now
            self._pass_on()

    def _mean_turn(self, now: float) -> float:
        return float(self._turn_seconds * 0.5 ** ((now - self._measured_at) / HALF_LIFE_SECONDS))

    async def _wait(self, rank: Rank, within: float) -> None:
        at = time.monotonic() + rank.value
        ahead = sum(place[0] <= at and not place[2].done() for place in self._waiting)
        # With nobody ahead the mean, which a slow minute may have left high, is no reason: any turn may end now.
        if (foreseen := self._mean_turn(time.monotonic()) * (ahead + 1) / self._slots) > within and ahead:
            raise _busy(foreseen)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (at, next(self._numbers), place))
        try:
            async with asyncio.timeout(within):
                await place
        except BaseException as error:
            # It may have been given its turn in the very moment in which it gave up.
            if place.done() and not place.cancelled():
                self._pass_on()
            place.cancel()
            if isinstance(error, TimeoutError):
                raise _busy(foreseen) from None
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            place = heapq.heappop(self._waiting)[2]
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


def _busy(foreseen: float) -> DatabaseUnavailable:
    wait = timedelta(seconds=min(30, max(1, round(foreseen))))
    return DatabaseUnavailable(BUSY, reason="every connection is in use, and others wait", fix=FIX, retry_after=wait)
