"""A TCP proxy between one process and one server: late, silent, cut off or refusing, or holding back one command of many."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from tests.servers.process import free_port
from tests.waiting import until

CHUNK = 65536
T = TypeVar("T")


@dataclass
class Trap:
    """Stops the first connection whose request matches: the request is kept from the server, or its answer from the client."""

    matches: Callable[[bytes], bool]
    keeps: Literal["request", "answer"]
    sprung: threading.Event = field(default_factory=threading.Event)


class TcpProxy:
    """Listens on `port` in a thread of its own, so that it serves while a test blocks. `target` may be another port later."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.latency = 0.0  # seconds by which each answer is late
        self.silent = False  # nothing gets through; what was sent meanwhile arrives afterwards, as after a cable is plugged in again
        self._trap: Trap | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener = self._run(self._listen())

    @property
    def connections(self) -> frozenset[asyncio.Task[None]]:
        """Each is done when both sides have been told of its end."""
        return frozenset(self._connections)

    def accept(self) -> None:
        self._refusing = False

    def refuse(self) -> None:
        """Whoever connects is turned away, and what was connected is cut."""
        self._refusing = True
        self.cut()

    def cut(self) -> None:
        """Connections end; new ones are welcome."""
        self._run(self._cut())

    def trap(self, matches: Callable[[bytes], bool], *, keeps: Literal["request", "answer"]) -> threading.Event:
        """Set once a request that `matches` has come, and, where it keeps the answer, been answered."""
        self._trap = Trap(matches, keeps)
        return self._trap.sprung

    def close(self) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._listener.close)
        # Not at once: a connection that was cut is closed in the next turn of the loop.
        self._loop.call_soon_threadsafe(self._loop.call_later, 0.02, self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._welcome, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        connection = self._loop.create_task(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        connection.add_done_callback(lambda _: writer.transport.abort())  # also of one that was cut before it began

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        caught: list[Trap] = []
        try:
            answers, upstream = await self._reach()
            ways = self._forward(reader, upstream, caught), self._give_back(answers, writer, caught)
            tasks = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except OSError:
            pass  # the server is away, and so is its proxy
        finally:
            if upstream:
                upstream.transport.abort()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _forward(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, caught: list[Trap]) -> None:
        while chunk := await reader.read(CHUNK):
            await self._sound()
            trap = self._trap
            if trap and trap.matches(chunk):
                self._trap = None
                caught.append(trap)
                if trap.keeps == "request":
                    trap.sprung.set()
                    await asyncio.Event().wait()
            upstream.write(chunk)
            await upstream.drain()

    async def _give_back(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, caught: list[Trap]) -> None:
        while chunk := await answers.read(CHUNK):
            await asyncio.sleep(self.latency)
            await self._sound()
            if caught:
                caught[0].sprung.set()
                await asyncio.Event().wait()
            writer.write(chunk)
            await writer.drain()

    async def _sound(self) -> None:
        await until(lambda: not self.silent, within=600)


class Balancer(TcpProxy):
    """One address for several servers, in turn; whoever does not listen is passed over."""

    def __init__(self, targets: Sequence[int]) -> None:
        self.turns = [*targets]
        super().__init__(targets[0])

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.turns.append(self.turns.pop(0))
        for target in self.turns[:-1]:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", target)
        return await asyncio.open_connection("127.0.0.1", self.turns[-1])
