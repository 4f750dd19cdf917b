"""The site that people walk through, and what is done to it: two web processes behind one address, everything theirs to break."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

from redis import Redis
from sqlalchemy import insert, make_url, select, update

from app.core.database import Database
from app.models import STAGES, ChecklistItem, Deal, Finding, Login, Member, User
from tests.factories import make_deal, make_organisation, make_user
from tests.resilience.proxy import Balancer, TcpProxy
from tests.resilience.site import Site
from tests.servers import redis

AWAY_SECONDS = 3
OTHER_DEALS, ITEMS, COLLEAGUES = 24, 30, 14
_SEVERITIES, _STATUSES = ("critical", "high", "medium", "low", "info"), ("open", "in_review", "accepted", "resolved")
_numbers = count(1)


@dataclass
class Stage:
    site: Site
    balancer: Balancer
    sql: TcpProxy
    database: Database

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.balancer.port}"

    async def end_login(self, user: User) -> None:
        """As if its time had passed: for SQL, and for Redis, which keeps nothing longer than that."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        async with self.database.write() as db:
            hashes = await db.scalars(select(Login.token_hash).where(Login.user_id == user.id))
            await db.execute(update(Login).where(Login.user_id == user.id).values(idle_expires_at=past, expires_at=past))
        with Redis.from_url(self.site.redis.url) as client:
            for token_hash in hashes:
                for key in client.keys(f"*{token_hash}"):
                    client.delete(key)


@contextmanager
def running_stage(database_url: str) -> Iterator[Stage]:
    """On a migrated PostgreSQL database that nobody else uses."""
    address = make_url(database_url)
    sql, store = TcpProxy(address.port or 5432), redis.start("valkey")
    site = Site(address.set(port=sql.port).render_as_string(hide_password=False), store)
    balancer = Balancer([web.port for web in site.webs])
    try:
        site.start()
        yield Stage(site, balancer, sql, Database(database_url, name="holdfast-test"))
    finally:
        site.remove()
        for proxy in (balancer, sql):
            proxy.close()
        store.remove()


# What a person has there


@dataclass(frozen=True)
class World:
    """A person with two deals of their own and many that they read, and somebody else who works on the same two."""

    person: User
    other: User
    deals: tuple[int, int]
    # By deal, of each row what lists can be filtered by.
    findings: dict[int, dict[int, dict[str, str]]]
    items: dict[int, dict[int, dict[str, str]]]
    all_deals: dict[int, dict[str, str]]
    members: tuple[int, ...]

    def rows(self, page: str, deal: int) -> dict[int, dict[str, str]]:
        if page == "team":
            return {id_: {} for id_ in self.members}
        return {"findings": self.findings, "checklist": self.items}[page][deal] if deal else self.all_deals


async def make_world(database: Database) -> World:
    organisation = await make_organisation(database)
    person, other = [await make_user(database, organisation) for _ in range(2)]
    own = [await make_deal(database, organisation, owner=person, announced_on=date(2025, 1, n)) for n in (1, 2)]
    at = datetime.now(UTC)
    times = {"created_at": at, "updated_at": at}
    async with database.write() as db:
        facts = {"organisation_id": organisation.id, "password_hash": "", "created_at": at}
        people = [facts | {"name": f"Colleague {n:02}", "email": f"walk{next(_numbers)}@test.example"} for n in range(COLLEAGUES)]
        colleagues = list(await db.scalars(insert(User).returning(User.id, sort_by_parameter_order=True), people))
        facts = times | {"organisation_id": organisation.id}
        rows = [
            facts | {"name": f"Another {n:02}", "stage": STAGES[n % 5], "announced_on": date(2024, 1, 1 + n)} for n in range(OTHER_DEALS)
        ]
        others = list(await db.scalars(insert(Deal).returning(Deal.id, sort_by_parameter_order=True), rows))
        grants = [(id_, person.id, "viewer") for id_ in others]
        grants += [(deal.id, id_, "viewer") for deal in own for id_ in colleagues] + [(deal.id, other.id, "editor") for deal in own]
        await db.execute(
            insert(Member), [{"deal_id": deal, "user_id": user, "role": role, "created_at": at} for deal, user, role in grants]
        )
        findings, items = {}, {}
        for deal in own:
            found: list[dict[str, Any]] = [
                {"number": n, "title": f"Finding {n:02}", "severity": _SEVERITIES[n % 5], "status": _STATUSES[n % 4]}
                for n in range(1, ITEMS)
            ]
            ids = await db.scalars(
                insert(Finding).returning(Finding.id, sort_by_parameter_order=True), [times | {"deal_id": deal.id} | each for each in found]
            )
            findings[deal.id] = dict(zip(ids, ({k: str(v) for k, v in each.items()} for each in found), strict=True))
            listed: list[dict[str, Any]] = [
                {"title": f"Item {n:02}", "section": f"Section {n // 12}", "position": n, "done_at": at if n % 3 == 0 else None}
                for n in range(1, ITEMS)
            ]
            ids = await db.scalars(
                insert(ChecklistItem).returning(ChecklistItem.id, sort_by_parameter_order=True),
                [times | {"deal_id": deal.id} | each for each in listed],
            )
            states = ({"title": str(each["title"]), "state": "done" if each["done_at"] else "open"} for each in listed)
            items[deal.id] = dict(zip(ids, states, strict=True))
    all_deals = {id_: {"stage": str(row["stage"])} for id_, row in zip(others, rows, strict=True)} | {
        each.id: {"stage": "diligence"} for each in own
    }
    return World(person, other, (own[0].id, own[1].id), findings, items, all_deals, (person.id, other.id, *colleagues))


# What is done to all at once: it lasts while they come back


Blow = Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def web_killed(stage: Stage) -> AsyncIterator[None]:
    """Its supervisor starts it again."""
    web = stage.site.webs[next(_numbers) % 2]
    web.kill()
    await asyncio.to_thread(web.start)
    yield
    await web.wait_until_ready()


@asynccontextmanager
async def deploy(stage: Stage) -> AsyncIterator[None]:
    async def roll() -> None:
        for web in stage.site.webs:
            await asyncio.to_thread(web.terminate)
            await asyncio.to_thread(web.start)
            await web.wait_until_ready()

    rolling = asyncio.create_task(roll())
    yield
    await rolling


@asynccontextmanager
async def redis_killed(stage: Stage) -> AsyncIterator[None]:
    stage.site.redis.kill()
    yield
    await asyncio.to_thread(stage.site.redis.restart)


@asynccontextmanager
async def redis_hung(stage: Stage) -> AsyncIterator[None]:
    stage.site.redis.stop()
    yield
    stage.site.redis.cont()


@asynccontextmanager
async def database_away(stage: Stage) -> AsyncIterator[None]:
    async def come_back() -> None:
        await asyncio.sleep(AWAY_SECONDS)
        await asyncio.to_thread(stage.sql.accept)

    await asyncio.to_thread(stage.sql.refuse)
    coming = asyncio.create_task(come_back())
    yield
    await coming


TO_ALL: dict[str, Blow] = {each.__name__: each for each in (web_killed, deploy, redis_killed, redis_hung, database_away)}
