"""The fence of a session's write on PostgreSQL, seen from two connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import make_url

from tests.waiting import until

FENCE = "SELECT session_fence('sql', 0)"
ALONE = "SELECT pg_advisory_xact_lock(7301)"
RISE = "UPDATE session_backend SET mode = 'redis', epoch = epoch + 1"

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    url = make_url(database_url).set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False), server_settings={"lock_timeout": "200ms"})
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize(("mode", "epoch", "open_"), [("sql", 0, True), ("sql", 1, False), ("redis", 0, False)])
async def test_fence_is_open_only_while_the_flag_is_what_the_writer_saw(database_url: str, mode: str, epoch: int, open_: bool) -> None:
    async with connected(database_url) as writer, writer.transaction():
        assert await writer.fetchval("SELECT session_fence($1, $2)", mode, epoch) is open_


async def test_flag_cannot_rise_while_a_writer_is_past_the_fence(database_url: str) -> None:
    async with connected(database_url) as writer, connected(database_url) as riser:
        async with writer.transaction():
            assert await writer.fetchval(FENCE)
            with pytest.raises(asyncpg.LockNotAvailableError):
                async with riser.transaction():
                    await riser.execute(ALONE)
        async with riser.transaction():
            await riser.execute(ALONE)
            await riser.execute(RISE)
        assert not await writer.fetchval(FENCE)


async def test_writers_do_not_wait_for_each_other(database_url: str) -> None:
    async with connected(database_url) as writer, connected(database_url) as other, writer.transaction(), other.transaction():
        assert await writer.fetchval(FENCE)
        assert await other.fetchval(FENCE)


async def test_transaction_begun_before_a_rise_sees_it_at_the_fence(database_url: str) -> None:
    async with connected(database_url) as writer, connected(database_url) as riser, writer.transaction():
        assert await writer.fetchval("SELECT mode FROM session_backend") == "sql"
        await riser.execute(RISE)
        assert not await writer.fetchval(FENCE)


async def test_writer_that_waited_for_a_rise_sees_it(database_url: str) -> None:
    """The snapshot of the waiting statement is older than the rise; only a later statement inside the function sees it."""
    async with connected(database_url) as writer, connected(database_url) as riser, connected(database_url) as watcher:
        await writer.execute("SET lock_timeout = '10s'")
        rising = riser.transaction()
        await rising.start()
        await riser.execute(ALONE)
        await riser.execute(RISE)
        fence = asyncio.create_task(writer.fetchval(FENCE))
        await until(lambda: watcher.fetchval("SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        await rising.commit()
        assert await fence is False
