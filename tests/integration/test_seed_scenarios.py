"""The main job against real web processes with a cookie jar, as somebody with curl would check it: with Redis and without."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.core.clock import Clock
from app.core.database import Database
from app.models import Deal, Session, User
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user
from tests.waiting import until

# Each database and each way to keep sessions once: how both meet under faults is for tests/resilience.
pytestmark = pytest.mark.parametrize(("database_url", "redis_url"), [("postgresql", "valkey"), ("sqlite", "none")], indirect=True)

PAIRS = 200
TAKEN_AWAY = {"code": "deal_unavailable"}
NOTHING = {"deal": None, "source": "none", "notice": None}


@dataclass
class Office:
    """A lead who owns two deals and an analyst who may see both."""

    lead: User
    analyst: User
    deals: list[Deal]


@pytest.fixture
async def office(database: Database) -> Office:
    organisation = await make_organisation(database)
    lead, analyst = [await make_user(database, organisation) for _ in range(2)]
    deals = [await make_deal(database, organisation, owner=lead) for _ in range(2)]
    for deal in deals:
        await make_member(database, deal, analyst)
    return Office(lead, analyst, deals)


class Jar(httpx.AsyncClient):
    """A browser as far as cookies go: sent to whichever server is asked, since a cookie does not know ports."""

    async def sign_in(self, person: User) -> Any:
        response = await self.post("/api/auth/login", json={"email": person.email, "password": PASSWORD})
        assert response.status_code == 200, response.text
        return response.json()

    async def select(self, deal: Deal, *, at: str = "") -> None:
        response = await self.post(f"{at}/api/deals/{deal.id}/select")
        assert response.status_code == 200, response.text

    async def current(self, *, at: str = "") -> Any:
        response = await self.get(f"{at}/api/deals/current")
        assert response.status_code == 200, response.text
        return response.json()


NewJar = Callable[[str], Awaitable[Jar]]


@pytest.fixture
async def new_jar() -> AsyncIterator[NewJar]:
    async with AsyncExitStack() as stack:

        async def make(url: str) -> Jar:
            return await stack.enter_async_context(Jar(base_url=url, trust_env=False, timeout=10))

        yield make


async def test_deal_comes_back_whatever_is_lost_until_it_is_cleared(start_web: StartWeb, new_jar: NewJar, office: Office) -> None:
    site, deal = await start_web(), office.deals[0]
    jar = await new_jar(site.url)
    await jar.sign_in(office.analyst)
    await jar.select(deal)
    jar.cookies.delete("holdfast_session")
    assert (await jar.current())["deal"]["id"] == deal.id

    second = await new_jar(site.url)
    assert (await second.sign_in(office.analyst))["current_deal"]["id"] == deal.id
    answer = await second.current()
    assert (answer["deal"]["id"], answer["source"]) == (deal.id, "restored")

    assert (await second.delete("/api/deals/current")).status_code == 204
    third = await new_jar(site.url)
    assert (await third.sign_in(office.analyst))["current_deal"] is None
    for each in (jar, second, third):
        assert await each.current() == NOTHING


async def test_deal_revoked_while_away_is_not_restored_and_not_when_granted_again(
    start_web: StartWeb, new_jar: NewJar, office: Office, database: Database
) -> None:
    site, deal = await start_web(), office.deals[0]
    away, lead = await new_jar(site.url), await new_jar(site.url)
    await away.sign_in(office.analyst)
    await away.select(deal)
    await lead.sign_in(office.lead)
    member = f"/api/deals/{deal.id}/members"
    assert (await lead.delete(f"{member}/{office.analyst.id}")).status_code == 204
    assert await away.current() == {"deal": None, "source": "none", "notice": TAKEN_AWAY}
    assert (await away.post("/api/auth/logout")).status_code == 204
    async with database.read() as db:
        assert (await db.get_one(User, office.analyst.id)).last_deal_id is None
    assert (await lead.post(member, json={"user_id": office.analyst.id, "role": "viewer"})).status_code == 201
    assert (await away.sign_in(office.analyst))["current_deal"] is None
    assert await away.current() == NOTHING
    page = await away.get("/workspace")
    assert (page.status_code, office.deals[1].name in page.text) == (200, True), "a choice, not an error"


async def test_deal_deleted_while_away_is_not_restored_until_it_is_back(start_web: StartWeb, new_jar: NewJar, office: Office) -> None:
    site, deal = await start_web(), office.deals[0]
    away, lead = await new_jar(site.url), await new_jar(site.url)
    await away.sign_in(office.analyst)
    await away.select(deal)
    assert (await away.post("/api/auth/logout")).status_code == 204
    await lead.sign_in(office.lead)
    assert (await lead.delete(f"/api/deals/{deal.id}")).status_code == 204
    assert (await away.sign_in(office.analyst))["current_deal"] is None
    assert await away.current() == {"deal": None, "source": "none", "notice": TAKEN_AWAY}
    assert (await away.get("/workspace")).status_code == 200
    assert (await lead.post(f"/api/deals/{deal.id}/restore")).status_code == 200
    assert (await (await new_jar(site.url)).sign_in(office.analyst))["current_deal"]["id"] == deal.id


async def test_session_that_expired_while_the_login_lives_is_made_anew_with_its_deal(
    start_web: StartWeb, new_jar: NewJar, office: Office, database: Database
) -> None:
    site, deal = await start_web({"PERMANENT_SESSION_LIFETIME": "2"}), office.deals[0]
    jar = await new_jar(site.url)
    await jar.sign_in(office.analyst)
    await jar.select(deal)

    async def is_over() -> bool:
        async with database.read() as db:
            session = (await db.execute(select(Session))).scalar_one()
        return session.expires_at < Clock().now()

    await until(is_over, within=10)
    answer = await jar.current()
    assert (answer["deal"]["id"], answer["source"], answer["notice"]["code"]) == (deal.id, "restored", "restored")
    assert (await jar.get("/workspace")).headers["Location"] == f"/deals/{deal.id}/overview"


async def test_browser_without_sticky_routing_always_sees_what_it_did_last(start_web: StartWeb, new_jar: NewJar, office: Office) -> None:
    """Each request goes to a server picked at random; the seed is in the message, so that a failure can be had again."""
    sites = [(await start_web()).url for _ in range(2)]
    seed = random.randrange(2**32)
    pick = random.Random(seed)
    jar = await new_jar(sites[0])
    await jar.sign_in(office.analyst)
    for turn in range(PAIRS):
        deal, writer, reader = pick.choice(office.deals), pick.choice(sites), pick.choice(sites)
        await jar.select(deal, at=writer)
        assert (await jar.current(at=reader))["deal"]["id"] == deal.id, (seed, turn, writer == reader)
