"""More requests than the processor can serve: as many go on as leave, the others wait, not for long, and then reads are answered 503.

Only a lack of CPU counts: the event loop's thread computes nearly all the time, or requests wait for their turn on it. Where a database
or Redis is slow the loop has nothing to do, everybody is let in, and whoever needs neither is served.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable

import structlog

from app.core.metrics import METRICS

log = structlog.get_logger()

# Where the server writes down when a request was read (`time.perf_counter`).
RECEIVED_AT = "holdfast.received_at"
# Longer than this on its way to the loop, and the process is behind.
LATE_SECONDS = 0.05
# So much of the time the loop's thread computes, looked at every so often, and there is nothing left; an older look says nothing.
SATURATED, SAMPLE_SECONDS, STALE_SECONDS = 0.8, 0.1, 1.0
# So many may always run: enough to keep a core busy while some of them wait for a database. Above it one of so many places is not
# taken again, which shortens what all of them wait for each other.
MIN_RUNNING, SHRINK_EVERY = 16, 4
# Nobody has left for so long: those under way wait for something else than the processor.
STUCK_SECONDS = 0.1
# How long somebody waits to be let in: when everybody comes at once, and when there have been too many for a while. Then a long queue
# would only have all of them wait as long, and served no more of them.
BURST_SECONDS, STANDING_SECONDS = 0.8, 0.2
STANDING_AFTER_SECONDS = 2.0
LOG_EVERY_SECONDS = 10.0
# Asked without `Overload`: what is cheap, what a load balancer goes by, and the doors, where strangers wait in a queue of their own
# (`auth/sign_in_lanes.py`) and must keep out nobody who is inside.
ALWAYS_LET_IN = ("/health/", "/api/health/", "/static/", "/metrics", "/login", "/link", "/api/auth/login")
READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Overload:
    """Of one process. Everything here runs on its event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter, thread_time: Callable[[], float] = time.thread_time) -> None:
        self._clock, self._thread_time = clock, thread_time
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Since the last look, and a second as it was then.
        self._left, self._rate = 0, 0.0
        self._behind_since: float | None = None
        self._is_saturated = False
        self._sampled_at = self._left_at = clock()
        self._used = thread_time()
        self._logged_at = -LOG_EVERY_SECONDS

    async def enter(self, method: str, received_at: float | None) -> bool:
        """Whether the request may go on; `leave` follows where it may. What changes something may always, after its wait."""
        now = self._clock()
        if now - self._sampled_at > SAMPLE_SECONDS:
            self._sample(now)
        is_late = received_at is not None and now - received_at > LATE_SECONDS
        is_behind = (self._is_saturated or is_late or self._waiting) and now - self._left_at < STUCK_SECONDS
        if not is_behind:
            self._let_in(2)
        elif self._running >= MIN_RUNNING:
            is_read = method in READS
            if (is_read and self._is_hopeless(now)) or (not await self._wait(now) and is_read):
                self._count_refusal()
                return False
        self._running += 1
        return True

    def leave(self) -> None:
        self._running -= 1
        self._left_at = self._clock()
        self._left += 1
        if self._running < MIN_RUNNING or self._left % SHRINK_EVERY:
            self._let_in(1 if self._is_saturated else 2)

    def _sample(self, now: float) -> None:
        used = self._thread_time()
        elapsed = now - self._sampled_at
        self._rate, self._left = self._left / elapsed, 0
        self._is_saturated = elapsed < STALE_SECONDS and used - self._used > SATURATED * elapsed
        self._used, self._sampled_at = used, now

    def _let_in(self, count: int) -> None:
        if not self._waiting:
            return
        # Those who have their answer leave the queue by themselves, in a moment.
        for place in itertools.islice((place for place in self._waiting if not place.done()), count):
            place.set_result(None)

    def _longest_wait(self, now: float) -> float:
        return STANDING_SECONDS if self._behind_since and now - self._behind_since > STANDING_AFTER_SECONDS else BURST_SECONDS

    def _is_hopeless(self, now: float) -> bool:
        """Whether more are waiting than can be let in while one more waits."""
        return len(self._waiting) > max(MIN_RUNNING, self._rate * self._longest_wait(now))

    async def _wait(self, now: float) -> bool:
        longest = self._longest_wait(now)
        self._behind_since = self._behind_since or now
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        timer = asyncio.get_running_loop().call_later(longest, place.cancel)
        try:
            await place
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            return False
        finally:
            timer.cancel()
            self._waiting.remove(place)
            if not self._waiting:
                self._behind_since = None
        return True

    def _count_refusal(self) -> None:
        METRICS.requests_shed.inc()
        now = self._clock()
        if now - self._logged_at > LOG_EVERY_SECONDS:
            self._logged_at = now
            log.warning(
                "Overloaded: some requests are answered 503 at once so that the others are served. Raise WEB_CONCURRENCY or add a server.",
                running=self._running,
                waiting=len(self._waiting),
            )
