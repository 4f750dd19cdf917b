"""Connections ended by the server or a pooler while they are idle cost nobody anything, also at the moment of their next use."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import literal, make_url, select, text

from app.core.database import CONNECTIONS, Database
from app.core.errors import DatabaseUnavailable
from app.core.lookups import Lookup
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgresServer
from tests.waiting import until

ONE = Lookup(select(literal(1).label("one")))


@pytest.fixture(params=["idle_session_timeout", "client_idle_timeout"])
def ending(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[tuple[str, float]]:
    """Where to connect, and after how many idle seconds a connection is ended."""
    url = postgres.create_database()
    if request.param == "idle_session_timeout":
        postgres.execute(f"ALTER DATABASE {make_url(url).database} SET idle_session_timeout = '100ms'")
        yield url, 0.1
    else:
        pooler = PgBouncer(url, "transaction", client_idle_timeout="1", server_idle_timeout="1", server_lifetime="1")
        pooler.start()
        yield pooler.url_of(url), 1
        pooler.remove()
    postgres.drop_database(url)


async def test_a_goodbye_on_its_way_costs_nobody_anything(ending: tuple[str, float]) -> None:
    """Each comes back about when its connection is ended: before the goodbye is there a statement would be the one to find out."""
    url, idle = ending
    database = Database(url, name="holdfast-test")

    async def read() -> None:
        async with database.read() as db:
            await db.execute(text("SELECT 1"))

    async def look_up() -> None:
        await database.look_up(ONE)

    async def come_and_go(ask: Callable[[], Awaitable[None]]) -> int:
        failed, end = 0, time.monotonic() + 4
        while time.monotonic() < end:
            try:
                await ask()
            except DatabaseUnavailable:
                failed += 1
            due = time.monotonic() + idle + random.uniform(-0.003, 0.005)
            await until(lambda due=due: time.monotonic() >= due)  # type: ignore[misc]
        return failed

    try:
        assert await asyncio.gather(*(come_and_go(ask) for ask in (read, look_up) for _ in range(4))) == [0] * 8
    finally:
        await database.close()


async def test_all_connections_terminated_under_load(postgres: PostgresServer) -> None:
    """Only who is in the middle of something hears of it, once, and in time."""
    url = postgres.create_database()
    database, over = Database(url, name="holdfast-load"), asyncio.Event()
    served = [0] * (3 * CONNECTIONS)
    failed: list[float] = []

    async def work(at: int) -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                async with database.read() as db:
                    await db.execute(text("SELECT 1"))
                served[at] += 1
            except DatabaseUnavailable:
                failed.append(time.monotonic() - began)

    tasks = [asyncio.create_task(work(at)) for at in range(len(served))]
    try:
        for _ in range(3):
            await until(lambda before=list(served): all(now > then + 2 for now, then in zip(served, before, strict=True)), within=20)  # type: ignore[misc]
            await asyncio.to_thread(
                postgres.execute, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast-load'"
            )
        await until(lambda before=list(served): all(now > then + 2 for now, then in zip(served, before, strict=True)), within=20)  # type: ignore[misc]
    finally:
        over.set()
        await asyncio.gather(*tasks)
        await database.close()
        postgres.drop_database(url)
    assert len(failed) <= 3 * CONNECTIONS
    assert max(failed, default=0) < 3


async def test_the_drivers_seam_is_where_it_was(postgres: PostgresServer) -> None:
    """What app/core/postgresql.py uses of SQLAlchemy's asyncpg dialect undocumented: one place that sends BEGIN, if it was not sent."""
    database = Database(postgres.url_of("postgres"), name="holdfast-test")
    try:
        async with database.engines[0].connect() as connection:
            raw = (await connection.get_raw_connection()).dbapi_connection
            assert raw is not None
            assert raw._transaction is not None, (
                "SQLAlchemy keeps the driver's transaction elsewhere: see _begin() in app/core/postgresql.py"
            )
            assert await connection.scalar(text("SELECT now() = statement_timestamp()")) is False
    finally:
        await database.close()
