"""What is measured: the peers from their own virtual environment, Holdfast by its own commands, from this commit or another one.

The server has one core; its Redis, PostgreSQL, worker, and whoever asks, have the other one.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil

from benchmarks.speed.client import request
from benchmarks.speed.machine import cores, cpu_seconds, pinned
from tests.servers import redis
from tests.servers.postgresql import PostgresServer
from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory, start_app
from tests.servers.web import ROOT
from tests.waiting import until

HERE = Path(__file__).parent
PEERS_BIN = HERE / ".venv" / "bin"
# Of a process, and for Redis to come into use: on a machine that may have other things to do.
START_LIMIT_SECONDS = 180
PEOPLE = 64
# Each person's first two: a select that chooses what is chosen already might be cheaper.
CHOICES = 2


@dataclass(frozen=True)
class Checkout:
    """A commit of Holdfast whose files are in `root`; `label` is empty for the one that this file is part of."""

    root: Path
    label: str = ""


THIS = Checkout(ROOT)


class Site(Protocol):
    """`key` tells it from the others, `name` is what a table calls it."""

    key: str
    name: str

    async def start(self) -> None: ...

    def stop(self) -> None: ...

    @property
    def port(self) -> int: ...

    def cpu_seconds(self) -> float:
        """Of the processes that answer requests."""

    def requests(self, kind: str) -> Iterator[bytes]:
        """What is asked for one kind of work, by one person after the other. Those of "restore" can be used once."""


class Peer:
    def __init__(self, key: str, name: str, module: str, *, server: str, prepare: bool = False) -> None:
        self.key = key
        self.name = name
        self.module = module
        self.server = server
        self.prepare = prepare

    async def start(self) -> None:
        self.directory = held_directory(self.module)
        _, other_core = cores()
        with pinned(other_core):
            self.redis = redis.start("valkey")
        # HOME: gunicorn keeps a control socket there.
        environ = inherited(self.directory) | {"HOME": str(self.directory), "PYTHONPATH": str(HERE / "apps"), "REDIS_URL": self.redis.url}
        if self.prepare:
            await run([PEERS_BIN / "python", "-m", self.module], cwd=self.directory, env=environ)
        port = free_port()
        listen = {
            "gunicorn": ["--bind", f"127.0.0.1:{port}", "--threads", "4", "--keep-alive", "75"],
            "uvicorn": ["--port", str(port), "--no-access-log", "--loop", "uvloop", "--http", "httptools"],
        }
        command: list[str | Path] = [PEERS_BIN / self.server, "--workers", "1", *listen[self.server], f"{self.module}:app"]
        self.web = ServerProcess(command, port=port, log=self.directory / "log", cwd=self.directory, env=environ)
        server_core, _ = cores()
        with pinned(server_core):
            self.web.start()
        await wait_for(self.web, "/current")
        self.cookies = [await self._sign_in(number) for number in range(PEOPLE)] if self.key != "bare" else [""]

    @property
    def port(self) -> int:
        return self.web.port

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.web.pid)

    def requests(self, kind: str) -> Iterator[bytes]:
        if kind == "select":
            return (request("POST", f"/select/{deal}", cookie) for deal in range(1, CHOICES + 1) for cookie in self.cookies)
        return (request("GET", {"warm": "/current", "nothing": "/empty"}[kind], cookie) for cookie in self.cookies)

    def stop(self) -> None:
        self.web.kill()
        self.redis.remove()
        remove_directory(self.directory)

    async def _sign_in(self, number: int) -> str:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False) as http:
            (await http.post(f"/login/{number}")).raise_for_status()
            return "; ".join(f"{name}={value}" for name, value in http.cookies.items())


class Holdfast:
    """`holdfast web`, and where there is Redis `holdfast worker`, which is what brings Redis into use."""

    SETTINGS = {
        "SECRET_KEY": "only-for-this-comparison" * 2,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
        "PROBE_RISE_SECONDS": "1",
        # Argon2 is as dear as one makes it, and for all the same.
        "PASSWORD_TIME_COST": "1",
        "PASSWORD_MEMORY_KIB": "8",
        **{f"RATE_LIMIT_{what}": "0" for what in ("SELECT", "LIST", "WRITE", "LOGIN", "EXPORT", "RUN")},
    }

    def __init__(
        self, database: str, *, with_redis: bool = True, processes: int = 1, checkout: Checkout = THIS, spare_logins: int = 0
    ) -> None:
        self.key = f"{database}{'' if with_redis else '-alone'}{f'-{processes}' if processes > 1 else ''}"
        self.database = database
        self.with_redis = with_redis
        self.processes = processes
        self.checkout = checkout
        self.spare_logins = spare_logins
        self.postgres: PostgresServer | None = None
        names = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
        self.name = f"Holdfast, {names[database]}{' + Redis' if with_redis else ''}{f', {processes} processes' if processes > 1 else ''}"

    async def start(self) -> None:
        self.directory = held_directory("site")
        server_core, other_core = cores()
        self.environ = inherited(self.directory) | self.SETTINGS | {"PYTHONPATH": str(self.checkout.root)}
        self.environ |= {"DATABASE_URL": self._new_database(), "WEB_CONCURRENCY": str(self.processes)}
        with pinned(other_core):
            self.redis = redis.start("valkey") if self.with_redis else None
            if self.redis:
                self.environ["REDIS_URL"] = self.redis.url
            await run([sys.executable, "-m", "app", "migrate"], cwd=self.directory, env=self.environ)
            self.people = json.loads(await self._fill())
            self.others = [self._process("worker")] if self.redis else []
        with pinned(*((server_core,) if self.processes == 1 else {server_core, other_core})):
            self.web = self._process("web")
        for each in self.others:
            psutil.Process(each.pid).nice(10)  # what it does has time, and shares a core with whoever asks
        await wait_for(self.web, "/health/live")
        if self.redis:
            await until(self._uses_redis, within=START_LIMIT_SECONDS)
        self._spare = iter(self.people["cookies"][PEOPLE:])

    @property
    def port(self) -> int:
        return self.web.port

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.web.pid)

    def requests(self, kind: str) -> Iterator[bytes]:
        cookies, deals = self.people["cookies"][:PEOPLE], self.people["deals"]
        if kind == "select":
            pairs = chain.from_iterable(zip(cookies, (seen[choice] for seen in deals), strict=True) for choice in range(CHOICES))
            return (request("POST", f"/api/deals/{deal}/select", cookie) for cookie, deal in pairs)
        if kind == "page":
            return (request("GET", f"/deals/{seen[0]}/overview", cookie) for cookie, seen in zip(cookies, deals, strict=True))
        if kind == "sign-in":
            return (request("POST", "/api/auth/login", "", self._credentials(email)) for email in self.people["emails"])
        if kind == "restore":
            return (request("GET", "/api/deals/current", cookie) for cookie in self._spare)
        return (request("GET", self.PATHS[kind], cookie) for cookie in cookies)

    PATHS: Mapping[str, str] = {
        "warm": "/api/deals/current",
        "nothing": "/health/live",
        "list": "/deals",
        "board": "/deals/board",
        "api-list": "/api/deals/list?limit=20",
    }

    def stop(self) -> None:
        for each in (self.web, *self.others):
            each.kill()
        if self.redis:
            self.redis.remove()
        remove_directory(self.directory)

    def _new_database(self) -> str:
        if self.database == "sqlite":
            return f"sqlite+aiosqlite:///{self.directory / 'speed.db'}"
        assert self.postgres is not None
        return self.postgres.create_database(migrated=False)

    async def _fill(self) -> str:
        command: list[str | Path] = [sys.executable, HERE / "filling.py", str(PEOPLE), str(self.spare_logins)]
        return await run(command, cwd=self.directory, env=self.environ)

    def _credentials(self, email: str) -> bytes:
        return json.dumps({"email": email, "password": self.people["password"]}).encode()

    def _process(self, kind: str) -> ServerProcess:
        return start_app(kind, directory=self.directory, env=self.environ)

    async def _uses_redis(self) -> bool:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            answer: Any = (await http.get(f"http://127.0.0.1:{self.port}/api/health/session")).json()
            return bool(answer == {"status": "healthy", "backend": "redis"})


class Nothing:
    """The server of `ceiling.py`."""

    key, name = "ceiling", "nothing but an answer"

    async def start(self) -> None:
        self.directory = held_directory("ceiling")
        port = free_port()
        self.web = ServerProcess([sys.executable, HERE / "ceiling.py", str(port)], port=port, log=self.directory / "log")
        server_core, _ = cores()
        with pinned(server_core):
            self.web.start()
        self.web.wait_for_port()

    @property
    def port(self) -> int:
        return self.web.port

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.web.pid)

    def requests(self, kind: str) -> Iterator[bytes]:
        return iter([request("GET", "/api/deals/current", "holdfast_auth=" + 100 * "x")])

    def stop(self) -> None:
        self.web.kill()
        remove_directory(self.directory)


def peers() -> list[Peer]:
    return [
        Peer("bare", "bare Quart", "bare_quart", server="uvicorn"),
        Peer("starsessions", "Starlette + starsessions", "with_starsessions", server="uvicorn"),
        Peer("quart-session", "Quart + quart-session", "with_quart_session", server="uvicorn"),
        Peer("django", "Django cached_db", "with_django", server="gunicorn", prepare=True),
        Peer("flask-session", "Flask-Session + SQL", "with_flask_session", server="gunicorn", prepare=True),
    ]


def inherited(directory: Path) -> dict[str, str]:
    """Nothing of the caller's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"}


async def run(command: list[str | Path], *, cwd: Path, env: Mapping[str, str]) -> str:
    """What it prints. A failure is told with its last words."""
    done = await asyncio.to_thread(subprocess.run, command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stderr[-4000:]}")
    return done.stdout


async def wait_for(process: ServerProcess, path: str) -> None:
    """Any answer below 500 will do."""
    async with httpx.AsyncClient(trust_env=False, timeout=START_LIMIT_SECONDS) as http, asyncio.timeout(START_LIMIT_SECONDS):
        while True:
            process.check_alive()
            try:
                if (await http.get(f"http://127.0.0.1:{process.port}{path}")).status_code < 500:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
