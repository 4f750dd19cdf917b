"""What login cookies may say, from whichever clock and key: nobody is refused for it, sent in circles, or told they were signed out."""

import itertools
from collections.abc import AsyncIterator, Iterator
from http.cookiejar import Cookie, CookieJar
from typing import Any

import httpx
import pytest
from itsdangerous import TimestampSigner
from quart import Quart
from quart_auth import QuartAuth
from quart_auth.extension import _AuthSerializer
from sqlalchemy import select, update

from app.auth.people import add_user
from app.core.config import Settings
from app.factory import create_app
from app.models import Login
from app.resources import Resources
from tests.fakes import FakeClock

PASSWORD = "correct horse battery staple"
ANN = "ann@example.com"
HOUR, YEARS = 3600, 10 * 365 * 86400

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def app(settings: Settings, clock: FakeClock) -> AsyncIterator[Quart]:
    app = create_app(settings, clock=clock)
    async with app.test_app():
        await add_user(house_of(app), ANN, PASSWORD, name="Ann", organisation="Acme")
        yield app


@pytest.fixture
async def other_key(settings: Settings, clock: FakeClock) -> AsyncIterator[Quart]:
    """Another server on the same database which does not know this one's key."""
    app = create_app(settings.model_copy(update={"secret_key": "another key, of another machine!"}), clock=clock)
    async with app.test_app():
        yield app


@pytest.fixture
async def cut_off(settings: Settings, clock: FakeClock) -> AsyncIterator[Quart]:
    """Another server which reaches neither the database nor Redis."""
    nowhere = {"database_url": "postgresql+asyncpg://nobody@127.0.0.1:1/nothing", "redis_url": None}
    app = create_app(settings.model_copy(update=nowhere), clock=clock)
    async with app.test_app():
        yield app


def house_of(app: Quart) -> Resources:
    resources = app.extensions["holdfast"]
    assert isinstance(resources, Resources)
    return resources


async def token_of_login(app: Quart) -> str:
    """Of a login that lives."""
    client = app.test_client()
    assert (await client.post("/api/auth/login", json={"email": ANN, "password": PASSWORD})).status_code == 200
    value = next(cookie.value for cookie in client.cookie_jar or () if cookie.name == "holdfast_auth")
    token = app.extensions["QUART_AUTH"][0].load_token(value, app)
    assert isinstance(token, str)
    return token


async def gone_token(app: Quart) -> str:
    token = await token_of_login(app)
    client = app.test_client()
    assert (await client.post("/api/auth/logout", headers=cookie(signed(app, token)))).status_code == 204
    return token


def signed(app: Quart, token: str, *, by: int = 0, key: str | None = None) -> str:
    """As a server signs it whose clock is ahead `by` so many seconds: quart-auth's own serializer, of any version so far."""

    class Signer(TimestampSigner):
        def get_timestamp(self) -> int:
            return super().get_timestamp() + by

    class Serializer(_AuthSerializer):
        default_signer = Signer

    return str(Serializer(str(key or app.secret_key), "holdfast login").dumps(token))


def cookie(value: str, name: str = "holdfast_auth") -> dict[str, str]:
    return {"Cookie": f"{name}={value}"}


def put(jar: CookieJar, value: str, path: str) -> None:
    rest: dict[str, Any] = {"comment": None, "comment_url": None, "discard": True, "expires": None, "port": None, "port_specified": False}
    given: dict[str, Any] = {"domain": "localhost.local", "domain_specified": False, "domain_initial_dot": False}
    jar.set_cookie(Cookie(0, "holdfast_auth", value, path=path, path_specified=True, secure=False, rest={}, **given, **rest))


async def walk(servers: Iterator[Quart], jar: CookieJar, start: str, *, most: int = 10) -> tuple[httpx.Response, list[str]]:
    """Follow redirects as a browser does behind a balancer without sticky routing; the last answer and all addresses."""
    went = [start]
    while True:
        server: Any = next(servers)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server), base_url="http://localhost", cookies=jar) as browser:
            answer = await browser.get(went[-1])
            jar = browser.cookies.jar
        if not answer.is_redirect or len(went) > most:
            return answer, went
        went.append(answer.headers["Location"])


# Ages


@pytest.mark.parametrize("by", [-YEARS, -HOUR, -1, 1, 8, HOUR, YEARS])
async def test_age_of_a_signature_is_no_reason_to_refuse_a_living_login(app: Quart, by: int) -> None:
    value = signed(app, await token_of_login(app), by=by)
    assert (await app.test_client().get("/api/me", headers=cookie(value))).status_code == 200


async def test_versions_before_and_after_read_each_others_cookies(app: Quart) -> None:
    """Stock quart-auth is what every version so far has read and written. Should it change, nobody is to be signed out unnoticed."""
    ours, theirs = app.extensions["QUART_AUTH"][0], QuartAuth(duration=HOUR, salt="holdfast login")
    assert theirs.load_token(ours.dump_token("a token", app), app) == "a token"
    assert ours.load_token(theirs.dump_token("a token", app), app) == "a token"


async def test_stray_cookie_of_the_same_name_signs_nobody_out(app: Quart) -> None:
    good = signed(app, await token_of_login(app))
    for values in (["x", good], [good, "x"], ["", good]):
        header = "; ".join(f"holdfast_auth={value}" for value in values)
        assert (await app.test_client().get("/api/me", headers={"Cookie": header})).status_code == 200, values


# Circles


async def test_no_cookie_sends_anybody_in_circles(app: Quart, other_key: Quart, cut_off: Quart) -> None:
    live, gone = await token_of_login(app), await gone_token(app)
    values = {
        "none": None,
        "live": signed(app, live),
        "live, from a clock ahead": signed(app, live, by=HOUR),
        "gone": signed(app, gone),
        "of another key": signed(other_key, live),
        "garbage": "x.y.z",
    }
    fleets = {"one": [app], "another key": [app, other_key], "cut off": [app, cut_off]}
    strays = ("none", "live", "gone", "garbage")
    for (name, fleet), path, here, there in itertools.product(fleets.items(), ("/login", "/deals"), values, strays):
        for first, start in itertools.product(range(len(fleet)), ("/", "/login", "/login?next=/settings/devices")):
            jar = CookieJar()
            for value, place in ((values[here], "/"), (values[there], path)):
                if value is not None:
                    put(jar, value, place)
            answer, went = await walk(itertools.islice(itertools.cycle(fleet), first, None), jar, start)
            assert answer.status_code in (200, 401, 503), (name, here, path, there, went)
            assert len(went) <= 4, (name, here, path, there, went)


async def test_cookie_that_is_sent_to_the_sign_in_page_alone_ends_in_a_form(app: Quart) -> None:
    jar = CookieJar()
    put(jar, signed(app, await token_of_login(app)), "/login")
    answer, went = await walk(itertools.repeat(app), jar, "/")
    assert (answer.status_code, went) == (200, ["/", "/login"])
    assert "Sign in once more" in answer.text


async def test_who_is_signed_in_is_sent_on_from_the_sign_in_page(app: Quart) -> None:
    client = app.test_client()
    await client.get("/deals")
    assert (await client.post("/login", form={"email": ANN, "password": PASSWORD})).status_code == 303
    answer = await client.get("/login?next=/settings")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/settings"), "the mark of a refusal goes with the sign-in"


# Signing out


@pytest.mark.parametrize("value", ["x", "a.b.c", "of another key"])
async def test_what_cannot_be_read_is_not_acknowledged_as_ended(app: Quart, other_key: Quart, value: str) -> None:
    token = await token_of_login(app)
    header = cookie(signed(other_key, token) if value == "of another key" else value)
    api = await app.test_client().post("/api/auth/logout", headers=header)
    assert (api.status_code, (await api.get_json())["code"]) == (409, "login_unreadable")
    page = await app.test_client().post("/logout", headers=header)
    assert page.status_code == 409
    assert "nobody was signed out" in str(await page.get_data(as_text=True))
    for answer in (api, page):
        assert "Clear-Site-Data" not in answer.headers
        assert not answer.headers.getlist("Set-Cookie"), "the cookie stays: another server may be able to read and end it"
    assert (await app.test_client().get("/api/me", headers=cookie(signed(app, token)))).status_code == 200


async def test_signing_out_ends_the_logins_of_every_cookie(app: Quart) -> None:
    """Of one name a browser may hold several, each for a path of its own; whichever comes first, the other does not live on."""
    for first in ("live", "gone"):
        one, two = await (token_of_login if first == "live" else gone_token)(app), await token_of_login(app)
        both = {"Cookie": f"holdfast_auth={signed(app, one)}; holdfast_auth={signed(app, two)}"}
        assert (await app.test_client().post("/api/auth/logout", headers=both)).status_code == 204
        for token in (one, two):
            assert (await app.test_client().get("/api/me", headers=cookie(signed(app, token)))).status_code == 401, first


@pytest.mark.parametrize("stray_first", [True, False])
async def test_cookie_beside_the_one_that_was_ended_is_not_acknowledged_as_ended(app: Quart, other_key: Quart, stray_first: bool) -> None:
    mine, other = await token_of_login(app), await token_of_login(app)
    values = [signed(app, mine), signed(other_key, other)]
    both = {"Cookie": "; ".join(f"holdfast_auth={value}" for value in (reversed(values) if stray_first else values))}
    answer = await app.test_client().post("/api/auth/logout", headers=both)
    assert (answer.status_code, (await answer.get_json())["code"]) == (409, "login_unreadable")
    assert "You were signed out, but" in (await answer.get_json())["detail"]
    assert answer.headers["Clear-Site-Data"]
    assert "holdfast_auth=" not in " ".join(answer.headers.getlist("Set-Cookie")), "another server may be able to read and end it"
    assert (await app.test_client().get("/api/me", headers=cookie(values[0]))).status_code == 401
    assert (await app.test_client().get("/api/me", headers=cookie(signed(app, other)))).status_code == 200
    # From now on it is the only one that counts: it is named, and can be taken out of the browser.
    assert "cannot be read here" in str(await (await app.test_client().get("/login", headers=both)).get_data(as_text=True))
    assert (await app.test_client().post("/login/forget", headers=both)).headers.getlist("Set-Cookie")


async def test_more_cookies_than_are_looked_at_are_not_acknowledged_as_ended(app: Quart) -> None:
    tokens = [await token_of_login(app) for _ in range(6)]
    header = {"Cookie": "; ".join(f"holdfast_auth={signed(app, token)}" for token in tokens)}
    assert (await app.test_client().post("/api/auth/logout", headers=header)).status_code == 409
    assert (await app.test_client().get("/api/me", headers=cookie(signed(app, tokens[5])))).status_code == 200


async def test_cookie_nobody_can_read_is_told_apart_and_can_be_removed(app: Quart, other_key: Quart) -> None:
    token = await token_of_login(app)
    client = other_key.test_client()
    assert client.cookie_jar is not None
    put(client.cookie_jar, signed(app, token), "/")
    assert "cannot be read here" in str(await (await client.get("/login")).get_data(as_text=True))
    assert "cannot be read here" in (await (await client.get("/api/me")).get_json())["detail"]
    assert [each.name for each in client.cookie_jar] == ["holdfast_auth"], "a late answer must not take a newer cookie away"
    assert (await client.post("/login/forget")).status_code == 303
    assert not list(client.cookie_jar)
    assert "cannot be read here" not in str(await (await client.get("/login")).get_data(as_text=True))
    assert (await app.test_client().get("/api/me", headers=cookie(signed(app, token)))).status_code == 200, "it was not ended"


async def test_forgetting_takes_no_cookie_away_that_can_be_read(app: Quart) -> None:
    answer = await app.test_client().post("/login/forget", headers=cookie(signed(app, await token_of_login(app))))
    assert not answer.headers.getlist("Set-Cookie")


async def test_signing_out_ends_a_login_that_seems_to_be_over(app: Quart, clock: FakeClock) -> None:
    """By the clock of this server it has run out. By another one's it may live, and was acknowledged as ended."""
    token, resources = await token_of_login(app), house_of(app)
    async with resources.database.write() as db:
        await db.execute(update(Login).values(idle_expires_at=clock.now()))
    assert (await app.test_client().get("/api/me", headers=cookie(signed(app, token)))).status_code == 401
    assert (await app.test_client().post("/api/auth/logout", headers=cookie(signed(app, token)))).status_code == 204
    async with resources.database.read() as db:
        assert await db.scalar(select(Login.ended_at)) is not None


async def test_signing_out_without_a_cookie_or_with_a_dead_one_is_fine(app: Quart) -> None:
    for headers in ({}, cookie(""), cookie(signed(app, await gone_token(app)))):
        assert (await app.test_client().post("/api/auth/logout", headers=headers)).status_code == 204


async def test_outage_is_no_sign_out(app: Quart, cut_off: Quart) -> None:
    answer = await cut_off.test_client().post("/api/auth/logout", headers=cookie(signed(app, await token_of_login(app))))
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (503, [])
