"""The load: requests made beforehand, over connections that are kept, by a loop that does little else.

Bytes in, bytes out, on uvloop. What wrk would do, but each request may be another person's, a rate can be kept, and nothing has to be
installed. `ceiling.py` tells how much more it could send than any site here answers.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

ANSWER_LIMIT_SECONDS = 30


class Refused(Exception):
    """An answer that is neither 2xx nor 503: what is measured is work that was done."""


class Busy(Exception):
    """503: the site says that it has too much to do, which a benchmark may well bring about. Counted."""


@dataclass
class Sample:
    """Seconds that each answer took, in the order of their arrival, over `seconds` in all. `refused` were answered by 503."""

    times: list[float] = field(default_factory=list)
    seconds: float = 0
    bytes: int = 0
    refused: int = 0

    async def note(self, answer: "asyncio.Future[int]", began: float) -> None:
        """Wait for the answer to what was sent, or due, when `perf_counter` said `began`."""
        try:
            self.bytes += await answer
        except Busy:
            self.refused += 1
        else:
            self.times.append(time.perf_counter() - began)


def request(method: str, path: str, cookie: str = "", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept-Encoding: gzip"]
    lines += [f"Cookie: {cookie}"] if cookie else []
    lines += ["Content-Type: application/json"] if body else []
    lines += [f"Content-Length: {len(body)}"] if method != "GET" else []
    return "\r\n".join((*lines, "", "")).encode() + body


class Connection(asyncio.Protocol):
    """One request at a time: `ask` waits for the whole answer and returns its size."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._sent = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, sent: bytes) -> "asyncio.Future[int]":
        self._sent, self._buffer = sent, b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(sent)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._answer is not None and not self._answer.done() and is_whole(self._buffer):
            if self._buffer[9:10] == b"2":
                self._answer.set_result(len(self._buffer))
            elif self._buffer[9:12] == b"503":
                self._answer.set_exception(Busy())
            else:
                self._answer.set_exception(Refused(f"{self._sent[:80]!r}… was answered by {self._buffer[:400]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError(f"no answer to {self._sent[:80]!r}"))


def is_whole(answer: bytes) -> bool:
    """Whether head and body have arrived."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    if at >= 0:
        stop = head.find(b"\r\n", at)
        return len(answer) >= end + 4 + int(head[at + 15 : stop if stop >= 0 else end])
    return b"transfer-encoding: chunked" not in head or answer.endswith(b"0\r\n\r\n")


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def closed_loop(port: int, requests: Iterable[bytes], *, connections: int, seconds: float) -> Sample:
    """Each connection sends its next request as soon as it has the answer to the last one."""
    sample, following = Sample(), cycle(requests)
    opened = [await connect(port) for _ in range(connections)]
    began = time.perf_counter()

    async def work(connection: Connection) -> None:
        while (sent := time.perf_counter()) < began + seconds:
            await sample.note(connection.ask(next(following)), sent)

    await _all_of(opened, *(work(connection) for connection in opened))
    sample.seconds = time.perf_counter() - began
    return sample


async def at_rate(port: int, requests: Iterator[bytes], *, rate: float, seconds: float) -> Sample:
    """So many a second, whether or not the last ones are answered; a time begins when the request was due."""
    sample, idle = Sample(), deque[Connection]()
    opened: list[Connection] = []
    began = time.perf_counter()

    async def send(due: float) -> None:
        if idle:
            connection = idle.popleft()
        else:
            connection = await connect(port)
            opened.append(connection)
        await sample.note(connection.ask(next(requests)), due)
        idle.append(connection)

    async def send_all() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                due = began + number / rate
                await asyncio.sleep(due - time.perf_counter())
                group.create_task(send(due))

    await _all_of(opened, send_all())
    sample.seconds = time.perf_counter() - began
    return sample


async def in_bursts(port: int, requests: Iterable[bytes], *, at_once: int, seconds: float) -> Sample:
    """`at_once` in the same moment; the next ones when all are answered."""
    sample, following = Sample(), cycle(requests)
    opened = [await connect(port) for _ in range(at_once)]
    began = time.perf_counter()

    async def send(connection: Connection, due: float) -> None:
        await sample.note(connection.ask(next(following)), due)

    async def send_all() -> None:
        while (due := time.perf_counter()) < began + seconds:
            await asyncio.gather(*(send(connection, due) for connection in opened))

    await _all_of(opened, send_all())
    sample.seconds = time.perf_counter() - began
    return sample


async def once_each(port: int, requests: Iterable[bytes], *, connections: int = 4) -> None:
    """Before the clock runs: sessions begin, caches fill."""
    left = iter(requests)
    opened = [await connect(port) for _ in range(connections)]

    async def work(connection: Connection) -> None:
        for each in left:
            await Sample().note(connection.ask(each), 0)

    await _all_of(opened, *(work(connection) for connection in opened))


async def _all_of(opened: list[Connection], *work: object) -> None:
    try:
        async with asyncio.timeout(ANSWER_LIMIT_SECONDS * 4):
            await asyncio.gather(*work)  # type: ignore[call-overload]
    finally:
        for connection in opened:
            connection.transport.close()
