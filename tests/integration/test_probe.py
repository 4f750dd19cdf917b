"""Who may bring Redis back, and when: the probe, waiting longer each time it did not last; a web process only where none is older."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.core.config import Settings, load_settings
from app.core.errors import StoreUnavailable
from app.models import Event
from app.resources import Resources, make_resources, open_resources
from tests.conftest import StartRedis
from tests.fakes import FakeClock
from tests.resilience.site import AS_IN_PRODUCTION
from worker.probe import REMEMBERED, Probe


async def seconds_to_return(resources: Resources, probe: Probe, clock: FakeClock) -> int:
    """After one more fall of the flag, with a Redis that serves all the while."""
    flag = await resources.backend.refresh()
    await resources.backend.fail_over(flag.fence, "a test")
    for second in range(1, 100):
        clock.advance(timedelta(seconds=1))
        await resources.backend.fleet.beat(resources.backend.view, "closed")
        await probe.run_once()
        if resources.backend.flag.mode == "redis":
            return second
    raise AssertionError("it never came back")


@pytest.mark.parametrize("audit", ["true", "false"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_returns_that_do_not_last_wait_10_30_60_seconds(environ: dict[str, str], clock: FakeClock, audit: str) -> None:
    resources = make_resources(load_settings(environ | AS_IN_PRODUCTION | {"AUDIT_ENABLED": audit}), kind="worker", clock=clock)
    await resources.open()
    try:
        probe = Probe(resources)
        waits = [await seconds_to_return(resources, probe, clock) for _ in range(4)]
        assert [round(wait, -1) for wait in waits] == [10, 30, 60, 60]
        clock.advance(REMEMBERED)
        assert round(await seconds_to_return(resources, probe, clock), -1) == 10
        async with resources.database.read() as db:
            moves = (await db.scalars(select(Event.payload).where(Event.kind == "backend.flipped").order_by(Event.id))).all()
        assert [move["mode"] for move in moves] == ["redis", *["sql", "redis"] * 4], "both ways are kept, whatever AUDIT_ENABLED says"
    finally:
        await resources.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_server_whose_clock_is_behind_is_not_the_oldest_for_that(environ: dict[str, str], clock: FakeClock) -> None:
    """In a living fleet it waits for the probe like anybody who comes later."""
    behind = FakeClock(clock.now() - timedelta(minutes=10))
    one, other = [make_resources(load_settings(environ), kind="web", clock=each) for each in (clock, behind)]
    await one.open()
    try:
        await one.backend.fail_over(one.backend.flag.fence, "a test")
        await other.open()
        try:
            assert (await one.backend.refresh()).mode == "sql"
        finally:
            await other.close()
    finally:
        await one.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_pinned_to_redis_a_server_does_not_start_without_it(environ: dict[str, str], start_redis: StartRedis) -> None:
    """But a command does, since somebody may have to be signed out in an outage; and a Redis that was restarted is one."""
    redis = start_redis()
    pinned = load_settings(environ | {"SESSION_BACKEND": "redis", "REDIS_URL": redis.url})
    await _opens(pinned, "web")
    redis.restart()
    await _opens(pinned, "worker")
    redis.kill()
    for kind in ("web", "worker"):
        with pytest.raises(StoreUnavailable, match=r"SESSION_BACKEND=redis, but: .* no connection"):
            await _opens(pinned, kind)
    await _opens(pinned, "cli")


async def _opens(settings: Settings, kind: str) -> None:
    async with open_resources(settings, kind=kind):
        pass
