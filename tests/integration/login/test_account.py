"""Devices, password and preferences of somebody who is signed in."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import select

from app.auth.service import reset_password
from app.models import Event, User
from app.resources import Resources
from tests.fakes import FakeClock
from tests.integration.login.conftest import ANN, BOB, PASSWORD, sign_in, status_of_me, with_cookies_of

# Those that write at once, sweep, or send SQL what it may not take run on both; the others are of cookies and rules above SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


# Devices


async def test_devices_are_listed_with_this_one_marked(app: Quart, client: Client, clock: FakeClock) -> None:
    await sign_in(app.test_client(), address="10.0.0.9")
    clock.advance(timedelta(minutes=1))
    firefox = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0"}
    await client.post("/api/auth/login", json={"email": ANN, "password": PASSWORD}, headers=firefox)
    await sign_in(app.test_client(), BOB)
    logins = (await (await client.get("/api/logins")).get_json())["logins"]
    assert [(login["is_current"], login["address"] == "10.0.0.9") for login in logins] == [(True, False), (False, True)]
    assert logins[0]["device"] == "Firefox on Linux"
    assert "token" not in str(logins)


@on_sqlite
async def test_one_device_is_signed_out_from_another(app: Quart, client: Client, clock: FakeClock) -> None:
    lost = app.test_client()
    await sign_in(lost)
    clock.advance(timedelta(seconds=1))
    await sign_in(client)
    logins = (await (await client.get("/api/logins")).get_json())["logins"]
    assert (await client.delete(f"/api/logins/{logins[1]['id']}")).status_code == 204
    assert (await client.delete(f"/api/logins/{logins[1]['id']}")).status_code == 404
    assert [await status_of_me(lost), await status_of_me(client)] == [401, 200]
    assert (await client.delete(f"/api/logins/{logins[0]['id']}")).status_code == 204
    assert await status_of_me(client) == 401


@on_sqlite
async def test_all_other_devices_are_signed_out(app: Quart, client: Client) -> None:
    others = [app.test_client() for _ in range(3)]
    for browser in (*others, client):
        await sign_in(browser)
    bobs = app.test_client()
    await sign_in(bobs, BOB)
    assert await (await client.post("/api/logins/revoke-others")).get_json() == {"ended": 3}
    assert [await status_of_me(browser) for browser in (*others, client, bobs)] == [401, 401, 401, 200, 200]


@on_sqlite
async def test_somebody_elses_device_is_as_absent_as_none(app: Quart, client: Client) -> None:
    bobs = app.test_client()
    await sign_in(bobs, BOB)
    theirs = (await (await bobs.get("/api/logins")).get_json())["logins"][0]["id"]
    await sign_in(client)
    answers = [await client.delete(f"/api/logins/{wanted}") for wanted in (theirs, 999_999, 0, -1, 2**63, "1e3", "abc")]
    assert {answer.status_code for answer in answers} == {404}
    assert await status_of_me(bobs) == 200


@on_sqlite
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/me"),
        ("PATCH", "/api/me"),
        ("POST", "/api/me/password"),
        ("GET", "/api/logins"),
        ("DELETE", "/api/logins/1"),
        ("POST", "/api/logins/revoke-others"),
    ],
)
async def test_one_has_to_be_signed_in(client: Client, method: str, path: str) -> None:
    assert (await client.open(path, method=method, json=None)).status_code == 401


# One's own account


NEW = "a new and better passphrase"


async def change_password(client: Client, current: str = PASSWORD, new: str = NEW) -> Any:
    return await client.post("/api/me/password", json={"current_password": current, "new_password": new})


@on_sqlite
async def test_new_password_keeps_this_browser_and_ends_the_others(app: Quart, client: Client) -> None:
    other = app.test_client()
    await sign_in(other)
    await sign_in(client)
    old = with_cookies_of(client)
    assert (await change_password(client)).status_code == 200
    assert [await status_of_me(client), await status_of_me(other)] == [200, 401]
    assert (await app.test_client().get("/api/me", headers=old)).status_code == 401
    assert (await sign_in(other)).status_code == 401
    assert (await sign_in(other, password=NEW)).status_code == 200


@on_sqlite
@pytest.mark.parametrize(
    ("current", "new", "code"),
    [("wrong", NEW, "wrong_password"), (PASSWORD, "short", "password_too_short"), (PASSWORD, "password1", "password_too_common")],
)
async def test_refused_change_of_password_changes_nothing(client: Client, current: str, new: str, code: str) -> None:
    await sign_in(client)
    answer = await change_password(client, current, new)
    assert (answer.status_code, (await answer.get_json())["code"]) == (400, code)
    assert await status_of_me(client) == 200
    assert (await sign_in(client)).status_code == 200


async def test_of_two_changes_of_password_at_once_one_wins(app: Quart) -> None:
    browsers = [app.test_client() for _ in range(2)]
    for browser in browsers:
        await sign_in(browser)
    answers = await asyncio.gather(*(change_password(browser, new=f"{NEW} {n}") for n, browser in enumerate(browsers)))
    winner = [answer.status_code for answer in answers].index(200)
    assert answers[1 - winner].status_code in (400, 401, 409)
    assert (await sign_in(app.test_client(), password=f"{NEW} {winner}")).status_code == 200


async def test_reset_password_ends_every_login(client: Client, resources: Resources) -> None:
    await sign_in(client)
    await reset_password(resources, ANN, NEW)
    assert await status_of_me(client) == 401
    assert (await sign_in(client, password=NEW)).status_code == 200


async def test_preferences_reach_every_session_of_the_person(app: Quart, client: Client, resources: Resources) -> None:
    other = app.test_client()
    await sign_in(other)
    await sign_in(client)
    changed = {"remember_last_deal": False, "start_at": "list", "theme": "dark"}
    for browser, answer in ((client, await client.patch("/api/me", json=changed)), (other, await other.get("/api/me"))):
        assert (await answer.get_json())["user"].items() >= changed.items(), browser
    async with resources.database.read() as db:
        user = (await db.scalars(select(User).where(User.email == ANN))).one()
    assert (user.remember_last_deal, user.start_at, user.theme) == (False, "list", "dark")
    # On record, once: what is so already is no change. A name is said to have changed, and not what it is.
    assert (await client.patch("/api/me", json=changed)).status_code == 200
    assert (await client.patch("/api/me", json={"name": "Ann Other"})).status_code == 200
    async with resources.database.read() as db:
        told = list(await db.scalars(select(Event).where(Event.kind == "user.preferences_changed").order_by(Event.id)))
    assert [event.payload for event in told] == [{"fields": sorted(changed), **changed}, {"fields": ["name"]}]
    assert {(event.actor_id, event.user_id, event.organisation_id) for event in told} == {(user.id, user.id, user.organisation_id)}


@on_sqlite
@pytest.mark.parametrize(
    "body",
    [
        {"theme": "pink"},
        {"theme": None},
        {"remember_last_deal": "yes"},
        {"remember_last_deal": 1},
        {"role": "admin"},
        {"is_operator": True},
    ],
)
async def test_impossible_preference_is_refused(client: Client, body: dict[str, object]) -> None:
    await sign_in(client)
    assert (await client.patch("/api/me", json=body)).status_code == 400
