"""Nobody is kept out by those who fail on purpose, and a crowd of strangers leaves who is signed in alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from http.cookiejar import Cookie
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import func, select, update

from app.auth import sign_in_lanes
from app.auth.known_browsers import LIFETIME, MAX_BROWSERS_PER_USER
from app.auth.links import invite
from app.auth.people import add_user
from app.auth.service import reset_password
from app.auth.sign_in_lanes import AT_ONCE, MAX_SLOWED_PER_ADDRESS, MAX_WAITING, SignInLanes, TooBusy, sign_in_lanes_of
from app.core.config import Settings
from app.core.errors import NotAuthenticated, Unavailable
from app.factory import create_app
from app.models import KnownBrowser, LoginAttempt
from app.resources import Resources
from app.sessions.token import hash_token
from tests.fakes import TickingClock
from tests.waiting import until

PASSWORD = "correct horse battery staple"
ANN, BOB = "ann@example.com", "bob@example.com"
SLOWDOWN = 0.3
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


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


async def test_who_waits_for_a_turn_is_bounded_by_address_in_all_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = SignInLanes()

    async def never() -> float:
        return 60

    def come(name: str, address: str) -> asyncio.Future[None]:
        return asyncio.ensure_future(lanes.wait_for_turn(name, address, failures=0, take=never))

    waiting = [come(f"name {n}", "10.70.0.1") for n in range(MAX_SLOWED_PER_ADDRESS)]
    with pytest.raises(TooBusy):
        await come("one more", "10.70.0.1")
    crowd = [come("crowded", f"10.71.{n}.1") for n in range(3)]
    await until(lambda: lanes._slowed.total() == len(waiting) + len(crowd))
    monkeypatch.setattr(sign_in_lanes, "MAX_SLOWED", len(waiting) + len(crowd))
    waiting.append(come("somebody else", "10.72.0.1"))
    await until(lambda: any(each.done() for each in crowd))
    [out] = [each for each in crowd if each.done()]
    assert isinstance(out.exception(), TooBusy), "one of those at the name with most waiting"
    assert not any(each.done() for each in waiting)
    monkeypatch.setattr(sign_in_lanes, "SLOWED_SECONDS", 0.05)
    with pytest.raises(TooBusy):
        await asyncio.wait_for(come("last", "10.73.0.1"), 10)
    for each in (*waiting, *crowd):
        each.cancel()
    await asyncio.gather(*waiting, *crowd, return_exceptions=True)
    assert not lanes._slowed


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


async def test_turn_that_is_taken_and_not_used_is_the_next_ones() -> None:
    lanes, taken = SignInLanes(), 0

    async def take() -> float:
        nonlocal taken
        taken += 1
        return 0.2 if taken == 1 else 60

    def come(n: int) -> asyncio.Future[None]:
        return asyncio.ensure_future(lanes.wait_for_turn("ann", f"10.70.0.{n}", failures=0, take=take))

    for n in range(20):
        leaving = come(n)
        await until(lambda: taken == 1)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(10):
        await come(100)
    assert taken == 1
    assert not lanes._slowed
    assert not lanes._names


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


# SignInLanes


async def test_places_are_few_and_the_queue_ends() -> None:
    lanes, release, inside = SignInLanes(), asyncio.Event(), 0

    async def come(address: str) -> None:
        nonlocal inside
        async with lanes.place(address):
            inside += 1
            assert inside <= AT_ONCE
            await release.wait()
            inside -= 1

    greedy = [asyncio.ensure_future(come("10.0.0.1")) for _ in range(600)]
    await until(lambda: sum(each.done() for each in greedy) > 400)
    other = asyncio.ensure_future(come("10.0.0.2"))
    await asyncio.sleep(0)
    assert not other.done(), "one address cannot fill the queue"
    release.set()
    outcomes = await asyncio.gather(*greedy, other, return_exceptions=True)
    refused = [each for each in outcomes if each is not None]
    assert {type(each) for each in refused} == {TooBusy}
    assert outcomes[-1] is None
    assert 600 - MAX_WAITING <= len(refused) < 600
    async with lanes.place("10.0.0.1"):
        pass


async def test_address_whose_attempts_fail_waits_behind_one_that_has_not_failed() -> None:
    lanes, order = SignInLanes(), []
    for _ in range(3):
        with suppress(NotAuthenticated):
            async with lanes.place("10.0.0.1"):
                raise NotAuthenticated

    async def come(address: str) -> None:
        async with lanes.place(address):
            order.append(address)
            await asyncio.sleep(0)

    async with AsyncExitStack() as held:
        for _ in range(AT_ONCE):
            await held.enter_async_context(lanes.place("10.0.0.9"))
        waiting = [asyncio.ensure_future(come(each)) for each in ["10.0.0.1"] * 10 + ["10.0.0.2"] * 10]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == ["10.0.0.2"] * 10 + ["10.0.0.1"] * 10


async def test_full_queue_puts_out_who_has_failed_before_who_has_not() -> None:
    lane = sign_in_lanes._Lane(1, 4, 2)
    await lane.enter("10.0.0.9")
    lane.note_failures("10.0.0.3")
    waiting = {each: asyncio.ensure_future(lane.enter(each)) for each in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")}
    await asyncio.sleep(0)
    waiting["10.0.0.5"] = asyncio.ensure_future(lane.enter("10.0.0.5"))
    await until(lambda: any(each.done() for each in waiting.values()))
    assert [address for address, each in waiting.items() if each.done()] == ["10.0.0.3"]
    for _ in waiting:
        lane.leave()
    outcomes = await asyncio.gather(*waiting.values(), return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), type(None), TooBusy, type(None), type(None)]


async def test_an_outage_is_no_failure_of_the_address_that_met_it() -> None:
    lanes = SignInLanes()
    with suppress(Unavailable):
        async with lanes.place("10.0.0.1"):
            raise Unavailable("The database is away.")
    assert not lanes._strangers._failures


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


async def test_one_who_comes_late_gets_in_beside_six_hundred_from_many_addresses() -> None:
    lanes, served = SignInLanes(), 0

    async def attack(n: int) -> None:
        nonlocal served
        while True:
            with suppress(TooBusy, NotAuthenticated):
                async with lanes.place(f"10.60.{n // 250}.{n % 250}"):
                    await asyncio.sleep(0.005)
                    served += 1
                    raise NotAuthenticated
            await asyncio.sleep(0.2)

    crowd = [asyncio.ensure_future(attack(n)) for n in range(600)]
    await until(lambda: served > 100, within=30)
    place = lanes.place("10.61.0.1", with_cookie=True)
    with pytest.raises(StopIteration):  # a device cookie has a lane of its own, so nothing is waited for
        place.__aenter__().send(None)
    await place.__aexit__(None, None, None)

    async def patient() -> None:
        while True:
            with suppress(TooBusy):
                async with lanes.place("10.61.0.2"):
                    return
            await asyncio.sleep(0.2)

    await asyncio.wait_for(patient(), 30)
    for each in crowd:
        each.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    async with asyncio.timeout(30), lanes.place("10.61.0.3"):
        pass
