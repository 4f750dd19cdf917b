"""The way from one server to Redis: open, refused, or slow to answer."""

import asyncio
import contextlib

from .process import free_port

CHUNK = 65536


class Link:
    """A TCP proxy on `port`, one for each server, so that one of them can be cut off alone."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.late_seconds = 0.0
        self._listener: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def accept(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """What is connected is cut; whoever connects is refused, as where nobody listens."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        # A connection that is cut at either end is the business of both ends, and not of the kit.
        with contextlib.suppress(OSError):
            try:
                back, there = await asyncio.open_connection("127.0.0.1", self.target)
                self._open.add(there)
                tasks = [asyncio.ensure_future(self._pipe(reader, there)), asyncio.ensure_future(self._pipe(back, writer, late=True))]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                for each in filter(None, (writer, there)):
                    self._open.discard(each)
                    each.transport.abort()

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, late: bool = False) -> None:
        while chunk := await source.read(CHUNK):
            if late and self.late_seconds:
                await asyncio.sleep(self.late_seconds)
            sink.write(chunk)
            await sink.drain()
