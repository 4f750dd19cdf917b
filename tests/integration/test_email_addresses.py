"""A person whose address has letters beyond ASCII, through the app: found by every spelling, there once, shown as people write it."""

import unicodedata
from typing import Any

import pytest
from click.testing import CliRunner
from quart import Quart
from sqlalchemy import select

from app.auth.commands import user as user_command
from app.auth.people import add_user
from app.core.errors import AppError
from app.models import User
from app.ops.explain.store import find_people
from tests.factories import PASSWORD, make_deal, make_user
from tests.integration.scene import Scene

# How addresses are spelled; what the unique index makes of it runs on both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MUNICH, ASCII = "user@münchen.example", "user@xn--mnchen-3ya.example"
SPELLINGS = (MUNICH, ASCII, MUNICH.upper(), unicodedata.normalize("NFD", MUNICH))


async def sign_in(app: Quart, email: str, password: str = PASSWORD) -> int:
    answer = await app.test_client().post("/api/auth/login", json={"email": email, "password": password})
    return int(answer.status_code)


@on_sqlite
@pytest.mark.parametrize("stored", [MUNICH, ASCII, unicodedata.normalize("NFD", MUNICH)])
async def test_every_spelling_signs_in_whichever_was_stored_before(app: Quart, scene: Scene, stored: str) -> None:
    await make_user(scene.resources.database, scene.organisation, email=stored)
    assert {await sign_in(app, spelling) for spelling in SPELLINGS} == {200}
    assert await sign_in(app, "user@munchen.example") == 401


async def test_two_spellings_stored_before_stay_two_accounts_each_under_its_own(app: Quart, scene: Scene) -> None:
    ids = {spelling: (await make_user(scene.resources.database, scene.organisation, email=spelling)).id for spelling in (MUNICH, ASCII)}
    for spelling, user_id in ids.items():
        client = app.test_client()
        answer = await client.post("/api/auth/login", json={"email": spelling, "password": PASSWORD})
        assert (await answer.get_json())["user"]["id"] == user_id


@pytest.mark.parametrize("stored", [MUNICH, ASCII])
async def test_nobody_is_there_twice(scene: Scene, stored: str) -> None:
    await make_user(scene.resources.database, scene.elsewhere, email=stored)
    for spelling in SPELLINGS:
        with pytest.raises(ValueError, match="already"):
            await add_user(scene.resources, spelling, "correct horse battery staple", name="X", organisation="Y")
        status, body = await scene.call("foreign_admin", "POST", "/api/admin/invitations", json={"email": spelling, "role": "member"})
        assert (status, body["code"]) == (409, "already_here")
        status, body = await scene.call("admin", "POST", "/api/admin/invitations", json={"email": spelling, "role": "member"})
        assert status == 201
        token = body["link"]["url"].partition("token=")[2]
        form = {"token": token, "name": "New", "password": PASSWORD, "again": PASSWORD}
        assert (await scene.app.test_client().post("/link", form=form)).status_code == 409


@on_sqlite
async def test_invited_person_is_stored_in_ascii_and_shown_in_unicode(app: Quart, scene: Scene) -> None:
    _, body = await scene.call("admin", "POST", "/api/admin/invitations", json={"email": MUNICH, "role": "member"})
    link = body["link"]["url"].partition("localhost")[2]
    client = app.test_client()
    page = await (await client.get(link)).get_data()
    assert MUNICH.encode() in page
    form = {"token": link.partition("token=")[2], "name": "Münchner", "password": PASSWORD, "again": PASSWORD}
    assert (await client.post("/link", form=form)).status_code == 303
    async with scene.resources.database.read() as db:
        assert await db.scalar(select(User.email).where(User.name == "Münchner")) == ASCII
        assert [person.email for person in await find_people(db, MUNICH, limit=5)] == [ASCII]
    assert MUNICH.encode() in await (await client.get("/settings/profile")).get_data()
    people = await (await scene.client("admin")).get("/admin/people", query_string={"q": MUNICH})
    assert MUNICH.encode() in await people.get_data()
    deal = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["admin"])
    assert (await scene.call("admin", "POST", f"/api/deals/{deal.id}/members", json={"email": MUNICH, "role": "viewer"}))[0] < 300


@on_sqlite
@pytest.mark.parametrize("email", ["jörg@example.com", "ann bell@example.com", '"ann"@example.com', "ann@example..com", "ann@example.com."])
async def test_what_the_sign_in_field_cannot_send_is_refused_at_the_invitation(scene: Scene, email: str) -> None:
    status, body = await scene.call("admin", "POST", "/api/admin/invitations", json={"email": email, "role": "member"})
    assert (status, body["code"]) == (400, "invalid_email")
    client = await scene.client("admin")
    page = await client.post("/admin/people/invite", form={"email": email, "role": "member"})
    assert page.status_code == 400
    assert b"is not an e-mail address to sign in with" in await page.get_data()


@on_sqlite
async def test_guesses_under_every_spelling_count_together(app: Quart, scene: Scene) -> None:
    await make_user(scene.resources.database, scene.organisation, email=ASCII)
    object.__setattr__(scene.resources, "settings", scene.resources.settings.model_copy(update={"rate_limit_login": 5}))
    assert [await sign_in(app, SPELLINGS[number % 4], "wrong") for number in range(6)] == [401] * 5 + [429]


@on_sqlite
def test_command_says_why(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    arguments: Any = ["add", "jörg@example.com", "--name", "J", "--organisation", "O", "--password-stdin"]
    done = CliRunner().invoke(user_command, arguments, input="correct horse battery staple\n")
    assert isinstance(done.exception, AppError)
    assert "from a to z" in str(done.exception)
