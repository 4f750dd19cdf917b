"""Shuts a web process down without refusing requests: readiness fails first, the port closes later.

At SIGTERM a process goes on serving for DRAIN_SECONDS, so that whoever sends it requests can find out by `/health/ready`; each answer ends
its connection. Only then event streams end, and the server closes its port and waits for the answers under way.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any, cast

import structlog
from quart import Quart, Response, current_app

log = structlog.get_logger()

Handler = Callable[[int, FrameType | None], Any]


def init_drain(app: Quart, period: timedelta) -> None:
    """Call it after `init_live`: the handler installed last runs first."""
    drain = Drain(period)
    app.extensions["drain"] = drain
    app.before_serving(drain.start)
    app.after_serving(drain.stop)


def current_drain() -> "Drain":
    return drain_of(current_app)


def drain_of(app: Quart) -> "Drain":
    return cast(Drain, app.extensions["drain"])


class Drain:
    def __init__(self, period: timedelta) -> None:
        self.period = period
        self.draining = False
        self._before: Handler | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._then: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Wrap the server's own handler of SIGTERM. SIGINT, a person's Ctrl-C, does not wait."""
        self.draining = False
        if threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(signal.SIGTERM)
        if callable(before):
            self._before, self._loop = before, asyncio.get_running_loop()
            signal.signal(signal.SIGTERM, self._handle)

    async def stop(self) -> None:
        if self._then:
            self._then.cancel()
        if self._before:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def end_connection(self, response: Response) -> None:
        if self.draining:
            response.headers["Connection"] = "close"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        assert self._loop
        assert self._before
        if self.draining or not self.period:  # a second one is in a hurry
            self.draining = True
            self._before(number, frame)
            return
        self.draining = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        assert self._loop
        seconds = self.period.total_seconds()
        log.info("Draining: readiness fails, requests are answered, the port closes later.", drain_seconds=seconds)
        self._then = self._loop.call_later(seconds, self._end, number)

    def _end(self, number: int) -> None:
        if self._before:
            self._before(number, None)
