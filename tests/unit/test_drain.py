"""The order of an end: who hears of SIGTERM when."""

import asyncio
import os
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.core.config import load_settings
from app.factory import create_app
from app.server.drain import Drain
from tests.waiting import until


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What a server behind us hears."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


async def test_server_hears_of_the_end_after_the_period(heard: list[int]) -> None:
    drain = Drain(timedelta(seconds=0.5))
    await drain.start()
    began = asyncio.get_running_loop().time()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: drain.draining)
    assert heard == []
    await until(lambda: bool(heard))
    assert asyncio.get_running_loop().time() - began >= 0.4
    await drain.stop()


async def test_second_signal_is_in_a_hurry(heard: list[int]) -> None:
    drain = Drain(timedelta(minutes=1))
    await drain.start()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: drain.draining)
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: heard == [signal.SIGTERM])
    await drain.stop()


async def test_no_period_is_no_wait(heard: list[int]) -> None:
    drain = Drain(timedelta(0))
    await drain.start()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: heard == [signal.SIGTERM])
    assert drain.draining
    await drain.stop()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
async def test_event_streams_live_through_the_period_and_end_with_it(heard: list[int], environ: dict[str, str]) -> None:
    """A browser whose stream ends comes back within seconds: by then it has to be sent elsewhere."""
    app = create_app(load_settings(environ | {"DRAIN_SECONDS": "0.5"}))
    async with app.test_app():
        live, drain = app.extensions["live"], app.extensions["drain"]
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: bool(drain.draining))
        assert not live.stopping
        answer = await app.test_client().get("/health/ready")
        assert (answer.status_code, await answer.get_json()) == (503, {"status": "draining"})
        assert answer.headers["Connection"] == "close"
        await until(lambda: bool(live.stopping))
        await until(lambda: heard == [signal.SIGTERM])


def test_production_drains_and_development_does_not() -> None:
    production = {"HOLDFAST_ENV": "production", "SECRET_KEY": "jJ8z-Qm3Vb7wXk2Rt9Lp5Ns1Yd4Hf6Gc0Ea", "ALLOWED_HOSTS": "a.example"}
    assert load_settings(production).drain_seconds == timedelta(seconds=5)
    assert load_settings(production | {"DRAIN_SECONDS": "0"}).drain_seconds == timedelta(0)
    assert load_settings({}).drain_seconds == timedelta(0)
