"""Fakes, by hand, for what a test cannot have for real: time."""

import time
from datetime import UTC, datetime, timedelta

from app.core.clock import Clock


class FakeClock(Clock):
    """Stands still until told to move. Starts at `now`, else at the real time, which the database's own clock agrees with."""

    def __init__(self, now: datetime | None = None) -> None:
        # Milliseconds are what a record keeps; more would make an equality fail now and then.
        self._now = (now or datetime.now(UTC)).replace(microsecond=0)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def advance(self, by: timedelta) -> None:
        self._now += by


class TickingClock(FakeClock):
    """Goes on by itself, for what waits in earnest, and can be moved ahead."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()

    def now(self) -> datetime:
        return self._now + timedelta(seconds=time.monotonic() - self._began)

    def monotonic(self) -> float:
        return self.now().timestamp()
