"""How long a request may wait for the database in all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class TimeBudget:
    """What the request at hand may yet wait for the database. Blocks that overlap count once."""

    def __init__(self, seconds: float) -> None:
        self.has_begun = False
        self._left = seconds
        self._blocks = 0
        self._since = 0.0

    @property
    def left(self) -> float:
        return self._left - (time.monotonic() - self._since if self._blocks else 0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        if not self._blocks:
            self._since = time.monotonic()
        self._blocks += 1
        try:
            yield
        finally:
            if self._blocks == 1:
                self._left = self.left
            self._blocks -= 1


_current: ContextVar[TimeBudget | None] = ContextVar("time_budget", default=None)


def current_time_budget() -> TimeBudget | None:
    return _current.get()


def set_time_budget(seconds: float | None) -> None:
    """From here on this task, and what it starts, waits so long for the database in all; None: as long as each step may take."""
    _current.set(None if seconds is None else TimeBudget(seconds))


def ensure_time_budget(seconds: float) -> None:
    """What this task may wait for the database is so much at least, for what has to follow on a commit."""
    budget = _current.get()
    if budget is not None and budget.left < seconds:
        set_time_budget(seconds)
