"""Two people of one organisation, an app they sign in to, and what a browser of theirs holds."""

from collections.abc import AsyncIterator
from http.cookiejar import Cookie
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import select

from app.auth.people import add_user
from app.core.config import Settings
from app.factory import create_app
from app.models import Event
from app.resources import Resources
from tests.fakes import FakeClock

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
