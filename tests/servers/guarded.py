"""The web server's protocol on a real socket, in this process, with limits of a test's own; and a client that writes what it likes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import uvicorn

from app.core.metrics import METRICS
from app.server.gate import ConnectionLimits, Gate
from app.server.protocol import GuardedProtocol
from tests.waiting import until

LIMITS: dict[str, Any] = {
    "max_connections": 50,
    "max_connections_per_address": 40,
    "max_header_bytes": 8192,
    "head_seconds": 30,
    "min_rate": 500,
    "stall_seconds": 30,
}


@dataclass
class Site:
    """An application that says what it was asked, and remembers it."""

    gate: Gate
    port: int
    seen: list[str] = field(default_factory=list)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    # Answers beyond a word: so many bytes.
    answer_bytes: int = 0
    # Until it is set nothing is answered.
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    disconnects: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(f"{scope['method']} {scope['path']}")
        self.headers.append(list(scope["headers"]))
        self.clients.append(scope["client"][0])
        body = b""
        if scope["path"] != "/unread":
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.disconnects += 1
                    return
                body += message["body"]
                if not message["more_body"]:
                    break
        self.bodies.append(body)
        await self.may_answer.wait()
        text = scope["path"].encode() + b"x" * self.answer_bytes
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(text)).encode())]})
        await send({"type": "http.response.body", "body": text})


@asynccontextmanager
async def guarded_site(*, trusted: str = "192.0.2.1", host: str = "127.0.0.1", keep_alive: int = 30, **limits: Any) -> AsyncIterator[Site]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, 0))
        site = Site(Gate(ConnectionLimits(**LIMITS | limits), trusted), listener.getsockname()[1])
        site.may_answer.set()
        http = cast(Any, partial(GuardedProtocol, gate=site.gate))
        config = uvicorn.Config(
            cast(Any, site), http=http, ws="none", lifespan="off", log_config=None, proxy_headers=False, timeout_keep_alive=keep_alive
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started, within=10)
        try:
            yield site
        finally:
            site.may_answer.set()
            server.should_exit = server.force_exit = True
            await serving


class Client:
    """A connection that is written to byte by byte, and read as it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """As far as the server takes it: a connection it closed is no error."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            pass

    async def rest(self, *, within: float = 10) -> bytes:
        """All there is until the server closes. Raises `TimeoutError` where it does not."""
        got = b""
        async with asyncio.timeout(within):
            try:
                while piece := await self.reader.read(65536):
                    got += piece
            except ConnectionError:
                pass
        return got

    async def line(self, *, within: float = 10) -> bytes:
        async with asyncio.timeout(within):
            return await self.reader.readline()


@asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def ask(port: int, data: bytes, *, within: float = 10) -> bytes:
    """Everything the server says to these bytes, which have to end the connection."""
    async with connected(port) as client:
        await client.send(data)
        return await client.rest(within=within)


GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"

POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"

LAST = b"Connection: close\r\n\r\n"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def refusals(reason: str) -> float:
    return float(METRICS.connections_refused.labels(reason)._value.get())
