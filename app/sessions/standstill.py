"""Whether this process stood still: it was stopped, its machine was paused, or something held its loop. What it knew may be over then."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from app.core.metrics import METRICS

log = structlog.get_logger()

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Of the limit, so that a tick which is a little late is no standstill.
TICKS = 4
LOG_EVERY_SECONDS = 60.0


def read_stopwatch() -> float:
    """Seconds, in which the sleep of the machine counts where the system can tell (Linux); no change of the clock moves it."""
    return time.clock_gettime(_CLOCK)


class Standstill:
    """Counts how often the loop stood still for longer than `limit`. It ticks by itself, and whoever asks looks as well."""

    def __init__(self, limit: timedelta, *, stopwatch: Callable[[], float] = read_stopwatch) -> None:
        self.limit = limit.total_seconds()
        self._stopwatch = stopwatch
        self._moved_at = stopwatch()
        self._count = 0
        self._logged_at = -LOG_EVERY_SECONDS
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.count()
        self._next = asyncio.get_running_loop().call_later(self.limit / TICKS, self.start)

    def stop(self) -> None:
        if self._next:
            self._next.cancel()

    def count(self) -> int:
        """Asked at every read of a session: one reading of a clock."""
        now = self._stopwatch()
        stood = now - self._moved_at
        self._moved_at = now
        if stood > self.limit:
            self._count += 1
            METRICS.standstills.inc()
            if now - self._logged_at < LOG_EVERY_SECONDS:  # the metric counts each
                return self._count
            self._logged_at = now
            log.warning("This process stood still; it reads the backend flag before it trusts Redis again.", seconds=round(stood, 1))
        return self._count
