"""The probe's patience: each return to Redis that did not last makes the next one wait longer."""

from datetime import timedelta

import pytest

from app.config import load_settings
from app.resources import Resources, make_resources
from tests.fakes import FakeClock
from worker.probe import REMEMBERED, Probe

PRODUCTION = {"PROBE_RISE_SECONDS": "10", "PROBE_INTERVAL_SECONDS": "1", "SESSION_BACKEND_POLL_SECONDS": "1"}


async def seconds_to_return(house: Resources, probe: Probe, clock: FakeClock) -> int:
    """After one more fall of the flag, with a Redis that serves all the while."""
    flag = await house.backend.refresh()
    async with house.database.write() as db:
        await house.backend.flip_down(db, flag.fence, "a test")
    for second in range(1, 100):
        clock.advance(timedelta(seconds=1))
        await house.backend.fleet.beat(house.backend.view, "closed")
        await probe.look()
        if house.backend.flag.mode == "redis":
            return second
    raise AssertionError("it never came back")


@pytest.mark.parametrize("audit", ["true", "false"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_returns_that_do_not_last_wait_10_30_60_seconds(environ: dict[str, str], clock: FakeClock, audit: str) -> None:
    house = make_resources(load_settings(environ | PRODUCTION | {"AUDIT_ENABLED": audit}), kind="worker", clock=clock)
    await house.open()
    try:
        probe = Probe(house)
        waits = [await seconds_to_return(house, probe, clock) for _ in range(4)]
        assert [round(wait, -1) for wait in waits] == [10, 30, 60, 60]
        clock.advance(REMEMBERED)
        assert round(await seconds_to_return(house, probe, clock), -1) == 10
    finally:
        await house.close()
