"""Limits on who may connect and how slow a connection may be, shared by all connections of a web process.

One sweep a second checks every connection, so that requests need no timers of their own.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import structlog

from app.core.config import Settings
from app.core.hosts import network_of
from app.core.metrics import METRICS
from app.core.trusted_proxies import TrustedProxies

log = structlog.get_logger()

SWEEP_SECONDS = 1.0
LOG_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits on a client before the application sees its request."""

    max_connections: int
    max_connections_per_address: int
    max_header_bytes: int
    head_seconds: float
    # Bytes a second that a body, and an answer, must move; a stall of `stall_seconds` is forgiven.
    min_rate: int
    stall_seconds: float
    # nginx allows 8 KiB, Apache 8190 bytes; our longest addresses, filters of a list, are shorter than 4 KiB.
    max_request_line: int = 16 * 1024
    max_headers: int = 100
    # Of what is wrapped around a chunked body, beyond as much again as the body itself; and in a row, such as trailers that never end.
    max_chunk_overhead: int = 64 * 1024
    max_chunk_silence: int = 16 * 1024
    # Requests sent ahead of their answers. Browsers and proxies send none.
    max_pipelined: int = 16
    # Above all that the application takes or throws away (`uploads.MAX_DISCARDED_BODY`).
    max_body: int = 257 * 1024 * 1024
    # For the rest of a body whose answer is sent: a browser shows an answer only once it has sent everything.
    linger_seconds: float = 300.0
    # For a client to take what is left of its answer once the connection is to be closed.
    close_seconds: float = 30.0

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        return cls(
            max_connections=settings.max_connections,
            max_connections_per_address=settings.max_connections_per_address,
            max_header_bytes=settings.max_header_bytes,
            head_seconds=settings.request_head.total_seconds(),
            min_rate=settings.min_bytes_per_second,
            stall_seconds=settings.stall.total_seconds(),
        )


class Connection(Protocol):
    address: str

    def sweep(self, now: float, elapsed: float) -> None:
        """Close the connection if it takes too long."""

    def waiting_since(self) -> float | None:
        """Since when it has been idle; None while a request is under way."""

    def close_to_make_room(self) -> None:
        """Close an idle connection so that another may connect."""


class Gate:
    """Goes to each web process with its server, empty."""

    def __init__(self, limits: ConnectionLimits, trusted: str) -> None:
        self.limits = limits
        self._proxies = TrustedProxies(trusted)
        self.connections: dict[Connection, str] = {}
        self._per_address: Counter[str] = Counter()
        self._sweeping: asyncio.TimerHandle | None = None
        self._swept_at = 0.0
        self._logged: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()

    def enter(self, connection: Connection) -> str | None:
        """None if it may stay, else the reason."""
        address = connection.address
        key = network_of(address)
        if not self.is_trusted(address) and self._per_address[key] >= self.limits.max_connections_per_address:
            return "connections_of_address"
        if len(self.connections) >= self.limits.max_connections and not self._make_room():
            return "connections"
        self.connections[connection] = key
        self._per_address[key] += 1
        if self._sweeping is None:
            self._sweep_later()
        return None

    def leave(self, connection: Connection) -> None:
        key = self.connections.pop(connection, None)
        if key is not None:
            self._per_address[key] -= 1
            if self._per_address[key] <= 0:
                del self._per_address[key]

    def is_trusted(self, address: str) -> bool:
        """Whether it is a proxy of ours, which speaks for many (FORWARDED_ALLOW_IPS), or no network address at all."""
        return not address or self._proxies.trust(address)

    def count_refusal(self, reason: str, address: str) -> None:
        """Count a refusal, and log it: at most one line in ten seconds for each reason, with how many there were besides."""
        METRICS.connections_refused.labels(reason).inc()
        now = asyncio.get_running_loop().time()
        if now - self._logged.get(reason, -LOG_EVERY_SECONDS) < LOG_EVERY_SECONDS:
            self._unlogged[reason] += 1
            return
        self._logged[reason] = now
        besides = self._unlogged.pop(reason, 0)
        log.warning(
            "A connection was refused or closed before the application saw its request.", reason=reason, address=address, besides=besides
        )

    def _make_room(self) -> bool:
        """Close whoever has been waiting longest without a request under way, unless it is a proxy, which may be about to use it."""
        waiting = [(since, each) for each in self.connections if (since := each.waiting_since()) is not None]
        strangers = [(since, each) for since, each in waiting if not self.is_trusted(each.address)]
        if not strangers:
            return False
        _, longest = min(strangers, key=lambda found: found[0])
        self.leave(longest)
        self.count_refusal("made_room", longest.address)
        longest.close_to_make_room()
        return True

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._swept_at = loop.time()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        # If this process itself stood still, no client is at fault.
        elapsed = min(now - self._swept_at, 2 * SWEEP_SECONDS)
        for connection in list(self.connections):
            connection.sweep(now, elapsed)
        self._sweeping = None
        if self.connections:
            self._sweep_later()


def plain_address(address: str) -> str:
    """An IPv4 address as it is, where a socket for both families spells it ::ffff:192.0.2.1."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address
