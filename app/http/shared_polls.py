"""One poll per process for all event streams that watch the same thing."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable
from contextvars import Context
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

import structlog

from app.core.errors import Unavailable

log = structlog.get_logger()
T = TypeVar("T")


class SharedPolls:
    """The polls under way, by what they read."""

    def __init__(self) -> None:
        self._polls: dict[Hashable, _Poll[Any]] = {}

    async def watch(self, key: Hashable, read: Callable[[], Awaitable[T]], *, every: timedelta) -> AsyncGenerator[T, None]:
        """What `read` returns: now, and whenever it is something else. Everybody of this process who watches `key` shares it.

        Whoever is slow misses what came between, never the newest. An outage is waited out; another error reaches everybody.
        """
        poll = self._polls.get(key)
        if poll is None:
            poll = self._polls[key] = _Poll(read, every)
        poll.readers += 1
        seen = 0
        try:
            while True:
                if poll.count == seen:
                    await poll.changed.wait()
                seen = poll.count
                yield poll.result()
        finally:
            poll.readers -= 1
            if not poll.readers:
                poll.task.cancel()
                self._polls.pop(key, None)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [poll.task for poll in self._polls.values()]


def create_detached_task(loop: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
    """A task that serves everybody: nothing of the request that happened to start it (its id, its time budget) goes with it."""
    return asyncio.create_task(loop, name=name, context=Context())


class _Poll(Generic[T]):
    def __init__(self, read: Callable[[], Awaitable[T]], every: timedelta) -> None:
        self.readers = 0
        self.count = 0
        self.changed = asyncio.Event()
        self._found: T | None = None
        self._error: Exception | None = None
        self.task = create_detached_task(self._run(read, every), name="event-streams-watch")

    def result(self) -> T:
        if self._error:
            raise self._error
        return cast(T, self._found)

    async def _run(self, read: Callable[[], Awaitable[T]], every: timedelta) -> None:
        is_outage_logged = False
        while self._error is None:
            try:
                found = await read()
                is_outage_logged = False
                if self.count == 0 or found != self._found:
                    self._found = found
                    self._wake_watchers()
            except Unavailable as outage:
                if not is_outage_logged:
                    log.warning("What event streams watch cannot be read; they wait.", fault=outage.detail)
                is_outage_logged = True
            except Exception as error:
                self._error = error
                self._wake_watchers()
            await asyncio.sleep(every.total_seconds())

    def _wake_watchers(self) -> None:
        self.count += 1
        self.changed.set()
        self.changed = asyncio.Event()
