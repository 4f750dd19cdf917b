"""Signing in: who is let in, with which cookies, and what is recorded."""

import re
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import func, select

from app.auth.service import disable_user
from app.core.config import Settings
from app.models import Event, Login, Session
from app.resources import Resources
from app.sessions.token import hash_token
from tests.integration.login.conftest import ANN, BOB, PASSWORD, cookies_of, events, sign_in

# Those that write at once, sweep, or send SQL what it may not take run on both; the others are of cookies and rules above SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


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
