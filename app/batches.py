"""Long work in short transactions: batches that stay small enough for nobody to notice them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

MOST_ROWS = 1000
FEWEST_ROWS = 25
# Half of what a request may wait behind one batch, because the next one may meet a slower moment.
AIM = timedelta(milliseconds=50)


class Pace:
    """How many rows the next batch may have: as many as took `AIM` so far. One for a whole run of batches."""

    def __init__(self, *, most: int = MOST_ROWS, first: int = 250) -> None:
        self.most = most
        self.rows = min(first, most)
        self._took = 0.0

    @contextmanager
    def batch(self) -> Iterator[int]:
        """Measures one transaction, and fits the size of the next to it. Gives the rows this one may have."""
        began = time.monotonic()
        yield self.rows
        self._took = time.monotonic() - began
        if self._took > AIM.total_seconds():
            self.rows = max(self.rows // 2, min(FEWEST_ROWS, self.most))
        elif self._took < AIM.total_seconds() / 2:
            self.rows = min(self.rows * 2, self.most)

    async def rest(self) -> None:
        """As long as the last batch took, so that half of the time belongs to everybody else, also on SQLite with its one writer."""
        await asyncio.sleep(self._took)
