"""Whoever fails again and again has to wait, and nobody else."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from quart import Quart
from sqlalchemy import func, select, text

from app.auth.backoff import delete_forgotten
from app.core.config import Settings
from app.factory import create_app
from app.models import Event, LoginAttempt
from app.resources import Resources
from tests.fakes import FakeClock
from tests.integration.login.conftest import ANN, BOB, sign_in
from tests.integration.login.test_account import change_password

# Those that write at once, sweep, or send SQL what it may not take run on both; the others are of cookies and rules above SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


# Back-off


@pytest.fixture
async def guarded(settings: Settings, clock: FakeClock, app: Quart) -> AsyncIterator[Quart]:
    """The same site with the limit on failures switched on."""
    guarded = create_app(settings.model_copy(update={"rate_limit_login": 5, "login_slowdown": timedelta(seconds=0.02)}), clock=clock)
    async with guarded.test_app():
        yield guarded


async def fail(app: Quart, times: int, email: str = ANN, address: str = "10.6.6.6") -> list[int]:
    return [(await sign_in(app.test_client(), email, "wrong", address=address)).status_code for _ in range(times)]


@on_sqlite
async def test_sixth_failure_makes_wait(guarded: Quart) -> None:
    assert await fail(guarded, 5) == [401] * 5
    answer = await sign_in(guarded.test_client(), ANN, "wrong", address="10.6.6.6")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert (await answer.get_json())["code"] == "too_many_requests"


@on_sqlite
async def test_right_password_waits_too_and_then_is_let_in(guarded: Quart, clock: FakeClock) -> None:
    await fail(guarded, 6)
    assert (await sign_in(guarded.test_client(), address="10.6.6.6")).status_code == 429
    clock.advance(timedelta(seconds=2))
    assert (await sign_in(guarded.test_client(), address="10.6.6.6")).status_code == 200


@on_sqlite
async def test_wait_grows_up_to_a_minute(guarded: Quart, clock: FakeClock) -> None:
    await fail(guarded, 5)
    waits = []
    for _ in range(9):
        answer = await sign_in(guarded.test_client(), ANN, "wrong", address="10.6.6.6")
        waits.append(int(answer.headers["Retry-After"]))
        clock.advance(timedelta(seconds=61))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@on_sqlite
async def test_unknown_account_makes_wait_just_the_same(guarded: Quart) -> None:
    assert await fail(guarded, 6, "eve@example.com") == await fail(guarded, 6, ANN, "10.7.7.7") == [401] * 5 + [429]


@on_sqlite
async def test_address_that_tries_many_accounts_has_to_wait(guarded: Quart) -> None:
    statuses = [(await fail(guarded, 1, f"user{n}@example.com"))[0] for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2


@on_sqlite
async def test_quiet_quarter_of_an_hour_forgets(guarded: Quart, clock: FakeClock) -> None:
    await fail(guarded, 6)
    clock.advance(timedelta(minutes=15, seconds=2))
    assert await fail(guarded, 5) == [401] * 5


async def test_housekeeping_deletes_only_what_is_forgotten_anyway(guarded: Quart, clock: FakeClock, resources: Resources) -> None:
    await fail(guarded, 6, "eve@example.com", "10.7.7.7")
    clock.advance(timedelta(minutes=14))
    await fail(guarded, 1)
    clock.advance(timedelta(minutes=2))
    async with resources.database.write() as db:
        assert await delete_forgotten(db, now=clock.now()) == 2
        assert await db.scalar(select(func.count()).select_from(LoginAttempt)) == 2


@on_sqlite
async def test_success_forgets_the_failures_on_that_account(guarded: Quart) -> None:
    await fail(guarded, 4)
    assert (await sign_in(guarded.test_client(), address="10.6.6.6")).status_code == 200
    assert await fail(guarded, 5) == [401] * 5


@on_sqlite
async def test_nobody_locks_out_who_has_signed_in_from_there_before(guarded: Quart) -> None:
    assert (await sign_in(guarded.test_client(), address="10.0.0.1")).status_code == 200
    assert (await fail(guarded, 8, ANN, "10.6.6.6"))[-1] == 429
    assert (await fail(guarded, 8, BOB, "10.0.0.1"))[-1] == 429
    assert (await sign_in(guarded.test_client(), address="10.0.0.1")).status_code == 200


@on_sqlite
async def test_known_address_cannot_guess_without_end_either(guarded: Quart) -> None:
    await sign_in(guarded.test_client(), address="10.0.0.1")
    assert await fail(guarded, 7, ANN, "10.0.0.1") == [401] * 5 + [429] * 2


@on_sqlite
async def test_neighbours_of_an_ipv6_network_are_one(guarded: Quart) -> None:
    statuses = [(await fail(guarded, 1, f"user{n}@example.com", f"2001:db8::{n + 1:x}"))[0] for n in range(6)]
    assert statuses == [401] * 5 + [429]


async def test_counters_survive_a_restart_and_name_nobody(
    guarded: Quart, settings: Settings, clock: FakeClock, resources: Resources
) -> None:
    await fail(guarded, 6)
    restarted = create_app(settings.model_copy(update={"rate_limit_login": 5, "login_slowdown": timedelta(seconds=0.02)}), clock=clock)
    async with restarted.test_app():
        assert (await sign_in(restarted.test_client(), address="10.6.6.6")).status_code == 429
    async with resources.database.read() as db:
        keys = list(await db.scalars(select(LoginAttempt.key)))
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


async def test_no_failure_is_lost_when_many_come_at_once(guarded: Quart, resources: Resources) -> None:
    await asyncio.gather(*(fail(guarded, 1) for _ in range(16)))
    async with resources.database.read() as db:
        counted = await db.scalar(select(func.max(LoginAttempt.failures)))
        told = await db.scalar(select(func.count()).where(Event.kind == "login.failed"))
    assert counted == told
    assert (counted or 0) > 5


@on_sqlite
async def test_spoofed_forwarding_header_is_nobodys_address(guarded: Quart) -> None:
    for n in range(6):
        headers = {"X-Forwarded-For": f"10.1.1.{n}"}
        body = {"email": f"user{n}@example.com", "password": "wrong"}
        answer = await guarded.test_client().post("/api/auth/login", json=body, headers=headers, scope_base={"client": ("10.6.6.6", 1)})
    assert answer.status_code == 429


@on_sqlite
async def test_stolen_session_cannot_guess_the_password_without_end(guarded: Quart) -> None:
    client = guarded.test_client()
    await sign_in(client)
    assert [(await change_password(client, "wrong")).status_code for _ in range(6)] == [400] * 5 + [429]


@on_sqlite
async def test_limit_can_be_switched_off(app: Quart, resources: Resources) -> None:
    assert await fail(app, 12) == [401] * 12
    async with resources.database.read() as db:
        assert await db.scalar(text("SELECT count(*) FROM login_attempts")) == 0
