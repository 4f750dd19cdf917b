"""Reads server-sent events as a browser does, over HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx


class Said(NamedTuple):
    event: str
    data: Any
    id: str


class Reader:
    """One open stream. `seen` keeps everything, heartbeats in `beats`."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.seen: list[Said] = []
        self.beats = 0
        self._lines = response.aiter_lines()

    async def next(self) -> Said | None:
        """The next event; None once the stream has ended."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line.startswith(":"):
                self.beats += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                self.seen.append(Said(fields["event"], json.loads(fields["data"]), fields.get("id", "")))
                return self.seen[-1]
            else:
                fields = {}
        return None

    async def until(self, event: str) -> Said:
        """The next event of this name. Raises `EOFError` where the stream ends before."""
        while said := await self.next():
            if said.event == event:
                return said
        raise EOFError(f"the stream ended without {event}: {self.seen}")

    async def to_end(self) -> list[Said]:
        while await self.next():
            pass
        return self.seen


@asynccontextmanager
async def listening(client: httpx.AsyncClient, path: str = "/api/events", **headers: str) -> AsyncIterator[Reader]:
    wants = {"Accept": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with client.stream("GET", path, headers=wants, timeout=20) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield Reader(response)
