"""Fixtures: a clean database on every kind of server, Redis, the app, web processes, a browser.

A test that takes `database_url`, or anything built on it, runs on SQLite and on PostgreSQL. `settings` and `app` use
Valkey; `@pytest.mark.parametrize("redis_url", ["none", *KINDS], indirect=True)` widens or narrows that.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from playwright.async_api import Browser
from quart import Quart
from redis.asyncio import Redis

from app.core.config import Settings, load_settings
from app.core.database import Database
from app.core.migrate import upgrade
from app.factory import create_app
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.logs import logging_restored
from tests.made_once import CompiledTemplates, compile_addresses_once
from tests.servers import leash, nursery, redis
from tests.servers.blocking import blocking
from tests.servers.chromium import MISSING, find_chromium, running_browser
from tests.servers.postgresql import PostgresServer, postgres_server
from tests.servers.process import held_directory
from tests.servers.web import WebServer

# Databases are made, filled and dropped a thousand times, and a disk is what that waits for: in memory, where there is enough.
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 4 * 2**30

# Beside other tests a process stands still for longer than a poll of theirs, and then reads from SQL what a test expects from Redis.
STANDSTILL_SECONDS = 30

StartRedis = Callable[..., redis.RedisServer]
StartWeb = Callable[..., Awaitable[WebServer]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("SURROUNDINGS") == "0":
        folders = [Path(__file__).parent / folder for folder in ("surroundings", "model/spin")]
        left_out = [item for item in items if any(item.path.is_relative_to(folder) for folder in folders)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    browser_tests = [item for item in items if item.get_closest_marker("browser")]
    if browser_tests and os.environ.get("BROWSER") == "0":
        config.hook.pytest_deselected(items=browser_tests)
        items[:] = [item for item in items if item not in browser_tests]
    elif browser_tests and not find_chromium() and not hasattr(config, "workerinput"):
        # Not in a worker of pytest-xdist, which would break down over it: there each browser test fails with these words.
        raise pytest.UsageError(MISSING)


def pytest_configure() -> None:
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    compile_addresses_once()
    # Beside other tests an example takes as long as it takes.
    hypothesis_settings.register_profile("beside others", deadline=None)
    hypothesis_settings.load_profile("beside others")


def pytest_unconfigure() -> None:
    nursery.close()
    leash.let_go()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    with logging_restored():
        yield


# Databases


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template() -> Path:
    path = held_directory("sqlite") / "template.db"
    blocking(upgrade, f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of this test's own."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{shutil.copy(request.getfixturevalue('sqlite_template'), tmp_path / 'test.db')}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, for the tests of the migrations."""
    if request.param == "sqlite":
        # The % is there because a URL may hold one, and configuration files give it a meaning.
        yield f"sqlite+aiosqlite:///{tmp_path / 'empty%.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database(migrated=False)
    yield url
    server.drop_database(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, name="holdfast-test")
    yield database
    await database.close()


# Redis


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[Callable[[str], str]]:
    """The URL of the run's server of a kind, started when first asked for."""
    servers: dict[str, redis.RedisServer] = {}

    def url_of(kind: str) -> str:
        if kind == "redis" and os.environ.get("TEST_REDIS_URL"):
            return redis.given_url(os.environ["TEST_REDIS_URL"], os.environ.get("PYTEST_XDIST_WORKER", "gw0"))
        if kind not in servers:
            servers[kind] = redis.start(kind)
        return servers[kind].url

    yield url_of
    for server in servers.values():
        server.remove()


@pytest.fixture(params=redis.KINDS)
async def redis_server(request: pytest.FixtureRequest, redis_servers: Callable[[str], str]) -> str:
    """The URL of an empty Redis; the test runs on every kind there is."""
    return await _emptied(redis_servers(request.param))


@pytest.fixture
async def redis_url(request: pytest.FixtureRequest, redis_servers: Callable[[str], str]) -> str | None:
    """The Redis of `settings`: an empty Valkey, unless parametrised with another kind or "none"."""
    kind = getattr(request, "param", "valkey")
    return None if kind == "none" else await _emptied(redis_servers(kind))


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """`start_redis(kind="valkey", **options)`: a server this test may kill, stop and restart."""
    servers: list[redis.RedisServer] = []

    def start(kind: str = "valkey", **options: str) -> redis.RedisServer:
        servers.append(redis.start(kind, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.remove()


async def _emptied(url: str) -> str:
    async with Redis.from_url(url) as client:
        await client.flushdb()
    return url


# The app


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def environ(database_url: str, redis_url: str | None) -> dict[str, str]:
    """Settings for tests as environment variables: cheap passwords, no rate limits, quick polls."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url or "",
        "SECRET_KEY": "only-for-tests-" * 3,
        "PASSWORD_TIME_COST": "1",
        "PASSWORD_MEMORY_KIB": "8",
        "RATE_LIMIT_SELECT": "0",
        "RATE_LIMIT_LIST": "0",
        "RATE_LIMIT_WRITE": "0",
        "RATE_LIMIT_EXPORT": "0",
        "RATE_LIMIT_RUN": "0",
        "RATE_LIMIT_LOGIN": "0",
        "SESSION_BACKEND_POLL_SECONDS": "0.2",
        # A loaded machine may take its time; how soon Redis is given up is for tests/resilience.
        "REDIS_TIMEOUT_SECONDS": "2",
        "DATABASE_TIMEOUT_SECONDS": "20",
        "PROBE_INTERVAL_SECONDS": "0.05",
        "PROBE_RISE_SECONDS": "0.2",
        "LOG_FORMAT": "json",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return load_settings(environ)


@pytest.fixture(scope="session")
def compiled_templates() -> CompiledTemplates:
    return CompiledTemplates()


@pytest.fixture
async def app(settings: Settings, clock: FakeClock, compiled_templates: CompiledTemplates) -> AsyncIterator[Quart]:
    """The app in this process, its resources open, its time `clock`'s; `app.test_client()` talks to it."""
    app = create_app(settings, clock=clock)
    app.jinja_env.bytecode_cache = compiled_templates
    async with app.test_app():
        app.extensions["holdfast"].backend.standstill.limit = STANDSTILL_SECONDS
        yield app


@pytest.fixture
async def scene(app: Quart) -> Scene:
    """One deal and everybody around it. A module that wants more in it has a `scene` of its own, made of this one."""
    return await Scene.set(app)


@pytest.fixture
def start_web(environ: dict[str, str]) -> Iterator[StartWeb]:
    """`await start_web({...})`: another web process on the test's database and Redis; settings given here win."""
    servers: list[WebServer] = []

    async def start(changes: Mapping[str, str] | None = None) -> WebServer:
        server = WebServer(environ | dict(changes or {}))
        servers.append(server)
        server.start()
        await server.wait_until_ready()
        return server

    yield start
    for server in servers:
        server.remove()


# The browser


@pytest.fixture(scope="session")
def chromium() -> str:
    executable = find_chromium()
    if executable is None:
        pytest.fail(MISSING)
    return executable


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A browser of this test's own. A new context is a new person at a new machine."""
    async with running_browser(chromium) as browser:
        yield browser
