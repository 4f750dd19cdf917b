"""A circuit breaker for one client: after repeated failure or slowness nobody waits for that server until a trial went well."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from app.core.errors import StoreUnavailable
from app.core.metrics import METRICS

log = structlog.get_logger()

FAILURES_TO_OPEN = 3
TRIALS_TO_CLOSE = 2
# A healthy answer on the same network takes well under a millisecond; a tenth of a second is a server in trouble.
SLOW = timedelta(milliseconds=100)
SLOW_SECONDS = SLOW.total_seconds()
SLOW_WINDOW = 10
SLOW_SHARE = 0.5
# For the figures: what a fault is called (redis.describe_fault). All others are answers that refuse.
KINDS = {"no answer in time": "silent", "no connection": "no_connection"}
# While a call has been under way for this long, others that can do without do not queue up behind it.
SUSPICIOUS = timedelta(milliseconds=50)


class Busy(StoreUnavailable):
    """Not asked, because it may be in trouble. That is not certain: a loop that was held up looks the same."""


class Breaker:
    """Closed: calls go through. Open: they are refused at once, and only `record_trial` closes it, from the background."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.open_reason = ""
        self._monotonic = monotonic
        self._failures = 0
        self._good_trials = 0
        self._was_slow: deque[bool] = deque(maxlen=SLOW_WINDOW)  # of the last answers
        self._slow_count = 0
        self._under_way: dict[int, float] = {}
        self._number = 0

    @property
    def is_open(self) -> bool:
        return bool(self.open_reason)

    @property
    def state(self) -> str:
        return "closed" if not self.open_reason else "half-open" if self._good_trials else "open"

    @contextmanager
    def call(self, *, essential: bool) -> Iterator[None]:
        """Round one call. Raises `StoreUnavailable` instead of it while open, or, unless `essential`, `Busy` while an earlier one hangs.

        A call that ends without an exception was answered; what an exception means the caller says by `record_failure`.
        """
        if self.open_reason:
            raise StoreUnavailable(f"Circuit breaker open: {self.open_reason}.")
        began = self._monotonic()
        if not essential and self._under_way and began - next(iter(self._under_way.values())) > SUSPICIOUS.total_seconds():
            raise Busy("Redis takes its time with an earlier call.")
        self._number += 1
        number = self._number
        self._under_way[number] = began
        try:
            yield
            self._record_answer(self._monotonic() - began)
        finally:
            del self._under_way[number]

    def record_failure(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._open(reason, KINDS.get(reason, "refused"))

    def record_trial(self, fault: str, took: timedelta) -> None:
        """The outcome of a trial in the background: `fault` is empty when Redis served, and then it must have been quick."""
        if fault or took > SLOW:
            self._good_trials = 0
            return
        self._good_trials += 1
        if self.open_reason and self._good_trials >= TRIALS_TO_CLOSE:
            log.info("Redis answers again; this process may use it.", was=self.open_reason)
            self.open_reason, self._failures = "", 0
            self._was_slow.clear()
            self._slow_count = 0

    def _record_answer(self, took: float) -> None:
        self._failures = 0
        if len(self._was_slow) == SLOW_WINDOW:
            self._slow_count -= self._was_slow[0]
        self._was_slow.append(took > SLOW_SECONDS)
        self._slow_count += self._was_slow[-1]
        if len(self._was_slow) == SLOW_WINDOW and self._slow_count >= SLOW_SHARE * SLOW_WINDOW:
            self._open(f"{self._slow_count} of the last {SLOW_WINDOW} answers took over {int(SLOW.total_seconds() * 1000)} ms", "slow")

    def _open(self, reason: str, kind: str) -> None:
        if not self.open_reason:
            METRICS.breaker_opened.labels(kind).inc()
            log.warning(
                "Circuit breaker opened: no call of Redis until it answers well in the background; SQL does the work.", reason=reason
            )
            self.open_reason, self._good_trials = reason, 0
