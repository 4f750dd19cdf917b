"""security.txt, the way to a new password, and what robots are told."""

import re
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from quart import Quart

from app.core.config import ConfigError, Settings, load_settings
from tests.factories import PASSWORD
from tests.fakes import FakeClock
from tests.integration.scene import Scene

on_sqlite = pytest.mark.parametrize(("database_url", "redis_url"), [("sqlite", "none")], indirect=True)


@pytest.fixture
def settings(environ: dict[str, str], request: pytest.FixtureRequest) -> Settings:
    contact = "" if "unset" in request.node.name else "mailto:security@deals.example, https://deals.example/report"
    return load_settings(environ | {"SECURITY_CONTACT": contact})


@on_sqlite
async def test_security_txt_says_whom_to_tell_and_never_runs_out(app: Quart, clock: FakeClock) -> None:
    for _ in range(3):
        answer = await app.test_client().get("/.well-known/security.txt")
        assert (answer.status_code, answer.content_type) == (200, "text/plain; charset=utf-8")
        fields = re.findall(r"^([\w-]+): (.*)$", await answer.get_data(as_text=True), re.MULTILINE)
        assert [name for name, _ in fields] == ["Contact", "Contact", "Expires", "Canonical", "Preferred-Languages"]
        assert [value for name, value in fields if name == "Contact"] == ["mailto:security@deals.example", "https://deals.example/report"]
        said = dict(fields)
        assert urlsplit(said["Canonical"]).path == "/.well-known/security.txt"
        expires = datetime.fromisoformat(said["Expires"])
        assert timedelta(days=90) < expires - clock.now() < timedelta(days=365)
        clock.advance(timedelta(days=200))


@on_sqlite
async def test_security_txt_is_absent_where_unset(app: Quart) -> None:
    assert (await app.test_client().get("/.well-known/security.txt")).status_code == 404


@pytest.mark.parametrize("contact", ["security@deals.example", "http://deals.example", "mailto:a@b.example\nExpires: never", "https://a b"])
def test_contact_that_is_no_address_stops_the_start(contact: str) -> None:
    with pytest.raises(ConfigError, match="SECURITY_CONTACT"):
        load_settings({"SECURITY_CONTACT": contact})


@on_sqlite
async def test_password_managers_are_led_to_the_form(app: Quart) -> None:
    scene = await Scene.set(app)
    client = await scene.client("viewer")
    answer = await client.get("/.well-known/change-password")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/settings/profile#current_password")
    assert 'id="current_password"' in await (await client.get("/settings/profile")).get_data(as_text=True)


@on_sqlite
async def test_who_is_not_signed_in_gets_to_the_form_by_signing_in(app: Quart) -> None:
    scene, client = await Scene.set(app), app.test_client()
    asked = await client.get("/.well-known/change-password")
    assert asked.status_code == 302
    wanted = parse_qs(urlsplit(asked.headers["Location"]).query)["next"][0]
    signed_in = await client.post("/login", form={"email": scene.users["viewer"].email, "password": PASSWORD, "next": wanted})
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, "/.well-known/change-password")


@on_sqlite
async def test_robots_have_no_business_here(app: Quart) -> None:
    answer = await app.test_client().get("/robots.txt")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert "Disallow: /\n" in await answer.get_data(as_text=True)
