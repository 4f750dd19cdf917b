"""What a store of sessions promises, asked of every one: SQL on both databases, Redis on every server there is.

First what both promise of reading and writing, then what Redis alone does: hold, lease and drop.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from app.core.clock import to_unix_ms
from app.core.database import Database
from app.core.errors import Unavailable
from app.core.metrics import METRICS
from app.core.redis import RedisClient
from app.models import Login
from app.sessions.record import Hold, Record, SessionLimits
from app.sessions.redis_store import HOLDS_AT_ONCE, EpochSessions, RedisSessions, Seen
from app.sessions.sql_store import NO_VERSION, SqlSessions
from app.sessions.token import hash_token
from tests.conftest import StartRedis
from tests.factories import make_login, make_user
from tests.fakes import FakeClock

LIMITS = SessionLimits(timedelta(days=7), timedelta(days=1), timedelta(days=30))
SECRET = "only for tests " * 3
TOKEN = "the token of the contract's login"
KEY = hash_token(TOKEN)
ANOTHERS = Hold("f" * 32)
RECORD = Record(1, 5, 6, 10**15, 10**15, 10**15, {})


@dataclasses.dataclass
class Harness:
    """A store under test, and what only its kind knows: a good proof for a key as it is, and a bad one."""

    read: Callable[[], Awaitable[Record | None]]
    write: Callable[[Record, bool], Awaitable[bool]]
    record: Callable[..., Record]


@pytest.fixture
async def sql(database: Database, clock: FakeClock) -> Harness:
    login = await make_login(database, await make_user(database), token=TOKEN, at=clock.now())
    store = SqlSessions(database, clock=clock, limits=LIMITS)
    version = NO_VERSION

    async def read() -> Record | None:
        found = await store.read(KEY)
        return found.record if found else None

    async def write(record: Record, proven: bool) -> bool:
        nonlocal version
        async with database.write() as db:
            taken = await store.within(db).write(KEY, record, version if proven else 12345)
        version = record.version if taken else version
        return taken

    return Harness(read, write, _records(login, clock))


@pytest.fixture
async def client(redis_server: str) -> AsyncIterator[RedisClient]:
    client = RedisClient(redis_server, name="test", timeout=timedelta(seconds=2))
    yield client
    await client.close()


@pytest.fixture
def epoch(client: RedisClient, clock: FakeClock) -> EpochSessions:
    return RedisSessions(client, clock=clock, limits=LIMITS, secrets=[SECRET]).within(7)


@pytest.fixture
def redis(epoch: EpochSessions, clock: FakeClock) -> Harness:
    async def read() -> Record | None:
        entry = (await epoch.get_entry(KEY)).entry
        return entry if isinstance(entry, Record) and entry.is_live(clock.unix_ms()) else None

    async def write(record: Record, proven: bool) -> bool:
        hold = await hold_of(epoch)
        return await epoch.write(KEY, record, hold if proven else ANOTHERS)

    login = Login(id=5, user_id=6, idle_expires_at=clock.now() + timedelta(days=1), expires_at=clock.now() + timedelta(days=30))
    return Harness(read, write, _records(login, clock))


async def hold_of(epoch: EpochSessions) -> Hold:
    return (await epoch.hold([KEY]))[KEY]


def _records(login: Login, clock: FakeClock) -> Callable[..., Record]:
    def record(version: int, *, life: timedelta = timedelta(days=7), **data: Any) -> Record:
        idle, end, expiry = (to_unix_ms(each) for each in (login.idle_expires_at, login.expires_at, clock.now() + life))
        return Record(version, login.id, login.user_id, idle, end, expiry, data)

    return record


class Contract:
    async def test_a_missing_record_is_not_found(self, store: Harness) -> None:
        assert await store.read() is None

    async def test_what_was_written_is_found(self, store: Harness) -> None:
        written = store.record(1, name="Tellme", nested={"list": [1, None, "ä"]})
        assert await store.write(written, True)
        assert await store.read() == written

    async def test_a_later_version_replaces_an_earlier_one(self, store: Harness) -> None:
        await store.write(store.record(1, a=1), True)
        assert await store.write(store.record(2, b=2), True)
        found = await store.read()
        assert found is not None
        assert (found.version, found.data) == (2, {"b": 2})

    async def test_a_write_without_a_good_proof_shows_nobody_anything(self, store: Harness) -> None:
        assert not await store.write(store.record(3, a=1), False)
        assert await store.read() is None

    async def test_an_expired_record_is_not_found(self, store: Harness, clock: FakeClock) -> None:
        await store.write(store.record(1, life=timedelta(seconds=60), a=1), True)
        clock.advance(timedelta(seconds=61))
        assert await store.read() is None


class TestSql(Contract):
    @pytest.fixture
    def store(self, sql: Harness) -> Harness:
        return sql


class TestRedis(Contract):
    @pytest.fixture
    def store(self, redis: Harness) -> Harness:
        return redis


async def test_an_empty_key_says_whether_redis_is_at_the_epoch(epoch: EpochSessions, client: RedisClient) -> None:
    assert await epoch.get_entry(KEY) == Seen(None, epoch_is_current=False)
    await client.commands.set("hf:epoch", 7)
    assert await epoch.get_entry(KEY) == Seen(None, epoch_is_current=True)
    await client.commands.set("hf:epoch", 8)
    assert await epoch.get_entry(KEY) == Seen(None, epoch_is_current=False)


async def test_a_record_of_another_epoch_is_not_found(epoch: EpochSessions, redis: Harness) -> None:
    await redis.write(redis.record(1, a=1), True)
    assert (await dataclasses.replace(epoch, epoch=8).get_entry(KEY)).entry is None


async def test_what_is_read_in_one_tick_is_each_ones_own(epoch: EpochSessions, redis: Harness) -> None:
    await redis.write(redis.record(1, a=1), True)
    seen = await asyncio.gather(epoch.get_entry(KEY), epoch.get_entry("0" * 64), epoch.get_entry(KEY))
    assert [each.entry for each in seen] == [redis.record(1, a=1), None, redis.record(1, a=1)]


async def test_a_hold_hides_the_record_and_lapses(epoch: EpochSessions, redis: Harness, client: RedisClient) -> None:
    await redis.write(redis.record(1, a=1), True)
    hold = await hold_of(epoch)
    assert (await epoch.get_entry(KEY)).entry == hold
    assert 9_000 < await client.commands.pttl(f"hf:s:7:{KEY}") <= 10_000


async def test_the_later_hold_replaces_the_earlier_one(epoch: EpochSessions, redis: Harness) -> None:
    earlier, later = await hold_of(epoch), await hold_of(epoch)
    assert not await epoch.write(KEY, redis.record(1, a=1), earlier)
    assert (await epoch.get_entry(KEY)).entry == later, "another writer's hold is left to that writer"
    assert await epoch.write(KEY, redis.record(2, b=2), later)
    assert await redis.read() == redis.record(2, b=2)


async def test_holds_are_taken_of_many_keys_and_each_is_its_own(epoch: EpochSessions) -> None:
    keys = [f"{number:064x}" for number in range(HOLDS_AT_ONCE + 1)]
    holds = await epoch.hold(keys)
    assert list(holds) == keys
    assert len(set(holds.values())) == len(keys)
    assert [(await epoch.get_entry(key)).entry for key in (keys[0], keys[-1])] == [holds[keys[0]], holds[keys[-1]]]
    await epoch.drop(holds)
    assert [(await epoch.get_entry(key)).entry for key in (keys[0], keys[-1])] == [None, None]


async def test_a_writer_whose_hold_is_gone_leaves_nothing_of_others_but_their_holds(epoch: EpochSessions, redis: Harness) -> None:
    for put in (epoch.lease, partial(_write_by_another, epoch, redis)):
        lost = await hold_of(epoch)
        await epoch.drop({KEY: lost})
        await put(KEY)
        assert not await epoch.write(KEY, redis.record(9, z=9), lost)
        assert (await epoch.get_entry(KEY)).entry is None


async def _write_by_another(epoch: EpochSessions, redis: Harness, key: str) -> None:
    await epoch.write(key, redis.record(1, a=1), await hold_of(epoch))


async def test_a_lease_is_taken_of_an_empty_key_alone_and_lapses_soon(epoch: EpochSessions, redis: Harness, client: RedisClient) -> None:
    lease = await epoch.lease(KEY)
    assert lease is not None
    assert (await epoch.get_entry(KEY)).entry == lease
    assert await client.commands.pttl(f"hf:s:7:{KEY}") <= 2_000
    assert await epoch.lease(KEY) is None, "of a lease"
    await redis.write(redis.record(1, a=1), True)
    assert await epoch.lease(KEY) is None, "of a record"
    hold = await hold_of(epoch)
    assert await epoch.lease(KEY) is None, "of a hold"
    assert (await epoch.get_entry(KEY)).entry == hold


async def test_a_lease_becomes_the_record_unless_somebody_came_between(epoch: EpochSessions, redis: Harness) -> None:
    lease = await epoch.lease(KEY)
    assert lease is not None
    assert await epoch.write(KEY, redis.record(1, a=1), lease)
    assert await redis.read() == redis.record(1, a=1)
    assert not await epoch.write(KEY, redis.record(2, b=2), lease), "it was used"
    hold = await hold_of(epoch)
    assert not await epoch.write(KEY, redis.record(2, b=2), lease)
    assert (await epoch.get_entry(KEY)).entry == hold, "nothing was changed"


async def test_a_record_that_is_over_is_not_written(epoch: EpochSessions, redis: Harness) -> None:
    assert await epoch.write(KEY, redis.record(1, life=timedelta(0), a=1), await hold_of(epoch))
    assert (await epoch.get_entry(KEY)).entry is None


async def test_a_record_lives_300_seconds_at_most(epoch: EpochSessions, redis: Harness, client: RedisClient) -> None:
    await redis.write(redis.record(1, a=1), True)
    assert 299_000 < await client.commands.pttl(f"hf:s:7:{KEY}") <= 300_000


async def test_a_drop_deletes_what_is_there_but_for_another_writers_hold(epoch: EpochSessions, redis: Harness) -> None:
    hold = await hold_of(epoch)
    await epoch.drop({KEY: hold})
    assert (await epoch.get_entry(KEY)).entry is None
    await redis.write(redis.record(1, a=1), True)
    await epoch.drop({KEY: hold})
    assert (await epoch.get_entry(KEY)).entry is None, "a record that came there since"
    await epoch.lease(KEY)
    await epoch.drop({KEY: hold})
    assert (await epoch.get_entry(KEY)).entry is None, "a lease that came there since"
    anothers = await hold_of(epoch)
    await epoch.drop({KEY: hold})
    assert (await epoch.get_entry(KEY)).entry == anothers


async def test_damaged_bytes_are_a_counted_miss(redis: Harness, client: RedisClient) -> None:
    before = METRICS.session_reads.labels("damaged")._value.get()
    for raw in (b"R1\xff\xff", b"R2\xff", b"R9new", b"", b"\x80\x04pickle", b"H\xff"):
        await client.commands.set(f"hf:s:7:{KEY}", raw)
        assert await redis.read() is None
    assert METRICS.session_reads.labels("damaged")._value.get() == before + 6


async def test_a_fault_is_never_a_missing_record_in_redis(start_redis: StartRedis, clock: FakeClock) -> None:
    server = start_redis()
    client = RedisClient(server.url, name="test", timeout=timedelta(seconds=0.2))
    store = RedisSessions(client, clock=clock, limits=LIMITS, secrets=[SECRET]).within(7)
    assert (await store.get_entry(KEY)).entry is None
    server.kill()
    calls = (store.get_entry(KEY), store.hold([KEY]), store.lease(KEY), store.drop({KEY: ANOTHERS}), store.write(KEY, RECORD, ANOTHERS))
    for call in calls:
        with pytest.raises(Unavailable):
            await call
    await client.close()


async def test_a_fault_is_never_a_missing_record_in_sql(clock: FakeClock) -> None:
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", name="test")
    with pytest.raises(Unavailable):
        await SqlSessions(database, clock=clock, limits=LIMITS).read(KEY)
    await database.close()
