"""The session protocol step by step: hold, lease, publish, refill, cookie, fence, flag, epoch. What each is for fails without it."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import DatabaseUnavailable, StoreUnavailable
from app.core.transactions import Transaction
from app.models import Login, Session, SessionBackend
from app.resources import Resources
from app.sessions.holds import WriteHolds
from app.sessions.manager import Outcome
from app.sessions.record import Hold, Record
from app.sessions.redis_store import HOLDS_AT_ONCE, EpochSessions
from app.sessions.token import hash_token
from tests.conftest import StartRedis
from tests.fakes import FakeClock
from tests.integration.conftest import KEY, StartServer, set_key, sign_in


def epoch_of(resources: Resources) -> EpochSessions:
    assert resources.backend.redis is not None
    assert resources.backend.usable_epoch is not None
    return resources.backend.redis.within(resources.backend.usable_epoch)


async def test_the_first_read_asks_sql_and_the_second_redis(resources: Resources) -> None:
    first, second = await resources.sessions.read(KEY), await resources.sessions.read(KEY)
    assert (first.outcome, second.outcome) == (Outcome.FOUND, Outcome.FOUND)
    assert first.context is not None
    assert second.context is None


async def test_a_slow_reader_does_not_revive_what_was_written_meanwhile(resources: Resources) -> None:
    sessions = epoch_of(resources)
    lease = await sessions.lease(KEY)
    assert lease is not None
    old = (await resources.sessions.sql.read(KEY)).record  # type: ignore[union-attr]
    assert old is not None
    await set_key(resources, "n", 1)
    assert not await sessions.write(KEY, old, lease)
    assert (await resources.sessions.read(KEY)).record.data["n"] == 1  # type: ignore[union-attr]


async def test_a_change_of_many_leaves_its_hold_where_it_changed_nothing(resources: Resources) -> None:
    """It may lie over that of a writer under way: taken back, a slow reader puts the old there, which stays if the writer dies."""
    await resources.sessions.change_sessions(Session.id > 0, lambda data: None)
    assert isinstance((await epoch_of(resources).get_entry(KEY)).entry, Hold)


async def test_one_reader_refills_a_cold_key_and_the_others_do_not(resources: Resources) -> None:
    assert resources.redis is not None
    resources.redis.breaker = None  # which on a busy machine tells readers not to queue up
    leases = await asyncio.gather(*(epoch_of(resources).lease(KEY) for _ in range(20)))
    assert len([lease for lease in leases if lease]) == 1


async def test_thousands_of_sessions_are_held_a_few_hundred_at_a_time(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once would take so long that Redis were taken for slow."""
    assert resources.redis is not None
    calls, deadline = [], resources.redis.deadline

    def counted(**options: Any) -> AbstractAsyncContextManager[object]:
        calls.append(options)
        return deadline(**options)

    monkeypatch.setattr(resources.redis, "deadline", counted)
    keys = [f"{number:064x}" for number in range(2_000)]
    assert set(await epoch_of(resources).hold(keys)) == set(keys)
    assert len(calls) == len(keys) / HOLDS_AT_ONCE


async def test_readers_ask_sql_while_a_writer_holds(resources: Resources) -> None:
    await resources.sessions.read(KEY)
    await WriteHolds(resources.backend, [KEY]).ready()
    assert (await resources.sessions.read(KEY)).context is not None
    assert (await resources.sessions.read(KEY)).context is not None


async def test_the_commit_waits_for_the_hold(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the hold is under way nobody else sees the new version."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    await_holds = WriteHolds.await_holds

    async def slow_await_holds(self: WriteHolds, db: AsyncSession) -> None:
        arrived.set()
        await go_on.wait()
        await await_holds(self, db)

    monkeypatch.setattr(WriteHolds, "await_holds", slow_await_holds)
    writing = asyncio.create_task(set_key(resources, "n", 1))
    await arrived.wait()
    assert (await resources.sessions.read(KEY)).record.data["n"] == 0  # type: ignore[union-attr]
    go_on.set()
    await writing
    assert (await resources.sessions.read(KEY)).record.data["n"] == 1  # type: ignore[union-attr]


async def test_another_writers_hold_is_left_to_that_writer(resources: Resources) -> None:
    sessions = epoch_of(resources)
    mine = (await sessions.hold([KEY]))[KEY]
    theirs = (await sessions.hold([KEY]))[KEY]
    record = (await resources.sessions.read(KEY)).record
    assert record is not None
    assert not await sessions.write(KEY, record, mine)
    assert (await sessions.get_entry(KEY)).entry == theirs


async def test_a_writer_whose_hold_is_gone_clears_what_it_finds(resources: Resources) -> None:
    sessions = epoch_of(resources)
    mine = (await sessions.hold([KEY]))[KEY]
    assert resources.redis is not None
    await resources.redis.commands.flushdb()
    await sessions.lease(KEY)
    record = (await resources.sessions.read(KEY)).record
    assert record is not None
    await sessions.write(KEY, record, mine)
    assert (await sessions.get_entry(KEY)).entry is None


async def test_a_browser_never_sees_less_than_its_cookie_says(resources: Resources) -> None:
    stale = (await resources.sessions.read(KEY)).record
    assert stale is not None
    newest = await set_key(resources, "n", 1)
    sessions = epoch_of(resources)
    await sessions.write(KEY, stale, (await sessions.hold([KEY]))[KEY])
    assert (await resources.sessions.read(KEY)).record == stale
    assert (await resources.sessions.read(KEY, cookie_version=newest.version)).record.data["n"] == 1  # type: ignore[union-attr]


async def test_a_cookie_ahead_of_a_restored_database_is_corrected(resources: Resources) -> None:
    loaded = await resources.sessions.read(KEY, cookie_version=2**60)
    assert loaded.outcome is Outcome.FOUND
    assert loaded.cookie_ahead


async def test_writers_of_different_keys_both_win(resources: Resources) -> None:
    loaded = await resources.sessions.read(KEY)
    await asyncio.gather(*(set_key(resources, f"k{i}", i, loaded) for i in range(4)))
    data = (await resources.sessions.read(KEY)).record.data  # type: ignore[union-attr]
    assert [data[f"k{i}"] for i in range(4)] == [0, 1, 2, 3]


async def test_a_late_writer_goes_on_in_its_own_transaction(resources: Resources) -> None:
    """It merges with what it finds once the row is locked, so that each of many writers loses no more than once."""
    late = await resources.sessions.read(KEY)
    await set_key(resources, "a", 1)
    transactions = []

    async def note(db: Transaction) -> None:
        transactions.append(db)

    record = await resources.sessions.write(late, lambda data: data | {"b": 2}, also=note)
    assert record is not None
    assert (record.data, len(transactions)) == ({"n": 0, "a": 1, "b": 2}, 1)


async def test_a_write_of_a_cancelled_request_goes_on_to_its_end(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    publish = WriteHolds.publish

    async def slow_publish(self: WriteHolds, records: dict[str, Record]) -> None:
        arrived.set()
        await go_on.wait()
        await publish(self, records)

    monkeypatch.setattr(WriteHolds, "publish", slow_publish)
    request = asyncio.create_task(set_key(resources, "n", 1))
    await arrived.wait()
    request.cancel()
    go_on.set()
    await resources.sessions.drain()
    found = await resources.sessions.read(KEY)
    assert found.context is None, "published"
    assert found.record.data["n"] == 1  # type: ignore[union-attr]


async def test_after_logout_nobody_is_served(resources: Resources, servers: StartServer) -> None:
    other = await servers()
    assert (await other.sessions.read(KEY)).outcome is Outcome.FOUND
    assert len(await resources.sessions.end_logins(Login.token_hash == KEY)) == 1
    for server in (resources, other):
        assert (await server.sessions.read(KEY)).outcome is Outcome.GONE


async def test_a_late_save_does_not_revive_a_session_that_was_logged_out(resources: Resources) -> None:
    loaded = await resources.sessions.read(KEY)
    await resources.sessions.end_logins(Login.token_hash == KEY)
    assert await resources.sessions.write(loaded, lambda data: data | {"n": 9}) is None
    assert (await resources.sessions.read(KEY)).outcome is Outcome.GONE


async def test_a_rotated_token_is_dead_and_the_new_one_has_the_session(resources: Resources) -> None:
    record = (await resources.sessions.read(KEY)).record
    assert record is not None
    assert await resources.sessions.rotate(record.login_id, KEY, "e" * 64)
    assert (await resources.sessions.read(KEY)).outcome is Outcome.GONE
    assert (await resources.sessions.read("e" * 64)).record.data == record.data  # type: ignore[union-attr]


async def test_an_expired_session_is_absent_while_its_login_lives(resources: Resources, clock: FakeClock) -> None:
    old = (await resources.sessions.read(KEY)).record
    async with resources.database.write() as db:
        await db.execute(update(Session).values(expires_at=clock.now() + timedelta(seconds=1)))
    assert resources.redis is not None
    await resources.redis.commands.flushdb()
    clock.advance(timedelta(seconds=2))
    loaded = await resources.sessions.read(KEY)
    assert loaded.outcome is Outcome.ABSENT
    made = await resources.sessions.write(loaded, lambda data: data | {"new": True})
    assert made is not None
    assert old is not None
    assert made.version > old.version
    assert made.data == {"new": True}


async def test_parallel_first_requests_meet_in_one_row(resources: Resources) -> None:
    async with resources.database.write() as db:
        await db.execute(delete(Session))
    assert resources.redis is not None
    await resources.redis.commands.flushdb()
    first = await asyncio.gather(*(resources.sessions.read(KEY) for _ in range(3)))
    assert {each.outcome for each in first} == {Outcome.ABSENT}
    await asyncio.gather(*(set_key(resources, f"k{i}", i, loaded) for i, loaded in enumerate(first)))
    async with resources.database.read() as db:
        rows = (await db.scalars(select(Session))).all()
    assert len(rows) == 1
    assert {"k0", "k1", "k2"} <= set(rows[0].data)


async def test_idle_and_absolute_limits_are_the_servers(resources: Resources, clock: FakeClock) -> None:
    assert (await resources.sessions.read(KEY)).outcome is Outcome.FOUND
    clock.advance(timedelta(hours=25))
    assert (await resources.sessions.read(KEY)).outcome is Outcome.GONE


async def test_activity_keeps_a_login_alive_to_its_absolute_limit(resources: Resources, clock: FakeClock) -> None:
    assert resources.redis is not None
    for _ in range(40):
        clock.advance(timedelta(hours=17.5))
        await resources.redis.commands.flushdb()  # Redis has no part in the clock of this test
        assert (await resources.sessions.read(KEY)).outcome is Outcome.FOUND
    clock.advance(timedelta(hours=21))
    assert (await resources.sessions.read(KEY)).outcome is Outcome.GONE


async def test_a_writer_redis_refuses_flips_the_flag_in_its_own_transaction(servers: StartServer, start_redis: StartRedis) -> None:
    server = start_redis()
    resources = await servers(server.url)
    await sign_in(resources)
    await resources.sessions.read(KEY)
    server.kill()
    await set_key(resources, "n", 1)
    assert (await resources.sessions.read(KEY)).record.data["n"] == 1  # type: ignore[union-attr]
    async with resources.database.read() as db:
        flag = (await db.execute(select(SessionBackend))).scalar_one()
    assert (flag.mode, flag.epoch) == ("sql", 1)


async def test_a_process_without_redis_flips_the_flag_when_it_writes(resources: Resources, servers: StartServer) -> None:
    assert resources.backend.flag.mode == "redis"
    alone = await servers("")
    await set_key(alone, "n", 1)
    assert (await resources.backend.refresh()).mode == "sql"
    assert (await resources.sessions.read(KEY)).record.data["n"] == 1  # type: ignore[union-attr]


async def test_a_write_that_began_before_the_flag_moved_decides_again(resources: Resources) -> None:
    """The fence: without it this write would stay unknown to the Redis that the others read."""
    loaded = await resources.sessions.read(KEY)
    async with resources.database.write() as db:
        await db.execute(update(SessionBackend).values(epoch=SessionBackend.epoch + 1))
    record = await set_key(resources, "n", 1, loaded)
    assert resources.backend.flag.epoch == 2
    assert (await epoch_of(resources).get_entry(KEY)).entry == record


async def test_a_restarted_redis_is_not_believed_before_a_new_epoch(servers: StartServer, start_redis: StartRedis) -> None:
    server = start_redis()
    resources = await servers(server.url)
    await sign_in(resources)
    await resources.sessions.read(KEY)
    server.restart()
    with pytest.raises(StoreUnavailable):
        await epoch_of(resources).get_entry(KEY)
    assert (await resources.sessions.read(KEY)).context is not None, "SQL answered"
    await resources.poll.stop()
    again = await servers(server.url)
    assert (again.backend.backend, again.backend.flag.epoch) == ("redis", 2)


async def test_a_second_process_joins_the_epoch_of_the_first(resources: Resources, servers: StartServer) -> None:
    other = await servers()
    assert (other.backend.backend, other.backend.flag.epoch) == ("redis", resources.backend.flag.epoch)


async def test_when_nobody_can_say_the_outcome_is_unknown(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: str) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(resources.sessions.sql, "read", away)
    assert (await resources.sessions.read("0" * 64)).outcome is Outcome.UNKNOWN


async def test_looks_of_the_same_tick_share_a_round_trip(resources: Resources) -> None:
    assert resources.redis is not None
    await asyncio.gather(*(resources.sessions.read(KEY) for _ in range(2)))
    before = int((await resources.redis.commands.info("commandstats"))["cmdstat_mget"]["calls"])
    await asyncio.gather(*(resources.sessions.read(KEY) for _ in range(50)))
    after = int((await resources.redis.commands.info("commandstats"))["cmdstat_mget"]["calls"])
    assert after - before == 1


async def test_a_write_that_overtakes_a_logout_is_not_published_after_it(
    servers: StartServer, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It commits between the logout's hold and the logout's row lock, and publishes when the logout has been answered."""
    other = await servers()
    held, overtaken, committed, ended = (asyncio.Event() for _ in range(4))
    ready, publish = WriteHolds.ready, WriteHolds.publish

    async def ready_then_wait(self: WriteHolds) -> None:
        await ready(self)
        if self.backend is resources.backend and not held.is_set():
            held.set()
            await overtaken.wait()

    async def publish_late(self: WriteHolds, records: dict[str, Record]) -> None:
        if self.backend is other.backend:
            committed.set()
            await ended.wait()
        await publish(self, records)

    monkeypatch.setattr(WriteHolds, "ready", ready_then_wait)
    monkeypatch.setattr(WriteHolds, "publish", publish_late)
    logout = asyncio.create_task(resources.sessions.end_logins(Login.token_hash == KEY))
    await held.wait()
    write = asyncio.create_task(set_key(other, "n", 1))
    await committed.wait()
    overtaken.set()
    await logout
    ended.set()
    await write
    for each in (resources, other):
        assert (await each.sessions.read(KEY)).outcome is Outcome.GONE


async def test_a_write_under_way_does_not_revive_a_token_that_was_rotated(resources: Resources) -> None:
    loaded = await resources.sessions.read(KEY)
    assert loaded.record is not None
    assert await resources.sessions.rotate(loaded.record.login_id, KEY, hash_token("another"))
    assert await resources.sessions.write(loaded, lambda data: data | {"n": 1}) is None
    assert (await resources.sessions.read(KEY)).outcome is Outcome.GONE
    assert (await resources.sessions.read(hash_token("another"))).record.data["n"] == 0  # type: ignore[union-attr]


async def test_a_first_write_under_way_does_not_revive_a_token_that_was_rotated(resources: Resources) -> None:
    async with resources.database.write() as db:
        await db.execute(delete(Session))
    assert resources.redis is not None
    await resources.redis.commands.flushdb()
    loaded = await resources.sessions.read(KEY)
    assert loaded.outcome is Outcome.ABSENT
    assert loaded.blank is not None
    assert await resources.sessions.rotate(loaded.blank.login_id, KEY, hash_token("another"))
    assert await resources.sessions.write(loaded, lambda data: data | {"n": 1}) is None
    assert (await resources.sessions.read(KEY)).outcome is Outcome.GONE
