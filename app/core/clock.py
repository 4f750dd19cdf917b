"""The one source of time, so that tests can move it.

Whatever is stored, or compared between processes, goes by one clock: the database's, where it has one. Each process knows how far
that is from a clock of its own that nobody sets, and learns it anew with every look at the backend flag. The wall clocks of servers
decide nothing. SQLite has no clock, and all of its processes share a machine: there it is the machine's. See docs/decisions/0005.
"""

import time
from datetime import UTC, datetime, timedelta

# A good deal more than any quartz is off: how much less is known of the other clock with every second since it was asked.
DRIFT = 0.0002
# It counts while the machine sleeps, which the plain monotonic clock of Linux does not.
_SOURCE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock:
    """Time in UTC: this machine's until `synchronize` was called, from then on the database's."""

    # How far the database's clock, in seconds since 1970, is from `monotonic()`: at least and at most.
    _bounds: tuple[float, float] | None = None
    _asked_at = 0.0
    # How far this machine's clock is ahead of the database's; None where that has none, or nobody asked yet.
    skew: timedelta | None = None

    def now(self) -> datetime:
        if self._bounds is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(sum(self._bounds) / 2 + self.monotonic(), UTC)

    def unix_ms(self) -> int:
        return to_unix_ms(self.now())

    def monotonic(self) -> float:
        """Seconds since whenever, which no step of a clock changes: for how long something takes within this process."""
        return time.clock_gettime(_SOURCE)

    @property
    def is_set(self) -> bool:
        return self._bounds is not None

    def synchronize(self, asked_at: float, database: datetime, answered_at: float) -> None:
        """The database said `database` at some moment between these two of `monotonic()`.

        Whatever the answer took, that much is certain, and each answer narrows what the ones before allow. Where it contradicts
        them, one of the clocks was set, or another server answers: then it alone counts.
        """
        seconds = database.timestamp()
        low, high = seconds - answered_at, seconds - asked_at
        if self._bounds is not None:
            slack = DRIFT * max(0.0, answered_at - self._asked_at)
            narrower = max(low, self._bounds[0] - slack), min(high, self._bounds[1] + slack)
            if narrower[0] <= narrower[1]:
                low, high = narrower
        self._bounds, self._asked_at = (low, high), answered_at
        self.skew = datetime.now(UTC) - database - timedelta(seconds=(answered_at - asked_at) / 2)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# In whole numbers: a float of seconds does not tell every millisecond of a far future.
def to_unix_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_unix_ms(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
