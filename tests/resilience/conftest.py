"""Whole sites to break: one per module and kind of database, its Redis its own."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.resilience.matrix import IS_FULL
from tests.resilience.site import COMPLAINTS, SETTINGS, People, Site, WorkerProcess
from tests.servers import redis
from tests.servers.postgresql import PostgresServer
from tests.servers.postgresql import private_postgres as postgres_of_its_own
from tests.servers.process import held_directory, remove_directory

StartWorker = Callable[..., WorkerProcess]
Tell = Callable[[str, object], None]
# Which Redis each database is paired with, so that both kinds there are meet every fault.
PAIRS = {"sqlite": "valkey", "postgresql": redis.PRIVATE_KINDS[-1]}


@pytest.fixture(scope="module", autouse=True)
def what_was_done_is_what_the_model_can_do() -> Iterator[None]:
    """Of every site of the module, and found at its end."""
    yield
    complaints, COMPLAINTS[:] = COMPLAINTS[:], []
    assert complaints == []


@pytest.fixture(scope="module")
def private_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL these tests may kill and stop."""
    with postgres_of_its_own() as server:
        server.prepare()
        yield server


@pytest.fixture(scope="module", params=PAIRS)
def site_database(request: pytest.FixtureRequest, sqlite_template: Path) -> Iterator[str]:
    if request.param == "sqlite":
        directory = held_directory("site")
        yield f"sqlite+aiosqlite:///{shutil.copy(sqlite_template, directory / 'site.db')}"
        remove_directory(directory)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="module")
def standing_site(request: pytest.FixtureRequest, site_database: str) -> Iterator[Site]:
    """Two web processes and a worker, recorded where the module says so. Use it as `site`, which is whole again before each test."""
    store = redis.start(PAIRS["sqlite" if site_database.startswith("sqlite") else "postgresql"])
    site = Site(site_database, store, recorded=getattr(request.module, "RECORDED", IS_FULL))
    try:
        site.start()
        yield site
    finally:
        site.remove()
        store.remove()


@pytest.fixture
async def site(standing_site: Site) -> Site:
    await standing_site.wait_for_redis()
    return standing_site


@pytest.fixture
async def people(site: Site) -> AsyncIterator[People]:
    async with People.of(site) as people:
        yield people


@pytest.fixture
def start_worker(environ: dict[str, str]) -> Iterator[StartWorker]:
    """`start_worker({...})`: another worker on the test's database and Redis; settings given here win."""
    workers: list[WorkerProcess] = []

    def start(changes: Mapping[str, str] | None = None) -> WorkerProcess:
        workers.append(WorkerProcess(environ | SETTINGS | dict(changes or {})))
        workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        worker.remove()


@pytest.fixture
def tell(request: pytest.FixtureRequest, record_property: Tell) -> Tell:
    """`tell("first hit", "12 ms")`: a figure for the report of the run."""

    def tell(name: str, value: object) -> None:
        record_property(f"{request.node.name}: {name}", value)

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
