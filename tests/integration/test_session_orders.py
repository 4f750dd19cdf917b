"""Orders of events in which a promise of docs/sessions.md once broke: processes that overtake each other, calls that get lost."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Connection
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy import insert, make_url, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import load_settings
from app.core.database import COMMIT_SECONDS
from app.core.metrics import METRICS
from app.core.time_budget import set_time_budget
from app.core.transactions import Transaction
from app.models import Login, Session, SessionBackend
from app.resources import Resources, make_resources, record_flip
from app.sessions.holds import WriteHolds
from app.sessions.notes import begin_notes
from app.sessions.raise_epoch import raise_epoch
from app.sessions.token import hash_token
from tests.conftest import StartRedis
from tests.factories import make_user
from tests.fakes import FakeClock
from tests.integration.conftest import KEY, StartServer, set_key, sign_in, waits_for_a_row
from tests.resilience.proxy import TcpProxy
from tests.waiting import until

NEW = hash_token("the new token")
# Longer than these tests: what they see is not seen by a poll.
NO_POLL = {"SESSION_BACKEND_POLL_SECONDS": "5", "REDIS_TIMEOUT_SECONDS": "0.25"}


@pytest.fixture
def proxy(start_redis: StartRedis) -> Any:
    proxy = TcpProxy(start_redis().port)
    yield proxy
    proxy.silent = False
    proxy.close()


@asynccontextmanager
async def opened(environ: dict[str, str], clock: FakeClock, redis_port: int) -> AsyncIterator[Resources]:
    settings = load_settings(environ | NO_POLL | {"REDIS_URL": f"redis://127.0.0.1:{redis_port}/0"})
    resources = make_resources(settings, kind="web", clock=clock)
    await resources.open()
    try:
        yield resources
    finally:
        await resources.close()


async def row_of(resources: Resources) -> SessionBackend:
    async with resources.database.read() as db:
        return (await db.execute(select(SessionBackend))).scalar_one()


@pytest.fixture
def before_next_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[Resources], tuple[asyncio.Event, asyncio.Event]]:
    """The next transaction of this process waits, as for a connection or for BEGIN IMMEDIATE: (it has come, let it go on)."""

    def stop(resources: Resources) -> tuple[asyncio.Event, asyncio.Event]:
        arrived, go_on, write = asyncio.Event(), asyncio.Event(), resources.database.write

        @asynccontextmanager
        async def slow_write() -> AsyncIterator[AsyncSession]:
            monkeypatch.setattr(resources.database, "write", write)
            arrived.set()
            await go_on.wait()
            async with write() as db:
                yield db

        monkeypatch.setattr(resources.database, "write", slow_write)
        return arrived, go_on

    return stop


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_bulk_change_that_waited_for_a_rotate_reaches_the_new_token(
    servers: StartServer, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await servers()
    record = (await resources.sessions.read(KEY)).record
    assert record is not None
    rotating, rotate_on, changing, change_on = (asyncio.Event() for _ in range(4))
    await_holds = WriteHolds.await_holds

    async def slow_await_holds(self: WriteHolds, db: AsyncSession) -> None:
        here, on = (rotating, rotate_on) if self.backend is resources.backend else (changing, change_on)
        here.set()
        await on.wait()
        await await_holds(self, db)

    monkeypatch.setattr(WriteHolds, "await_holds", slow_await_holds)
    rotate = asyncio.create_task(resources.sessions.rotate(record.login_id, KEY, NEW))
    await rotating.wait()
    strip = asyncio.create_task(other.sessions.change_sessions(Session.login_id == record.login_id, lambda data: data | {"n": "stripped"}))
    await until(lambda: waits_for_a_row(resources))
    rotate_on.set()
    assert await rotate
    await changing.wait()
    assert (await resources.sessions.read(NEW)).record is not None, "the browser goes on with its new token meanwhile"
    change_on.set()
    assert set(await strip) == {NEW}
    for server in (resources, other):
        stripped = (await server.sessions.read(NEW)).record
        assert stripped is not None
        assert stripped.data["n"] == "stripped"


async def test_of_two_that_begin_an_epoch_the_late_one_does_not_begin_it_again(
    servers: StartServer, resources: Resources, before_next_write: Any
) -> None:
    one, two, alone = await servers(), await servers(), await servers("")
    await two.backend.fail_over(two.backend.flag.fence, "a test")
    await one.backend.refresh()
    instance = one.backend.view.instance
    assert instance is not None
    arrived, go_on = before_next_write(one)
    late = asyncio.create_task(one.backend.begin_epoch(instance, "late"))
    await arrived.wait()
    assert await two.backend.begin_epoch(instance, "early")
    await set_key(alone, "n", 1)  # has no Redis, so the flag falls
    await one.backend.refresh()
    go_on.set()
    assert not await late
    assert (await row_of(resources)).mode == "sql"


async def test_an_epoch_raised_by_hand_is_not_taken_back(
    servers: StartServer, resources: Resources, clock: FakeClock, before_next_write: Any
) -> None:
    one = await servers()
    await one.backend.fail_over(one.backend.flag.fence, "a test")
    instance = one.backend.view.instance
    assert instance is not None
    arrived, go_on = before_next_write(one)
    late = asyncio.create_task(one.backend.begin_epoch(instance, "late"))
    await arrived.wait()
    async with resources.database.write() as db:
        raised = await raise_epoch(db, clock, record_flip=record_flip)
    await one.backend.refresh()
    go_on.set()
    assert not await late
    assert (await row_of(resources)).epoch == raised


@pytest.mark.parametrize("lost", ["hold", "publish"])
async def test_what_is_committed_is_told_although_the_request_has_no_time_left(
    environ: dict[str, str], clock: FakeClock, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    commit = Transaction.commit

    async def slow_commit(self: Transaction) -> None:
        await asyncio.sleep(0.3)  # more than is left
        await commit(self)

    async def wait_for_a_lock(db: Transaction) -> None:
        await asyncio.sleep(0.45)

    async with opened(environ, clock, proxy.port) as one, opened(environ, clock, proxy.target) as two:
        await sign_in(one)
        for server in (one, two, one):
            loaded = await server.sessions.read(KEY)
        assert loaded.context is None, "warm"
        monkeypatch.setattr(Transaction, "commit", slow_commit)
        sign = b"\r\nH" if lost == "hold" else b"EVALSHA"
        sprung = proxy.trap(lambda sent: sign in sent, keeps="request")
        set_time_budget(0.7)
        assert await one.sessions.write(loaded, lambda data: data | {"n": "new"}, also=wait_for_a_lock)
        set_time_budget(None)
        assert sprung.is_set()
        for server in (one, two):
            record = (await server.sessions.read(KEY)).record
            assert record is not None
            assert record.data["n"] == "new"
        monkeypatch.undo()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_publish_lost_while_another_process_writes(
    environ: dict[str, str], clock: FakeClock, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fall that follows may wait as long as its request still could, not only as long as is assured."""
    other, commit = sqlite3.connect(make_url(environ["DATABASE_URL"]).database or "", isolation_level=None), Transaction.commit

    async def commit_then_locked(self: Transaction) -> None:
        await commit(self)
        monkeypatch.setattr(Transaction, "commit", commit)
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.25 + 2 * COMMIT_SECONDS, other.execute, "COMMIT")

    async with opened(environ, clock, proxy.port) as one:
        await sign_in(one)
        for _ in range(2):
            loaded = await one.sessions.read(KEY)
        monkeypatch.setattr(Transaction, "commit", commit_then_locked)
        sprung = proxy.trap(lambda sent: b"EVALSHA" in sent, keeps="request")
        set_time_budget(4)
        assert await one.sessions.write(loaded, lambda data: data | {"n": "new"})
        set_time_budget(None)
        assert sprung.is_set()
        assert (await row_of(one)).mode == "sql"
    other.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_those_who_tell_of_a_fall_do_not_wait_one_after_the_other(resources: Resources, servers: StartServer) -> None:
    """SQL is silent: each has its time, and all of them the same."""
    other, fence = await servers(), resources.backend.flag.fence

    async def tell() -> None:
        set_time_budget(COMMIT_SECONDS)
        await resources.backend.announce_failover(fence)

    async with other.database.read() as db:
        await db.execute(text("LOCK TABLE session_backend IN ACCESS EXCLUSIVE MODE"))
        async with asyncio.timeout(5 * COMMIT_SECONDS):
            await asyncio.gather(*(tell() for _ in range(20)))


async def test_many_who_find_out_of_a_fall_at_once_read_the_flag_once(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    await resources.poll.stop()  # its poll would read it as well
    fence, read, looks = resources.backend.flag.fence, resources.database.read, 0
    async with resources.database.write() as db:
        await resources.backend.flip_down(db, fence, "a test")

    def counted() -> AbstractAsyncContextManager[AsyncSession]:
        nonlocal looks
        looks += 1
        return read()

    monkeypatch.setattr(resources.database, "read", counted)
    await asyncio.gather(*(resources.backend.announce_failover(fence) for _ in range(20)))
    assert looks == 1


async def test_redis_that_failed_a_request_is_not_asked_by_its_bulk_change_either(
    environ: dict[str, str], clock: FakeClock, proxy: TcpProxy
) -> None:
    async with opened(environ, clock, proxy.port) as one:
        await sign_in(one)
        await one.sessions.read(KEY)
        failed_holds = METRICS.session_claims.labels("hold_failed")
        before = failed_holds._value.get()
        proxy.silent = True
        begin_notes()
        assert (await one.sessions.read(KEY)).record is not None
        assert await one.sessions.change_sessions(Session.user_id > 0, lambda data: data | {"n": 1})
        proxy.silent = False
        assert failed_holds._value.get() == before
        assert (await row_of(one)).mode == "sql"


async def test_a_change_of_many_sessions_is_published_in_few_calls(resources: Resources) -> None:
    many, now = 1200, resources.clock.now()
    user, later = await make_user(resources.database), now + timedelta(days=1)
    times = {"created_at": now, "expires_at": later}
    async with resources.database.write() as db:
        tokens = [{"token_hash": hash_token(str(number)), "seen_at": now, "idle_expires_at": later} for number in range(many)]
        await db.execute(insert(Login), [times | token | {"user_id": user.id} for token in tokens])
        logins = (await db.scalars(select(Login.id).where(Login.user_id == user.id))).all()
        session = times | {"user_id": user.id, "version": 1, "data": {"n": 0}, "touched_at": now}
        await db.execute(insert(Session), [session | {"login_id": login} for login in logins])
    assert resources.redis is not None
    before = await scripts_run(resources)
    changed = await resources.sessions.change_sessions(Session.user_id == user.id, lambda data: data | {"n": 1})
    assert len(changed) == many
    assert await scripts_run(resources) - before < 10


async def scripts_run(resources: Resources) -> int:
    assert resources.redis is not None
    return int((await resources.redis.commands.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))


async def test_a_redis_that_knows_a_newer_epoch_than_sql_gets_a_newer_one_still(environ: dict[str, str], clock: FakeClock) -> None:
    """As after a failover of PostgreSQL that lost the last flip: without it nobody would believe Redis ever again."""
    resources = make_resources(load_settings(environ), kind="web", clock=clock)
    await resources.open()
    try:
        assert resources.redis is not None
        epoch = resources.backend.flag.epoch
        await resources.redis.commands.set(resources.keys.name("epoch"), epoch + 5)
        resources.backend.poll_now()

        async def has_fallen() -> bool:
            return (await row_of(resources)).mode == "sql"

        await until(has_fallen)
        instance = resources.backend.view.instance
        assert instance is not None
        await until(lambda: resources.backend.flag.mode == "sql")
        assert await resources.backend.begin_epoch(instance, "a test")
        assert resources.backend.flag.epoch > epoch + 5
    finally:
        await resources.close()


async def test_a_start_on_a_redis_whose_epoch_is_no_number(servers: StartServer, start_redis: StartRedis) -> None:
    redis, alone = start_redis(), await servers("")
    redis.say(f"SET {alone.keys.name('epoch')} rubbish")
    await alone.close()
    assert (await servers(redis.url)).backend.backend == "redis"


async def test_a_bulk_change_of_no_session_leaves_redis_in_use(servers: StartServer, resources: Resources) -> None:
    alone = await servers("")
    assert await alone.sessions.change_sessions(Session.user_id == 0, lambda data: data | {"n": 1}) == {}
    assert (await resources.backend.refresh()).mode == "redis"


async def test_leaving_an_instance_that_does_not_answer_fails_no_request(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a connection by TLS does, which waits for a goodbye."""
    loaded = await resources.sessions.read(KEY)
    await resources.poll.stop()  # its poll would do it first
    async with resources.database.write() as db:
        await db.execute(update(SessionBackend).values(epoch=SessionBackend.epoch + 1, redis_run_id="b" * 40))

    disconnect = Connection.disconnect

    async def times_out(self: Connection, nowait: bool = False) -> None:
        await disconnect(self, nowait=True)
        if not nowait:
            raise RedisTimeoutError("Timed out closing connection after 0.25")

    monkeypatch.setattr(Connection, "disconnect", times_out)
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
    assert await set_key(resources, "n", 1, loaded)
    assert resources.redis is not None
    await until(lambda: not resources.redis._closing)  # type: ignore[union-attr]
    gc.collect()  # a task that failed says so when nobody holds it any more
    assert unhandled == []
    monkeypatch.undo()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_web_process_raises_the_flag_while_it_is_young_only(servers: StartServer, resources: Resources, clock: FakeClock) -> None:
    await resources.backend.fail_over(resources.backend.flag.fence, "a test")
    clock.advance(timedelta(seconds=1))
    second = await servers()
    for _ in range(5):  # not at once: signs of life lapse
        clock.advance(resources.backend.fleet.live_window)
        for server in (resources, second):
            await server.backend.fleet.beat(server.backend.view, "closed")
    clock.advance(timedelta(seconds=1))
    await resources.backend.fleet.leave()
    second.backend.poll_now()
    await until(lambda: second.poll._bootstrapped)
    assert (await second.backend.refresh()).mode == "sql"
