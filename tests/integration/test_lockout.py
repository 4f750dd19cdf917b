"""Nobody is kept out by those who fail on purpose, and a crowd of strangers leaves who is signed in alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from http.cookiejar import Cookie
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import func, select, update

from app.auth.known_browsers import LIFETIME, MAX_BROWSERS_PER_USER
from app.auth.links import invite
from app.auth.people import add_user
from app.auth.service import reset_password
from app.auth.sign_in_lanes import AT_ONCE, sign_in_lanes_of
from app.core.config import Settings
from app.factory import create_app
from app.models import KnownBrowser, LoginAttempt
from app.resources import Resources
from app.sessions.token import hash_token
from tests.fakes import TickingClock
from tests.waiting import until

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PASSWORD = "correct horse battery staple"

ANN, BOB = "ann@example.com", "bob@example.com"

SLOWDOWN = 0.3


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
async def app(settings: Settings, clock: TickingClock) -> AsyncIterator[Quart]:
    limits = {"rate_limit_login": 5, "login_slowdown": timedelta(seconds=SLOWDOWN)}
    app = create_app(settings.model_copy(update=limits), clock=clock)
    async with app.test_app():
        for email, name in ((ANN, "Ann"), (BOB, "Bob")):
            await add_user(app.extensions["holdfast"], email, PASSWORD, name=name, organisation="Acme")
        yield app


@pytest.fixture
def resources(app: Quart) -> Resources:
    resources = app.extensions["holdfast"]
    assert isinstance(resources, Resources)
    return resources


async def sign_in(client: Client, email: str = ANN, password: str = PASSWORD, *, address: str = "10.0.0.1") -> int:
    body = {"email": email, "password": password}
    answer = await client.post("/api/auth/login", json=body, scope_base={"client": (address, 50000)})
    return answer.status_code


async def attack(app: Quart, addresses: int, email: str = ANN, *, first: int = 0) -> list[int]:
    """One guess from each of so many addresses, all of which are new, at once."""
    guesses = [
        sign_in(app.test_client(), email, "wrong", address=f"10.{9 + n // 65536}.{n // 256 % 256}.{n % 256}")
        for n in range(first, first + addresses)
    ]
    return await asyncio.gather(*guesses)


def device_cookie(client: Client) -> Cookie:
    return next(cookie for cookie in client.cookie_jar or () if cookie.name == "holdfast_device")


async def counters(resources: Resources) -> int:
    async with resources.database.read() as db:
        return await db.scalar(select(func.count()).select_from(KnownBrowser)) or 0


async def test_failures_from_many_addresses_slow_a_name_down_and_refuse_nobody(app: Quart, resources: Resources) -> None:
    known = app.test_client()
    assert await sign_in(known, address="10.0.0.1") == 200
    assert set(await attack(app, 12)) == {401}, "no address failed often enough to be refused"
    slowed = sign_in_lanes_of(resources.database)._slowed
    signing_in = asyncio.ensure_future(sign_in(known, address="10.200.0.1"))
    while not signing_in.done():
        assert not slowed, "known by its cookie, on another network"
        await asyncio.sleep(0)
    assert await signing_in == 200
    await attack(app, 12, first=100)
    assert await sign_in(app.test_client(), address="10.200.0.2") == 200, "the right password, from anywhere"


@sqlite_only
async def test_known_browser_is_not_slowed_where_a_neighbour_made_up_a_cookie(app: Quart, resources: Resources) -> None:
    known, lanes = app.test_client(), sign_in_lanes_of(resources.database)
    assert await sign_in(known, address="10.0.0.1") == 200
    await attack(app, 12)
    lanes.demote("10.0.0.1")
    signing_in = asyncio.ensure_future(sign_in(known, address="10.0.0.1"))
    while not signing_in.done():
        assert not lanes._slowed
        await asyncio.sleep(0)
    assert await signing_in == 200


@sqlite_only
async def test_whoever_holds_a_link_waits_behind_no_guesser(app: Quart, resources: Resources) -> None:
    admin = await add_user(resources, "admin@example.com", PASSWORD, name="Admin", organisation="Acme", is_admin=True)
    link = await invite(resources, admin, "new@example.com", "member")
    await attack(app, 12, "new@example.com")
    slowed = sign_in_lanes_of(resources.database)._slowed
    form = {"token": link.token, "name": "New", "password": PASSWORD, "again": PASSWORD}
    using = asyncio.ensure_future(app.test_client().post("/link", form=form, scope_base={"client": ("10.200.0.4", 50000)}))
    while not using.done():
        assert not slowed
        await asyncio.sleep(0)
    assert (await using).status_code == 303


async def test_guesses_at_one_name_are_bounded_over_all_addresses_and_processes(
    app: Quart, resources: Resources, settings: Settings
) -> None:
    """Beyond the limit there are seconds between two that are looked at, whoever asks whichever process."""
    limits = {"rate_limit_login": 5, "login_slowdown": timedelta(seconds=SLOWDOWN)}
    other = create_app(settings.model_copy(update=limits), clock=resources.clock)
    await attack(app, 6)
    async with other.test_app():
        began = time.monotonic()
        answers = [*await asyncio.gather(attack(app, 3, first=100), attack(other, 3, first=200))]
        took = time.monotonic() - began
    assert [set(each) for each in answers] == [{401}, {401}]
    assert took >= 5 * SLOWDOWN


@sqlite_only
async def test_who_has_not_failed_is_next_however_many_guessers_wait(app: Quart, resources: Resources) -> None:
    await attack(app, 12)
    attackers = [asyncio.ensure_future(attack(app, 12)) for _ in range(1)]
    await until(lambda: any(queue.waiting > 3 for queue in sign_in_lanes_of(resources.database)._names.values()))
    assert await sign_in(app.test_client(), address="10.200.0.3") == 200
    assert not any(each.done() for each in attackers), "they were there before"
    await asyncio.gather(*attackers)


@sqlite_only
async def test_unknown_name_is_slowed_down_just_the_same(app: Quart) -> None:
    for email, first in ((ANN, 5000), ("nobody@example.com", 6000)):
        began = time.monotonic()
        assert set(await attack(app, 12, email, first=first)) == {401}
        assert time.monotonic() - began >= 4 * SLOWDOWN, "of the seven beyond the limit two may have been judged too early"


@sqlite_only
async def test_known_browser_has_a_counter_of_its_own(app: Quart, clock: TickingClock) -> None:
    client = app.test_client()
    await sign_in(client)
    assert [await sign_in(client, password="wrong") for _ in range(7)] == [401] * 5 + [429] * 2
    assert await sign_in(app.test_client(), address="10.0.0.1") == 200, "its failures are not its network's"
    clock.advance(timedelta(seconds=61))
    assert await sign_in(client) == 200


@sqlite_only
async def test_device_cookie_is_a_proof_for_one_account_and_opens_nothing(app: Quart, resources: Resources) -> None:
    client = app.test_client()
    await sign_in(client)
    cookie = device_cookie(client)
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.path == "/"
    assert cookie.expires
    assert abs(cookie.expires - time.time() - LIFETIME.total_seconds()) < 300
    token = str(cookie.value)
    async with resources.database.read() as db:
        assert (await db.scalars(select(KnownBrowser.token_hash))).all() == [hash_token(token)]
    only = {"Cookie": f"holdfast_device={token}"}
    assert (await app.test_client().get("/api/me", headers=only)).status_code == 401
    await client.post("/api/auth/logout")
    assert device_cookie(client).value == token, "signing out does not make a stranger of it"
    await sign_in(client)
    assert device_cookie(client).value == token
    assert await counters(resources) == 1
    await sign_in(client, BOB)
    assert str(device_cookie(client).value).split(".")[1:] == [token], "one for each person, none of which says anything of the other"
    async with resources.database.read() as db:
        assert len(set(await db.scalars(select(KnownBrowser.user_id)))) == 2


@sqlite_only
@pytest.mark.parametrize("value", ["", ".", "x" * 5000, "a.b.c.d", "é", "'--", "." * 500])
async def test_made_up_device_cookie_is_none(app: Quart, resources: Resources, value: str) -> None:
    await attack(app, 6)
    async with resources.database.write() as db:
        await db.execute(update(LoginAttempt).values(blocked_until=resources.clock.now() + timedelta(seconds=SLOWDOWN)))
    body = {"email": ANN, "password": PASSWORD}
    began = time.monotonic()
    answer = await app.test_client().post("/api/auth/login", json=body, headers={"Cookie": f"holdfast_device={value}"})
    assert answer.status_code == 200
    assert time.monotonic() - began >= SLOWDOWN / 2
    assert await counters(resources) == 1


@sqlite_only
async def test_new_password_makes_strangers_of_all_browsers(app: Quart, resources: Resources) -> None:
    client = app.test_client()
    await sign_in(client)
    await reset_password(resources, ANN, "a new and better passphrase")
    assert await counters(resources) == 0
    for _ in range(2):
        await sign_in(client, password="a new and better passphrase")
    change = {"current_password": "a new and better passphrase", "new_password": PASSWORD}
    assert (await client.post("/api/me/password", json=change)).status_code == 200
    assert await counters(resources) == 0


@sqlite_only
async def test_browsers_of_one_person_are_bounded(app: Quart, resources: Resources, clock: TickingClock) -> None:
    for _ in range(MAX_BROWSERS_PER_USER + 3):
        clock.advance(timedelta(seconds=1))
        assert await sign_in(app.test_client()) == 200
    assert await counters(resources) == MAX_BROWSERS_PER_USER


@sqlite_only
async def test_address_that_fails_on_purpose_is_refused_as_before(app: Quart, resources: Resources) -> None:
    statuses = [await sign_in(app.test_client(), f"user{n}@example.com", "wrong") for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    async with resources.database.read() as db:
        assert await db.scalar(select(func.count()).select_from(LoginAttempt)) == 7, "six names and the address, not the seventh"


async def test_crowd_of_strangers_is_refused_before_the_database_and_readers_are_served(app: Quart, resources: Resources) -> None:
    reader = app.test_client()
    assert await sign_in(reader) == 200

    async def stranger(n: int) -> Any:
        body = {"email": f"user{n}@example.com", "password": "wrong"}
        return await app.test_client().post("/api/auth/login", json=body, scope_base={"client": (f"10.50.{n // 250}.{n % 250}", 1)})

    crowd = [asyncio.ensure_future(stranger(n)) for n in range(400)]
    served = [(await reader.get("/api/me")).status_code for _ in range(20)]
    answers = await asyncio.gather(*crowd)
    assert served == [200] * 20
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {401, 503}
    assert statuses.count(503) >= 100, "the queue is bounded"
    assert all(answer.headers["Retry-After"] == "3" for answer in answers if answer.status_code == 503)
    async with resources.database.read() as db:
        counted = await db.scalar(select(func.count()).select_from(LoginAttempt)) or 0
    assert counted == 2 * statuses.count(401), "what was refused has cost the database nothing"


async def test_doors_of_strangers_share_the_places(app: Quart, resources: Resources) -> None:
    lanes = sign_in_lanes_of(resources.database)
    release = asyncio.Event()

    async def occupy() -> None:
        async with lanes.place("10.0.0.9"):
            await release.wait()

    held = [asyncio.ensure_future(occupy()) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)
    doors = [
        asyncio.ensure_future(app.test_client().get("/link?token=x")),
        asyncio.ensure_future(app.test_client().post("/link", form={"token": "x"})),
        asyncio.ensure_future(app.test_client().post("/login", form={"email": ANN, "password": "wrong"})),
    ]
    assert (await app.test_client().get("/login")).status_code == 200, "the page itself needs no place"
    assert not any(door.done() for door in doors)
    release.set()
    assert [answer.status_code for answer in await asyncio.gather(*doors)] == [404, 404, 401]
    await asyncio.gather(*held)
