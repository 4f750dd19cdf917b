"""Signing in, staying signed in, and being signed out, through the app."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from http.cookiejar import Cookie
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import func, select, text

from app.auth.backoff import delete_forgotten
from app.auth.people import add_user
from app.auth.service import disable_user, reset_password, revoke_logins
from app.auth.store import find_account_by_email, is_still_valid
from app.core.config import Settings
from app.factory import create_app
from app.models import Event, Login, LoginAttempt, Session, User
from app.resources import Resources
from app.sessions.token import hash_token
from tests.fakes import FakeClock

# Those that write at once, sweep, or send SQL what it may not take run on both; the others are of cookies and rules above SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PASSWORD = "correct horse battery staple"
ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
async def app(settings: Settings, clock: FakeClock) -> AsyncIterator[Quart]:
    app = create_app(settings, clock=clock)
    async with app.test_app():
        for email, name in ((ANN, "Ann"), (BOB, "Bob")):
            await add_user(house_of(app), email, PASSWORD, name=name, organisation="Acme")
        yield app


@pytest.fixture
def resources(app: Quart) -> Resources:
    return house_of(app)


@pytest.fixture
def client(app: Quart) -> Client:
    return app.test_client()


def house_of(app: Quart) -> Resources:
    resources = app.extensions["holdfast"]
    assert isinstance(resources, Resources)
    return resources


async def sign_in(client: Client, email: Any = ANN, password: Any = PASSWORD, *, address: str = "10.0.0.1", **more: Any) -> Any:
    body = {"email": email, "password": password, **more}
    return await client.post("/api/auth/login", json=body, scope_base={"client": (address, 50000)})


async def status_of_me(client: Client) -> int:
    return (await client.get("/api/me")).status_code


def cookies_of(client: Client) -> dict[str, Cookie]:
    return {cookie.name: cookie for cookie in client.cookie_jar or ()}


def with_cookies_of(client: Client) -> dict[str, str]:
    """A request header as a thief of this browser's cookies would send it."""
    return {"Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookie_jar or ())}


async def events(resources: Resources) -> list[str]:
    async with resources.database.read() as db:
        return list(await db.scalars(select(Event.kind).where(Event.kind.like("login.%")).order_by(Event.id)))


# Signing in


@on_sqlite
async def test_right_password_signs_in_and_tells_who_it_is(client: Client) -> None:
    answer = await sign_in(client)
    body = await answer.get_json()
    assert answer.status_code == 200
    assert (body["user"]["email"], body["user"]["name"], body["user"]["organisation"]) == (ANN, "Ann", "Acme")
    assert body["current_deal"] is None
    assert (await (await client.get("/api/me")).get_json())["user"] == body["user"]


@on_sqlite
async def test_spelling_of_the_address_does_not_matter(client: Client) -> None:
    assert (await sign_in(client, "  Ann@Example.COM ")).status_code == 200


@on_sqlite
async def test_cookies_cannot_be_read_by_scripts_or_sent_by_other_sites(client: Client) -> None:
    for header in (await sign_in(client)).headers.getlist("Set-Cookie"):
        assert "HttpOnly" in header
        assert "SameSite=Lax" in header
        assert "Path=/" in header


@on_sqlite
async def test_login_cookie_outlives_the_browser_only_when_asked_to(client: Client, settings: Settings) -> None:
    def auth_cookie(answer: Any) -> str:
        return next(str(header) for header in answer.headers.getlist("Set-Cookie") if header.startswith("holdfast_auth="))

    assert "Max-Age" not in auth_cookie(await sign_in(client))
    lifetime = int(settings.login_lifetime.total_seconds())
    assert f"Max-Age={lifetime}" in auth_cookie(await sign_in(client, keep_signed_in=True))


@on_sqlite
async def test_unknown_wrong_and_disabled_answer_alike(client: Client, resources: Resources) -> None:
    await disable_user(resources, BOB)
    answers = [await sign_in(client, *who) for who in (("eve@example.com", PASSWORD), (ANN, "wrong"), (BOB, PASSWORD))]
    bodies = [{key: value for key, value in (await answer.get_json()).items() if key != "request_id"} for answer in answers]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["code"] == "invalid_credentials"


@pytest.mark.parametrize("email", ["", " ", "\0", "ann@example.com\0", "a" * 321, "a" * 60_000, "ann", "é@\u202e", "' OR 1=1 --"])
async def test_odd_address_is_just_a_wrong_one(client: Client, email: str) -> None:
    assert (await sign_in(client, email)).status_code == 401


@pytest.mark.parametrize("password", ["", "\0", "x" * 1025, "x" * 60_000])
async def test_odd_password_is_just_a_wrong_one(client: Client, password: str) -> None:
    assert (await sign_in(client, ANN, password)).status_code == 401


@on_sqlite
@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {"email": ANN},
        {"email": 1, "password": PASSWORD},
        {"email": ANN, "password": None},
        {"email": ANN, "password": PASSWORD, "role": "admin"},
    ],
)
async def test_malformed_sign_in_is_refused(client: Client, body: object) -> None:
    assert (await client.post("/api/auth/login", json=body)).status_code == 400


@on_sqlite
async def test_token_is_nowhere_but_in_the_cookie(client: Client, app: Quart, resources: Resources) -> None:
    await sign_in(client)
    token = app.extensions["QUART_AUTH"][0].load_token(cookies_of(client)["holdfast_auth"].value, app)
    async with resources.database.read() as db:
        login = (await db.scalars(select(Login))).one()
        data = (await db.scalars(select(Session))).one().data
    assert login.token_hash == hash_token(token)
    assert token not in str(data)
    assert len(token) >= 43


@on_sqlite
@pytest.mark.parametrize("value", ["", "x", "AAAA", "a.b.c", "\u0660", "x" * 4000])
async def test_made_up_cookie_signs_nobody_in(app: Quart, value: str) -> None:
    answer = await app.test_client().get("/api/me", headers={"Cookie": f"holdfast_auth={value}"})
    assert answer.status_code == 401


@on_sqlite
async def test_well_signed_but_unknown_token_is_not_adopted(app: Quart, resources: Resources) -> None:
    signed = app.extensions["QUART_AUTH"][0].dump_token("a" * 43, app)
    answer = await app.test_client().get("/api/me", headers={"Cookie": f"holdfast_auth={signed}"})
    assert answer.status_code == 401
    async with resources.database.read() as db:
        assert await db.scalar(select(func.count()).select_from(Login)) == 0


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


# Events


async def test_sign_ins_are_on_record_with_the_network_address_and_without_the_e_mail(client: Client, resources: Resources) -> None:
    await sign_in(client, "eve@example.com")
    await sign_in(client, ANN, "wrong")
    await sign_in(client)
    await sign_in(client)
    await client.post("/api/auth/logout")
    assert await events(resources) == ["login.failed", "login.failed", "login.succeeded", "login.succeeded", "login.ended", "login.ended"]
    async with resources.database.read() as db:
        rows = (await db.execute(select(Event).where(Event.kind.like("login.%")).order_by(Event.id))).scalars().all()
    assert [row.user_id is None for row in rows] == [True, False, False, False, False, False]
    assert [row.payload.get("reason") for row in rows[-2:]] == ["replaced", "signed_out"]
    assert not re.search("@", str([row.payload for row in rows]))
    assert [bool(row.payload.get("address")) for row in rows] == [True, True, True, True, False, False]


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
