"""One look per process at what many event streams are about."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable
from contextvars import Context
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

import structlog

from app.core.errors import Unavailable

log = structlog.get_logger()
T = TypeVar("T")


class Watches:
    def __init__(self) -> None:
        self._by_key: dict[Hashable, _Watch[Any]] = {}

    def tasks(self) -> list[asyncio.Task[None]]:
        return [watch.task for watch in self._by_key.values()]

    async def watch(self, key: Hashable, look: Callable[[], Awaitable[T]], *, every: timedelta) -> AsyncGenerator[T, None]:
        """What `look` reads: now, and whenever it is something else. One look serves everybody of this process who watches `key`.

        Whoever is slow misses what came between, never the newest. An outage is waited out; another error reaches everybody.
        """
        watch = self._by_key.get(key)
        if watch is None:
            watch = self._by_key[key] = _Watch(look, every)
        watch.readers += 1
        seen = 0
        try:
            while True:
                if watch.count == seen:
                    await watch.changed.wait()
                seen = watch.count
                yield watch.result()
        finally:
            watch.readers -= 1
            if not watch.readers:
                watch.task.cancel()
                self._by_key.pop(key, None)


class _Watch(Generic[T]):
    def __init__(self, look: Callable[[], Awaitable[T]], every: timedelta) -> None:
        self.readers = 0
        self.count = 0
        self.changed = asyncio.Event()
        self._found: T | None = None
        self._error: Exception | None = None
        self.task = start_apart(self._look_forever(look, every), name="event-streams-watch")

    def result(self) -> T:
        if self._error:
            raise self._error
        return cast(T, self._found)

    async def _look_forever(self, look: Callable[[], Awaitable[T]], every: timedelta) -> None:
        waiting = False
        while self._error is None:
            try:
                found = await look()
                waiting = False
                if self.count == 0 or found != self._found:
                    self._found = found
                    self._wake_watchers()
            except Unavailable as outage:
                if not waiting:
                    log.warning("What event streams are about cannot be looked at; they wait.", fault=outage.detail)
                waiting = True
            except Exception as error:
                self._error = error
                self._wake_watchers()
            await asyncio.sleep(every.total_seconds())

    def _wake_watchers(self) -> None:
        self.count += 1
        self.changed.set()
        self.changed = asyncio.Event()


def start_apart(loop: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
    """A task that serves everybody: nothing of the request that happened to start it (its id, its time budget) goes with it."""
    return asyncio.create_task(loop, name=name, context=Context())
