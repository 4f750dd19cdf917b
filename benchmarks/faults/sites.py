"""Starting each site: the peers from their own virtual environment, Holdfast by its own commands. Two processes serve each."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

from benchmarks.faults.visitor import Call, Visitor
from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory, start_app
from tests.servers.web import ROOT
from tests.waiting import until

HERE = Path(__file__).parent
PEERS_BIN = HERE / ".venv" / "bin"
# Holdfast's default. The peers get the same, as the timeout that their libraries offer.
REDIS_TIMEOUT_SECONDS = "0.25"
# Several start at once, on a machine that may have other things to do.
START_LIMIT_SECONDS = 60
PASSWORD = "correct-horse-battery-staple"
NAMES = ("reader", "writer", "leaver", "newcomer")
THEMES = ("light", "dark")


class Site(Protocol):
    name: str

    async def start(self, redis_url: str) -> None:
        """Serving, with Redis in use."""

    def visitor(self) -> Visitor: ...

    async def back_to_normal(self) -> bool:
        """Whether Redis is in use again."""

    def stop(self) -> None: ...


class PeerSpeech:
    def login(self, name: str) -> Call:
        return Call("POST", f"/login/{name}")

    def logout(self) -> Call:
        return Call("POST", "/logout")

    def write(self, key: str, value: int) -> Call:
        return Call("POST", f"/set/{key}/{value}")

    def read(self, key: str) -> Call:
        return Call("GET", "/session")

    def find(self, key: str, body: Any) -> int | None:
        return int(body[key]) if key in body else None


class Peer:
    """`module` of apps/ behind gunicorn or uvicorn. `before` is a module to run once, where there is a database to make."""

    def __init__(self, name: str, module: str, *, server: str, prepare: bool = False) -> None:
        self.name = name
        self.module = module
        self.server = server
        self.prepare = prepare
        self.processes: list[ServerProcess] = []

    async def start(self, redis_url: str) -> None:
        self.directory = held_directory(self.module)
        port = free_port()
        # HOME: gunicorn keeps a control socket there.
        environ = _inherited(self.directory) | {"HOME": str(self.directory), "PYTHONPATH": str(HERE / "apps")}
        environ |= {"REDIS_URL": redis_url, "REDIS_TIMEOUT_SECONDS": REDIS_TIMEOUT_SECONDS}
        if self.prepare:
            await _run([PEERS_BIN / "python", "-m", self.module], cwd=self.directory, env=environ)
        listen = {"gunicorn": ["--bind", f"127.0.0.1:{port}", "--threads", "4"], "uvicorn": ["--port", str(port), "--no-access-log"]}
        command: list[str | Path] = [PEERS_BIN / self.server, "--workers", "2", *listen[self.server], f"{self.module}:app"]
        web = ServerProcess(command, port=port, log=self.directory / "log", cwd=self.directory, env=environ)
        web.start()
        self.processes = [web]
        await _wait_for(web, f"{self.url}/session")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.processes[0].port}"

    def visitor(self) -> Visitor:
        return Visitor(self.url, PeerSpeech())

    async def back_to_normal(self) -> bool:
        """Nothing but Redis serves their logins."""
        return (await self.visitor().login("newcomer")).served

    def stop(self) -> None:
        _end(self.processes, self.directory)


class HoldfastSpeech:
    """Key a is the current deal, key b the person's theme: two keys of one session that two requests change."""

    def __init__(self, deals: tuple[int, ...]) -> None:
        self.deals = deals

    def login(self, name: str) -> Call:
        return Call("POST", "/api/auth/login", {"email": f"{name}@comparison.example", "password": PASSWORD})

    def logout(self) -> Call:
        return Call("POST", "/api/auth/logout")

    def write(self, key: str, value: int) -> Call:
        if key == "a":
            return Call("POST", f"/api/deals/{self.deals[value]}/select")
        return Call("PATCH", "/api/me", {"theme": THEMES[value]})

    def read(self, key: str) -> Call:
        return Call("GET", "/api/deals/current" if key == "a" else "/api/me")

    def find(self, key: str, body: Any) -> int | None:
        if key == "b":
            return THEMES.index(body["user"]["theme"]) if body["user"]["theme"] in THEMES else None
        return self.deals.index(body["deal"]["id"]) if body["deal"] else None


class Holdfast:
    """`holdfast web` and `holdfast worker` with SQLite and default settings but for probe and poll, which are turned down.

    The database with its people and deals is made once, by the commands and the API, and copied for each start.
    """

    name = "Holdfast"
    # A return to Redis is waited for in each scenario; by default it takes ten seconds.
    QUICK = {"PROBE_RISE_SECONDS": "1", "PROBE_INTERVAL_SECONDS": "0.2", "SESSION_BACKEND_POLL_SECONDS": "0.2"}

    def __init__(self) -> None:
        self.template: Path | None = None
        self.deals: tuple[int, ...] = ()
        self.processes: list[ServerProcess] = []

    async def start(self, redis_url: str) -> None:
        if self.template is None:
            await self._make_template()
        assert self.template
        self.directory = held_directory("site")
        shutil.copytree(self.template / "data", self.directory / "data")
        self.environ = self._environ(self.directory) | self.QUICK | {"REDIS_URL": redis_url, "WEB_CONCURRENCY": "2"}
        self.environ["REDIS_TIMEOUT_SECONDS"] = REDIS_TIMEOUT_SECONDS
        self.processes = [self._process("web"), self._process("worker")]
        await _wait_for(self.processes[0], f"{self.url}/health/live")
        await until(self.back_to_normal, within=START_LIMIT_SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.processes[0].port}"

    def visitor(self) -> Visitor:
        return Visitor(self.url, HoldfastSpeech(self.deals))

    async def back_to_normal(self) -> bool:
        """By its health, several times over, as either process may answer."""
        async with httpx.AsyncClient(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0)) as http:
            for _ in range(4):
                if (await http.get(f"{self.url}/api/health/session")).json() != {"status": "healthy", "backend": "redis"}:
                    return False
        return True

    def stop(self) -> None:
        _end(self.processes, self.directory)

    async def _make_template(self) -> None:
        directory = held_directory("template")
        environ = self._environ(directory)
        holdfast: list[str | Path] = [sys.executable, "-m", "app"]
        await _run([*holdfast, "migrate"], cwd=directory, env=environ)
        for name in NAMES:
            person = [f"{name}@comparison.example", "--name", name.title(), "--organisation", "Comparison", "--admin", "--password-stdin"]
            await _run([*holdfast, "user", "add", *person], cwd=directory, env=environ, text=PASSWORD)
        self.directory, self.environ = directory, environ
        self.processes = [self._process("web")]
        await _wait_for(self.processes[0], f"{self.url}/health/live")
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            login = HoldfastSpeech(()).login("writer")
            (await http.request(login.method, login.path, json=login.body)).raise_for_status()
            answers = [await http.post("/api/deals", json={"name": name}) for name in ("Alder", "Beech")]
        self.deals = tuple(int(answer.raise_for_status().json()["deal"]["id"]) for answer in answers)
        # Asked to, so that no process of its fleet seems to live on.
        self.processes.pop().terminate()
        self.template = directory

    def _environ(self, directory: Path) -> dict[str, str]:
        return _inherited(directory) | {"PYTHONPATH": str(ROOT), "SECRET_KEY": "only-for-this-comparison" * 2, "LOG_FORMAT": "json"}

    def _process(self, kind: str) -> ServerProcess:
        return start_app(kind, directory=self.directory, env=self.environ)


def all_sites() -> list[Site]:
    return [
        Peer("Django cached_db", "with_django", server="gunicorn", prepare=True),
        Peer("Flask-Session", "with_flask_session", server="gunicorn"),
        Peer("quart-session", "with_quart_session", server="uvicorn"),
        Peer("starsessions", "with_starsessions", server="uvicorn"),
        Holdfast(),
    ]


def _inherited(directory: Path) -> dict[str, str]:
    """Nothing of the caller's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"}


def _end(processes: list[ServerProcess], directory: Path) -> None:
    while processes:
        processes.pop().kill()
    remove_directory(directory)


async def _run(command: list[str | Path], *, cwd: Path, env: Mapping[str, str], text: str = "") -> None:
    await asyncio.to_thread(subprocess.run, command, cwd=cwd, env=env, input=f"{text}\n", text=True, check=True, stdout=subprocess.DEVNULL)


async def _wait_for(process: ServerProcess, url: str) -> None:
    """Any answer below 500 will do."""
    async with httpx.AsyncClient(trust_env=False, timeout=START_LIMIT_SECONDS) as http, asyncio.timeout(START_LIMIT_SECONDS):
        while True:
            process.check_alive()
            try:
                if (await http.get(url)).status_code < 500:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
