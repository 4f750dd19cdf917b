"""A value that several viewers share for some seconds, so that what they cost together is bounded."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Generic, TypeVar

T = TypeVar("T")


class Cached(Generic[T]):
    """`get` recomputes the value when it is older than `life`; concurrent callers share it. Failures are not cached."""

    def __init__(self, make: Callable[[], Awaitable[T]], life: timedelta, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._life = life.total_seconds()
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._made_at: float | None = None

    async def get(self) -> T:
        async with self._lock:
            if self._value is None or self._made_at is None or self._monotonic() - self._made_at > self._life:
                began = self._monotonic()
                self._value = await self._make()
                self._made_at = began
            return self._value

    def forget(self) -> None:
        """Drop the value because something changed."""
        self._made_at = None
