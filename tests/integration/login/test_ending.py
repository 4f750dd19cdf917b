"""How a login ends, and what it leaves."""

import asyncio
from datetime import timedelta

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import func, select

from app.auth.service import disable_user, revoke_logins
from app.auth.store import find_account_by_email, is_still_valid
from app.core.config import Settings
from app.models import Login
from app.resources import Resources
from tests.fakes import FakeClock
from tests.integration.login.conftest import ANN, BOB, cookies_of, sign_in, status_of_me, with_cookies_of

# Those that write at once, sweep, or send SQL what it may not take run on both; the others are of cookies and rules above SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


# Ending


@on_sqlite
async def test_replayed_cookie_is_dead_after_signing_out(client: Client, app: Quart) -> None:
    await sign_in(client)
    stolen = with_cookies_of(client)
    assert (await app.test_client().get("/api/me", headers=stolen)).status_code == 200
    answer = await client.post("/api/auth/logout")
    assert answer.status_code == 204
    assert (await app.test_client().get("/api/me", headers=stolen)).status_code == 401


@on_sqlite
async def test_signing_out_leaves_nothing_in_the_browser_but_how_it_is_known_again(client: Client) -> None:
    await sign_in(client)
    answer = await client.post("/api/auth/logout")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert set(cookies_of(client)) == {"holdfast_device"}, "which opens nothing"


@on_sqlite
async def test_signing_out_twice_or_unasked_is_fine(client: Client) -> None:
    assert (await client.post("/api/auth/logout")).status_code == 204
    await sign_in(client)
    assert [(await client.post("/api/auth/logout")).status_code for _ in range(2)] == [204, 204]


@on_sqlite
async def test_signing_in_again_ends_the_login_before(client: Client, app: Quart) -> None:
    await sign_in(client)
    before = with_cookies_of(client)
    await sign_in(client)
    assert await status_of_me(client) == 200
    assert (await app.test_client().get("/api/me", headers=before)).status_code == 401


@on_sqlite
async def test_late_answer_to_the_old_cookie_does_not_sign_the_browser_out(client: Client, app: Quart) -> None:
    await sign_in(client)
    before = with_cookies_of(client)
    await sign_in(client)
    late = await app.test_client().get("/api/me", headers=before)
    assert late.status_code == 401
    assert not late.headers.getlist("Set-Cookie")


@on_sqlite
async def test_next_person_at_the_browser_sees_nothing_of_the_one_before(client: Client, app: Quart) -> None:
    await sign_in(client, ANN)
    await client.patch("/api/me", json={"theme": "dark"})
    anns = with_cookies_of(client)
    body = await (await sign_in(client, BOB)).get_json()
    assert (body["user"]["email"], body["user"]["theme"]) == (BOB, "system")
    assert (await app.test_client().get("/api/me", headers=anns)).status_code == 401


@on_sqlite
async def test_failed_sign_in_leaves_the_person_signed_in(client: Client) -> None:
    await sign_in(client)
    assert (await sign_in(client, BOB, "wrong")).status_code == 401
    assert (await (await client.get("/api/me")).get_json())["user"]["email"] == ANN


async def test_twenty_first_login_ends_the_oldest(app: Quart, clock: FakeClock) -> None:
    browsers = [app.test_client() for _ in range(21)]
    for browser in browsers:
        clock.advance(timedelta(seconds=1))
        await sign_in(browser)
    assert [await status_of_me(browser) for browser in browsers] == [401] + [200] * 20


async def test_twenty_logins_are_the_most_also_when_all_come_at_once(app: Quart, resources: Resources) -> None:
    for _ in range(17):
        await sign_in(app.test_client())
    answers = await asyncio.gather(*(sign_in(app.test_client()) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    async with resources.database.read() as db:
        assert await db.scalar(select(func.count()).where(Login.ended_at.is_(None))) == 20


async def test_login_ends_when_idle(client: Client, settings: Settings, clock: FakeClock) -> None:
    await sign_in(client, keep_signed_in=True)
    clock.advance(settings.login_idle - timedelta(seconds=1))
    assert await status_of_me(client) == 200
    clock.advance(settings.login_idle + timedelta(seconds=1))
    assert await status_of_me(client) == 401


# A record in Redis lives by Redis' own clock, which no test can advance.
@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
async def test_login_ends_at_its_absolute_limit_however_busy(client: Client, settings: Settings, clock: FakeClock) -> None:
    await sign_in(client, keep_signed_in=True)
    step = settings.login_idle - timedelta(hours=1)
    for _ in range(int(settings.login_lifetime / step)):
        clock.advance(step)
        assert await status_of_me(client) == 200
    clock.advance(step)
    assert await status_of_me(client) == 401


async def test_disabling_somebody_ends_their_logins_and_lets_nobody_in(client: Client, resources: Resources) -> None:
    await sign_in(client)
    await disable_user(resources, ANN)
    assert await status_of_me(client) == 401
    assert (await sign_in(client)).status_code == 401


async def test_revoking_ends_every_login_but_not_the_account(client: Client, resources: Resources) -> None:
    await sign_in(client)
    assert len(await revoke_logins(resources, ANN)) == 1
    assert await status_of_me(client) == 401
    assert (await sign_in(client)).status_code == 200


async def test_sign_in_under_way_does_not_slip_past_a_revocation(resources: Resources) -> None:
    async with resources.database.read() as db:
        account = await find_account_by_email(db, ANN)
        assert account
        assert await is_still_valid(db, account)
    await revoke_logins(resources, ANN)
    async with resources.database.read() as db:
        assert not await is_still_valid(db, account)
