"""The web server: uvicorn with our limits in front, on sockets we opened, in one process or several."""

import asyncio
import contextlib
import resource
import socket
import time
from datetime import timedelta
from functools import partial
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from app.core.config import Settings
from app.core.port import open_sockets, place, refuse_new_connections, refuse_port_in_use
from app.server.gate import ConnectionLimits, Gate
from app.server.protocol import GuardedProtocol

log = structlog.get_logger()

# A process manager kills after ten seconds; what is left of them once the port is closed is for the answers under way.
GRACE = timedelta(seconds=8)
MIN_GRACE = timedelta(seconds=3)
# For connections that the kernel has completed and no process has accepted yet.
ACCEPT_GRACE = timedelta(milliseconds=200)
# Files and connections beside those of visitors: databases, Redis, static files.
OTHER_FILES = 256


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises ConfigError if HOST and PORT cannot be bound."""
    refuse_port_in_use(settings)
    sockets = open_sockets(settings)
    _allow_files(settings.max_connections + OTHER_FILES)
    config = make_config(settings)
    log.info(f"Listening on http://{place(settings)}")
    if settings.web_concurrency > 1:
        _Processes(config, sockets, settings.drain_seconds).run()
        return
    server = _Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    if not server.started:
        raise SystemExit(3)


def make_config(settings: Settings) -> uvicorn.Config:
    gate = Gate(ConnectionLimits.of(settings), settings.forwarded_allow_ips)
    return uvicorn.Config(
        "app.asgi:app",
        host=settings.host,
        port=settings.port,
        workers=settings.web_concurrency,
        loop="uvloop",
        http=cast(Any, partial(GuardedProtocol, gate=gate)),
        ws="none",
        proxy_headers=False,  # app/http/proxies.py reads them
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=cast(int, settings.keep_alive.total_seconds()),
        timeout_graceful_shutdown=int(max(GRACE - settings.drain_seconds, MIN_GRACE).total_seconds()),
    )


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve connections that have reached the port: one not accepted would be reset, and a proxy would answer 502."""
        for each in sockets or ():
            refuse_new_connections(each)
        if sockets:
            await asyncio.sleep(ACCEPT_GRACE.total_seconds())
        await super().shutdown(sockets)


class _Processes(Multiprocess):
    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], drain: timedelta) -> None:
        super().__init__(config, sockets)
        self._drain = drain

    def terminate_all(self) -> None:
        """As one process ends. The port is one for all: each of them ends alone at times, and must not close it to newcomers."""
        if self._drain > ACCEPT_GRACE:
            super().terminate_all()
            self._wait(self._drain - ACCEPT_GRACE)
        for each in self.sockets:
            refuse_new_connections(each)
        if self._drain <= ACCEPT_GRACE:
            self._wait(ACCEPT_GRACE)
            super().terminate_all()
        # The port closes with the last process that serves it. Held open here, it would go on taking connections nobody answers.
        for each in self.sockets:
            each.close()

    def _wait(self, period: timedelta) -> None:
        """Stop waiting once all have ended, as after a second signal."""
        end = time.monotonic() + period.total_seconds()
        while time.monotonic() < end and any(each.process.is_alive() for each in self.processes):
            time.sleep(0.02)


def _allow_files(wanted: int) -> None:
    """Raise this process's own limit of open files, as far as it may, to what MAX_CONNECTIONS needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        if allowed < wanted:
            log.warning(f"MAX_CONNECTIONS needs {wanted} open files, and {hard} are allowed: raise the limit (ulimit -n), or lower it.")
