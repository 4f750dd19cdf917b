"""Long work in short transactions: batches that stay small enough for nobody to notice them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

MAX_ROWS = 500
FIRST_ROWS = 250
# Fewer would only make more of them: what a transaction costs by itself is the most of it then.
MIN_ROWS = 100
# A quarter of what a request may wait behind one batch, because the next one may meet a slower moment.
TARGET = timedelta(milliseconds=25)
MAX_THROTTLE = timedelta(milliseconds=100)


class ProgressCallback(Protocol):
    """Hears after each batch what was done so far. May raise, to end the work there."""

    async def __call__(self, done: int | None = None, total: int | None = None, **counts: Any) -> None: ...


async def no_progress(done: int | None = None, total: int | None = None, **counts: Any) -> None:
    pass


class BatchSizer:
    """How many rows the next batch may have: about as many as take `AIM`. One for a whole run of batches."""

    def __init__(self, *, most: int = MAX_ROWS, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._stopwatch = stopwatch
        self.rows = min(FIRST_ROWS, most)
        self.took = 0.0

    @contextmanager
    def batch(self) -> Iterator[int]:
        """Round one transaction: gives the rows it may have, and fits the next one to the time it takes."""
        began = self._stopwatch()
        yield self.rows
        self.took = self._stopwatch() - began
        if self.took > TARGET.total_seconds():
            self.rows = max(self.rows // 2, min(MIN_ROWS, self.most))
        elif self.took < TARGET.total_seconds() / 2:
            self.rows = min(self.rows * 2, self.most)

    async def throttle(self) -> None:
        """As long as the last batch took, so that half of the time belongs to everybody else, also on SQLite with its one writer."""
        await asyncio.sleep(min(self.took, MAX_THROTTLE.total_seconds()))
