"""What a scenario happens to: the servers of one layer, and a Redis of their own behind a link for each."""

import asyncio
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Protocol

import httpx

from .history import History
from .layer import Layer
from .link import Link
from .process import START_LIMIT_SECONDS, Process, free_port
from .redis import Redis
from .visitor import Visitor

# What the kit gives every server: long enough for a busy machine, and short enough that a silent Redis is noticed, also after retries.
REDIS_TIMEOUT_SECONDS = "0.5"


class Need(Enum):
    TWO_SERVERS = "a second server: give --adapter twice"
    PROCESSES = "the kit to start the servers: --start"
    REDIS = "the kit's own Redis: --start with {redis}, or REDIS_URL"


class RedisFaults(Protocol):
    async def kill(self) -> None: ...
    async def restart(self) -> None: ...
    async def hang(self) -> None: ...
    async def wake(self) -> None: ...
    async def fill(self) -> None: ...
    async def make_room(self) -> None: ...
    async def flush(self) -> None: ...
    async def save(self) -> None: ...
    async def evict(self) -> None: ...
    async def keys_read(self) -> int: ...


class Server(Protocol):
    url: str
    transport: httpx.AsyncBaseTransport

    async def pause(self) -> None: ...
    async def resume(self) -> None: ...
    async def kill(self) -> None: ...
    async def start(self) -> None: ...
    async def cut_off(self) -> None: ...
    async def reconnect(self) -> None: ...
    async def answer_late(self, seconds: float) -> None: ...


class Site:
    """`redis` is absent where the kit was only given addresses."""

    def __init__(self, servers: list[Server], redis: RedisFaults | None, history: History | None = None) -> None:
        self.servers = servers
        self._redis = redis
        self.history = history or History()

    @property
    def redis(self) -> RedisFaults:
        assert self._redis is not None
        return self._redis

    def visitor(self) -> Visitor:
        return Visitor([server.transport for server in self.servers], [server.url for server in self.servers], self.history)


class FoundServer:
    """Somebody else's: it can be asked, and nothing can be done to it."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.transport: httpx.AsyncBaseTransport = new_transport()

    async def pause(self) -> None:
        raise NotImplementedError

    resume = kill = start = cut_off = reconnect = pause

    async def answer_late(self, seconds: float) -> None:
        raise NotImplementedError


class StartedServer:
    def __init__(self, process: Process, port: int, link: Link) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.transport: httpx.AsyncBaseTransport = new_transport()
        self._process = process
        self._link = link

    async def pause(self) -> None:
        self._process.stop()

    async def resume(self) -> None:
        self._process.cont()

    async def kill(self) -> None:
        await asyncio.to_thread(self._process.kill)

    async def start(self) -> None:
        """Returns once it answers, with anything below 500."""
        self._process.start()
        deadline = time.monotonic() + START_LIMIT_SECONDS
        http = httpx.AsyncClient(transport=self.transport, base_url=self.url, timeout=START_LIMIT_SECONDS)
        while True:
            self._process.check_alive()
            try:
                if (await http.get("/whoami")).status_code < 500:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.url} does not serve within {START_LIMIT_SECONDS} s")
            await asyncio.sleep(0.05)

    async def cut_off(self) -> None:
        await self._link.refuse()

    async def reconnect(self) -> None:
        await self._link.accept()

    async def answer_late(self, seconds: float) -> None:
        """Redis' answers reach this server so much later."""
        self._link.late_seconds = seconds


class Launcher:
    """Starts sites of one layer; what `prepare` makes is made once."""

    def __init__(self, layer: Layer, redis_binary: Path | None = None) -> None:
        self.layer = layer
        self._redis_binary = redis_binary
        self._lock = asyncio.Lock()
        self._prepared: Path | None = None
        self._stack = AsyncExitStack()

    def offers(self) -> set[Need]:
        if self.layer.urls:
            return {Need.TWO_SERVERS} if len(self.layer.urls) > 1 else set()
        return {Need.PROCESSES, Need.REDIS} | ({Need.TWO_SERVERS} if self.layer.servers > 1 else set())

    async def close(self) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Site]:
        if self.layer.urls:
            yield Site([FoundServer(url) for url in self.layer.urls], None)
            return
        async with AsyncExitStack() as stack:
            directory = temporary_directory(stack)
            site = directory / "site"
            shutil.copytree(await self._prepare(), site)
            environ = self._environ(directory)
            redis = Redis(directory, self._redis_binary, environ)
            stack.push_async_callback(asyncio.to_thread, redis.process.kill)
            await redis.start()
            servers: list[Server] = []
            for number in range(self.layer.servers):
                link = Link(redis.port)
                redis.links.append(link)
                await link.accept()
                stack.push_async_callback(link.refuse)
                port = free_port()
                own = {"PORT": str(port), "REDIS_URL": f"redis://127.0.0.1:{link.port}/0", "SITE_DIR": str(site)}
                process = Process(
                    self._command(self.layer.start, own),
                    log=directory / f"server-{number}.log",
                    cwd=self.layer.folder,
                    environ=environ | own,
                )
                stack.push_async_callback(asyncio.to_thread, process.kill)
                servers.append(StartedServer(process, port, link))
            await asyncio.gather(*(server.start() for server in servers))
            yield Site(servers, redis)

    async def _prepare(self) -> Path:
        async with self._lock:
            if self._prepared is None:
                self._prepared = temporary_directory(self._stack)
                if self.layer.prepare:
                    # Nobody is at this address: what is prepared must be whole without Redis.
                    own = {"SITE_DIR": str(self._prepared), "REDIS_URL": "redis://127.0.0.1:1/0"}
                    environ = self._environ(self._prepared) | own
                    await asyncio.to_thread(
                        subprocess.run, self._command(self.layer.prepare, own), cwd=self.layer.folder, env=environ, check=True
                    )
            return self._prepared

    def _command(self, command: str, own: dict[str, str]) -> list[str]:
        filled = {"{port}": own.get("PORT", ""), "{redis}": own["REDIS_URL"], "{dir}": own["SITE_DIR"]}
        words = shlex.split(command)
        for placeholder, value in filled.items():
            words = [word.replace(placeholder, value) for word in words]
        # A program beside the adapter, such as that of a virtual environment, is meant from its folder.
        if "/" in words[0]:
            words[0] = str((self.layer.folder / words[0]).absolute())
        return words

    def _environ(self, directory: Path) -> dict[str, str]:
        kept = os.environ if self.layer.inherits else {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return dict(kept) | {
            "HOME": os.environ.get("HOME", "/") if self.layer.inherits else str(directory),
            "TMPDIR": str(directory),
            "PYTHONUNBUFFERED": "1",
            "REDIS_TIMEOUT_SECONDS": REDIS_TIMEOUT_SECONDS,
        }


def temporary_directory(stack: AsyncExitStack) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    return directory


def new_transport() -> httpx.AsyncHTTPTransport:
    """Each request opens a connection, as from another browser behind a load balancer."""
    return httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
