"""Processes that stand still while others go on, and an end of an epoch that nobody could tell Redis of."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from app.core.metrics import METRICS
from app.models import Login, Session
from app.resources import Resources
from app.sessions.manager import Outcome
from app.sessions.standstill import Standstill, read_stopwatch
from tests.conftest import StartRedis
from tests.fakes import FakeClock
from tests.integration.conftest import KEY, set_key, sign_in
from tests.integration.test_session_orders import opened, row_of
from tests.resilience.proxy import TcpProxy
from tests.waiting import until


def go_on(resources: Resources) -> None:
    """As seen from inside: the loop moved just now, however long a loaded machine took over the test's own steps."""
    resources.backend.standstill._moved_at = read_stopwatch()


def stand_still(resources: Resources) -> None:
    """As seen from inside when it goes on: much time has gone by since the loop moved last."""
    resources.backend.standstill._moved_at -= 60


async def end_untold(one: Resources, proxy: TcpProxy) -> None:
    """A logout whose hold and whose announcement got lost in the same hang."""
    proxy.silent = True
    assert await one.sessions.end_logins(Login.id > 0)
    proxy.silent = False
    assert (await row_of(one)).mode == "sql"


async def test_who_stood_still_looks_at_the_flag_before_it_trusts_redis(
    environ: dict[str, str], clock: FakeClock, start_redis: StartRedis
) -> None:
    redis = start_redis()
    proxy = TcpProxy(redis.port)
    async with opened(environ, clock, proxy.port) as one, opened(environ, clock, redis.port) as other:
        await sign_in(one)
        await other.backend.refresh()
        for _ in range(2):
            assert (await other.sessions.read(KEY)).outcome is Outcome.FOUND
        epoch = other.backend.flag.epoch
        # Nobody repeats it here, since neither polls: only the doubt is left.
        await other.poll.stop()
        await one.poll.stop()
        await end_untold(one, proxy)
        redis.say(f"SET {one.keys.name('epoch')} {epoch}")
        go_on(other)
        assert (await other.sessions.read(KEY)).outcome is Outcome.FOUND, "the test shows nothing"
        stand_still(other)
        assert (await other.sessions.read(KEY)).outcome is Outcome.GONE
        assert other.backend.usable_epoch is None
        await other.backend.resolve_doubt()
        assert other.backend.flag.mode == "sql"
    proxy.close()


async def test_an_end_that_could_not_be_told_is_told_when_redis_answers(
    environ: dict[str, str], clock: FakeClock, start_redis: StartRedis
) -> None:
    redis = start_redis()
    proxy = TcpProxy(redis.port)
    async with opened(environ, clock, proxy.port) as one:
        await sign_in(one)
        epoch = one.backend.flag.epoch
        await one.poll.stop()
        await end_untold(one, proxy)
        key = one.keys.name("epoch")
        assert f"{epoch}" in redis.say(f"GET {key}")
        for lost in (f"SET {key} {epoch}", f"DEL {key}"):
            redis.say(lost)
            await until(lambda: tells(one, redis, epoch + 1))
    proxy.close()


async def tells(resources: Resources, redis: object, epoch: int) -> bool:
    """One more poll, and Redis has been told."""
    await resources.poll.run_once(timedelta(seconds=1))
    return str(epoch) in redis.say(f"GET {resources.keys.name('epoch')}")  # type: ignore[attr-defined]


async def test_a_write_after_a_standstill_leaves_redis_in_use(resources: Resources) -> None:
    loaded = await resources.sessions.read(KEY)
    await resources.poll.stop()
    before = METRICS.standstills._value.get()
    stand_still(resources)
    await set_key(resources, "n", 1, loaded)
    stand_still(resources)
    await resources.sessions.change_sessions(Session.id > 0, lambda data: data | {"n": 2})
    assert METRICS.standstills._value.get() == before + 2
    assert (await row_of(resources)).mode == "redis"
    assert (await resources.sessions.read(KEY)).record is not None


async def test_standstills_are_counted_each_and_logged_once_a_minute() -> None:
    now = 100.0
    standstill = Standstill(timedelta(seconds=1), stopwatch=lambda: now)
    with capture_logs() as lines:
        for _ in range(35):
            now += 2
            standstill.count()
    assert (standstill.count(), len(lines)) == (35, 2)


@pytest.mark.parametrize(("gaps", "stood"), [([0.2] * 20, 0), ([1.1], 1), ([0.2, 5, 0.2, 5], 2)])
async def test_what_counts_is_how_long_nothing_moved(gaps: list[float], stood: int) -> None:
    now = 100.0
    standstill = Standstill(timedelta(seconds=1), stopwatch=lambda: now)
    for gap in gaps:
        now += gap
        standstill.count()
    assert standstill.count() == stood
