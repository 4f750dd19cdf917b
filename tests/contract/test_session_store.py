"""What `SessionStore` promises, asked of every store: SQL on both databases, Redis on every server there is."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.core.clock import to_unix_ms
from app.core.database import Database
from app.core.errors import Unavailable
from app.core.metrics import METRICS
from app.core.redis import RedisClient
from app.models import Login
from app.sessions.record import Record, SessionLimits
from app.sessions.redis_store import RedisSessions
from app.sessions.sql_store import NO_VERSION, SqlSessions
from app.sessions.token import hash_token
from tests.conftest import StartRedis
from tests.factories import make_login, make_user
from tests.fakes import FakeClock

LIMITS = SessionLimits(timedelta(days=7), timedelta(days=1), timedelta(days=30))
SECRET = "only for tests " * 3
TOKEN = "the token of the contract's login"
KEY = hash_token(TOKEN)


@dataclasses.dataclass
class Harness:
    """A store under test, and what only its kind knows: a good proof for a key as it is, and a bad one."""

    find: Callable[[], Awaitable[Record | None]]
    write: Callable[[Record, bool], Awaitable[bool]]
    delete: Callable[[bool], Awaitable[bool]]
    record: Callable[..., Record]


@pytest.fixture
async def sql(database: Database, clock: FakeClock) -> Harness:
    login = await make_login(database, await make_user(database), token=TOKEN, at=clock.now())
    store = SqlSessions(database, clock=clock, limits=LIMITS)
    version = NO_VERSION

    async def find() -> Record | None:
        async with database.read() as db:
            return await store.within(db).find(KEY)

    async def write(record: Record, proven: bool) -> bool:
        nonlocal version
        async with database.write() as db:
            taken = await store.within(db).write(KEY, record, version if proven else 12345)
        version = record.version if taken else version
        return taken

    async def delete(proven: bool) -> bool:
        async with database.write() as db:
            return await store.within(db).delete(KEY, version if proven else 12345)

    return Harness(find, write, delete, _records(login, clock))


@pytest.fixture
async def redis(redis_server: str, clock: FakeClock) -> AsyncIterator[Harness]:
    client = RedisClient(redis_server, name="test", timeout=timedelta(seconds=2))
    store = RedisSessions(client, clock=clock, limits=LIMITS, secrets=[SECRET]).within(7)

    async def proof(proven: bool) -> Any:
        hold = (await store.hold([KEY]))[KEY]
        return hold if proven else hold._replace(token="f" * 32)

    async def write(record: Record, proven: bool) -> bool:
        if proven:
            return await store.write(KEY, record, await proof(True))
        await proof(True)
        return await store.write(KEY, record, await proof(False))

    async def delete(proven: bool) -> bool:
        return await store.delete(KEY, await proof(proven))

    login = Login(id=5, user_id=6, idle_expires_at=clock.now() + timedelta(days=1), expires_at=clock.now() + timedelta(days=30))
    yield Harness(lambda: store.find(KEY), write, delete, _records(login, clock))
    await client.close()


def _records(login: Login, clock: FakeClock) -> Callable[..., Record]:
    def record(version: int, *, life: timedelta = timedelta(days=7), **data: Any) -> Record:
        idle, end, expiry = (to_unix_ms(each) for each in (login.idle_expires_at, login.expires_at, clock.now() + life))
        return Record(version, login.id, login.user_id, idle, end, expiry, data)

    return record


class Contract:
    async def test_a_missing_record_is_not_found(self, store: Harness) -> None:
        assert await store.find() is None

    async def test_what_was_written_is_found(self, store: Harness) -> None:
        written = store.record(1, name="Tellme", nested={"list": [1, None, "ä"]})
        assert await store.write(written, True)
        assert await store.find() == written

    async def test_a_later_version_replaces_an_earlier_one(self, store: Harness) -> None:
        await store.write(store.record(1, a=1), True)
        assert await store.write(store.record(2, b=2), True)
        found = await store.find()
        assert found is not None
        assert (found.version, found.data) == (2, {"b": 2})

    async def test_a_write_without_a_good_proof_shows_nobody_anything(self, store: Harness) -> None:
        assert not await store.write(store.record(3, a=1), False)
        assert await store.find() is None

    async def test_a_deleted_record_is_not_found(self, store: Harness) -> None:
        await store.write(store.record(1, a=1), True)
        assert await store.delete(True)
        assert await store.find() is None

    async def test_an_expired_record_is_not_found(self, store: Harness, clock: FakeClock) -> None:
        await store.write(store.record(1, life=timedelta(seconds=60), a=1), True)
        clock.advance(timedelta(seconds=61))
        assert await store.find() is None


class TestSql(Contract):
    @pytest.fixture
    def store(self, sql: Harness) -> Harness:
        return sql


class TestRedis(Contract):
    @pytest.fixture
    def store(self, redis: Harness) -> Harness:
        return redis


async def test_damaged_bytes_are_a_counted_miss(redis: Harness, redis_server: str) -> None:
    client = RedisClient(redis_server, name="test", timeout=timedelta(seconds=2))
    before = METRICS.session_reads.labels("damaged")._value.get()
    for raw in (b"R1\xff\xff", b"R2\xff", b"R9new", b"", b"\x80\x04pickle", b"H\xff"):
        await client.commands.set(f"hf:s:7:{KEY}", raw)
        assert await redis.find() is None
    assert METRICS.session_reads.labels("damaged")._value.get() == before + 6
    await client.close()


async def test_a_fault_is_never_a_missing_record_in_redis(start_redis: StartRedis, clock: FakeClock) -> None:
    server = start_redis()
    client = RedisClient(server.url, name="test", timeout=timedelta(seconds=0.2))
    store = RedisSessions(client, clock=clock, limits=LIMITS, secrets=[SECRET]).within(7)
    assert await store.find(KEY) is None
    server.kill()
    with pytest.raises(Unavailable):
        await store.find(KEY)
    await client.close()


async def test_a_fault_is_never_a_missing_record_in_sql(clock: FakeClock) -> None:
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", name="test")
    with pytest.raises(Unavailable):
        await SqlSessions(database, clock=clock, limits=LIMITS).read(KEY)
    await database.close()
