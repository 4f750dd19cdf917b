"""Server-sent events of a real web process: what is told, and when a stream ends by itself."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import insert, text

from app.core.database import Database
from app.http.live import MAX_STREAMS
from app.models import Deal, Event, Organisation, User
from tests.conftest import StartRedis, StartWeb
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user
from tests.integration.event_reader import Reader, listening
from tests.resilience.site import WorkerProcess
from tests.servers.web import WebServer
from tests.waiting import until

SOON = 10


@dataclass
class Office:
    """An organisation with an owner and an analyst, who sees the first of two deals."""

    web: WebServer
    database: Database
    organisation: Organisation
    owner: User
    analyst: User
    deals: list[Deal]

    @classmethod
    async def open(cls, web: WebServer, database: Database) -> "Office":
        organisation = await make_organisation(database)
        owner, analyst = [await make_user(database, organisation) for _ in range(2)]
        deals = [await make_deal(database, organisation, owner=owner) for _ in range(2)]
        await make_member(database, deals[0], analyst)
        return cls(web, database, organisation, owner, analyst, deals)

    @asynccontextmanager
    async def browser(self, user: User) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=self.web.url, trust_env=False, timeout=10) as client:
            answer = await client.post("/api/auth/login", json={"email": user.email, "password": PASSWORD})
            assert answer.status_code == 200
            yield client

    def figures(self) -> str:
        return httpx.get(f"{self.web.url}/metrics", trust_env=False).text


@pytest.fixture
async def office(start_web: StartWeb, database: Database) -> Office:
    return await Office.open(await start_web(), database)


async def next_of(reader: Reader, event: str) -> dict[str, object]:
    async with asyncio.timeout(SOON):
        said = await reader.until(event)
    assert isinstance(said.data, dict)
    return said.data


async def test_a_browser_hears_of_access_and_of_its_own_other_tabs(office: Office) -> None:
    shared, other = office.deals[0].id, office.deals[1].id
    async with AsyncExitStack() as stack:
        owner, analyst, bystander, outsider = [
            await stack.enter_async_context(office.browser(who))
            for who in (
                office.owner,
                office.analyst,
                await make_user(office.database, office.organisation),
                await make_user(office.database),
            )
        ]
        reader = await stack.enter_async_context(listening(analyst))
        others = [await stack.enter_async_context(listening(each)) for each in (bystander, outsider)]
        hello = await next_of(reader, "hello")
        assert hello["selection"]["deal"]["id"] == shared  # type: ignore[index]  # the only deal
        assert (await owner.post(f"/api/deals/{other}/members", json={"user_id": office.analyst.id, "role": "editor"})).status_code == 201
        assert await next_of(reader, "deal.shared") == {"deal_id": other, "role": "editor", "by": office.owner.id}
        assert (await owner.patch(f"/api/deals/{other}/members/{office.analyst.id}", json={"role": "viewer"})).status_code == 200
        assert (await next_of(reader, "deal.changed"))["role"] == "viewer"
        assert (await analyst.post(f"/api/deals/{other}/select")).status_code == 200
        selection = await next_of(reader, "selection")
        assert (selection["deal"]["id"], selection["source"]) == (other, "selected")  # type: ignore[index]
        by = {"id": office.owner.id, "name": office.owner.name}
        assert (await owner.patch(f"/api/deals/{other}", json={"tagline": "Blocks"})).status_code == 200
        assert await next_of(reader, "deal.edited") == {"deal_id": other, "form": "deal", "by": by}
        new = await owner.post(f"/api/deals/{other}/checklist", json={"section": "Tax", "title": "Returns"})
        item = f"/api/deals/{other}/checklist/{new.json()['item']['id']}"
        assert (await owner.patch(item, json={"done": True})).status_code == 200
        assert (await next_of(reader, "deal.edited"))["form"] == f"item-{new.json()['item']['id']}"
        assert (await owner.delete(f"/api/deals/{shared}/members/{office.analyst.id}")).status_code == 204
        assert await next_of(reader, "deal.unavailable") == {"deal_id": shared}
        assert (await owner.delete(f"/api/deals/{other}")).status_code == 204
        async with asyncio.timeout(SOON):
            said = [await reader.next(), await reader.next()]
        found = {each.event: each.data for each in said if each}
        assert found["deal.unavailable"] == {"deal_id": other}
        assert (found["selection"]["deal"], found["selection"]["notice"]) == (None, "deal_unavailable")
        assert selection["version"] < found["selection"]["version"]
        assert (await owner.post(f"/api/deals/{other}/restore")).status_code in (200, 204)
        assert (await next_of(reader, "deal.returned"))["role"] == "viewer"
        assert (await owner.post(f"/api/deals/{other}/transfer", json={"user_id": office.analyst.id})).status_code == 200
        assert (await next_of(reader, "deal.shared"))["role"] == "owner"
        for client, other_reader in zip((bystander, outsider), others, strict=True):
            await client.post("/api/auth/logout")
            async with asyncio.timeout(SOON):
                assert [said.event for said in await other_reader.to_end()] == ["hello", "end"], "what is not theirs they do not hear"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_late_commit_and_a_lost_connection_lose_nothing(office: Office) -> None:
    """An id that was given out before a later one was committed is told of all the same. (SQLite has one writer, and no such id.)"""
    shared, other = office.deals[0].id, office.deals[1].id
    values = {"kind": "member.revoked", "organisation_id": office.organisation.id, "user_id": office.analyst.id, "payload": {}}
    async with office.browser(office.analyst) as analyst:
        async with listening(analyst) as reader:
            last = (await reader.until("hello")).id
            async with office.database.write() as late:
                await late.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1min'"))
                now = datetime.now(UTC)
                await late.execute(insert(Event).values(**values, at=now, deal_id=other))
                async with office.database.write() as db:
                    await db.execute(insert(Event).values(**values, at=now, deal_id=other + 1000))
                assert (await next_of(reader, "deal.unavailable"))["deal_id"] == other + 1000
            assert (await next_of(reader, "deal.unavailable"))["deal_id"] == other
        async with listening(analyst, Last_Event_ID=last) as reader:
            told = {(await next_of(reader, "deal.unavailable"))["deal_id"] for _ in range(2)}
            assert told == {other, other + 1000}
            assert shared not in told


async def test_a_stream_ends_with_its_login_its_token_and_its_turn(office: Office) -> None:
    async with office.browser(office.analyst) as first, office.browser(office.analyst) as second, office.browser(office.owner) as owner:
        async with listening(first) as reader, listening(second) as bystander:
            await next_of(reader, "hello")
            began = time.monotonic()
            assert (await first.post("/api/auth/logout")).status_code == 204
            assert await next_of(reader, "end") == {"reason": "signed_out", "again": False}
            assert await reader.next() is None
            assert time.monotonic() - began < SOON
            assert (await first.get("/api/events", headers={"Accept": "text/event-stream"})).status_code == 401
            password = {"current_password": PASSWORD, "new_password": "another-horse-battery"}
            assert (await second.post("/api/me/password", json=password)).status_code == 200
            assert await next_of(bystander, "end") == {"reason": "rotated", "again": True}
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(listening(second)) for _ in range(MAX_STREAMS)]
            others = await stack.enter_async_context(listening(owner))
            for reader in readers:
                await next_of(reader, "hello")
            await until(lambda: f"holdfast_event_streams {MAX_STREAMS + 1}.0" in office.figures(), within=SOON)
            newest = await stack.enter_async_context(listening(second))
            assert await next_of(readers[0], "end") == {"reason": "too_many", "again": False}
            for reader in (newest, others):
                await next_of(reader, "hello")
            assert [reader.seen[-1].event for reader in readers] == ["end"] + ["hello"] * (MAX_STREAMS - 1)
            await until(lambda: f"holdfast_event_streams {MAX_STREAMS + 1}.0" in office.figures(), within=SOON)
    await until(lambda: "holdfast_event_streams 0.0" in office.figures(), within=SOON)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_streams_need_no_redis_and_end_with_the_server(start_web: StartWeb, database: Database, start_redis: StartRedis) -> None:
    """Redis is dead; five streams are open and requests are under way when the server is asked to stop."""
    redis = start_redis()
    web = await start_web({"REDIS_URL": redis.url, "REDIS_TIMEOUT_SECONDS": "0.25"})
    office = await Office.open(web, database)
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(office.browser(office.owner))
        analyst = await stack.enter_async_context(office.browser(office.analyst))
        redis.kill()
        readers = [await stack.enter_async_context(listening(analyst)) for _ in range(5)]
        for reader in readers:
            await next_of(reader, "hello")
        assert (await owner.delete(f"/api/deals/{office.deals[0].id}/members/{office.analyst.id}")).status_code == 204
        for reader in readers:
            assert (await next_of(reader, "deal.unavailable"))["deal_id"] == office.deals[0].id
        # Each waits for the body to have been sent, so that the server has it when it is told to stop.
        under_way = [await begin_sign_in(owner, office.owner) for _ in range(8)]
        began = time.monotonic()
        stopped = asyncio.create_task(asyncio.to_thread(web.terminate, within=SOON))
        async with asyncio.timeout(SOON):
            ends = [(await reader.to_end())[-1] for reader in readers]
            assert [(end.event, end.data) for end in ends] == [("end", {"reason": "shutdown", "again": True})] * 5
            answers = await asyncio.gather(*under_way)
            await stopped
        assert [answer.status_code for answer in answers] == [200] * 8
        assert time.monotonic() - began < SOON
    assert "Traceback" not in web.output()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_notice_comes_by_the_stream(office: Office, environ: dict[str, str]) -> None:
    """Through outbox, Redis and the worker, in words."""
    worker = WorkerProcess(environ)
    try:
        worker.start()
        async with office.browser(office.owner) as owner, office.browser(office.analyst) as analyst, listening(analyst) as reader:
            await next_of(reader, "hello")
            grant = {"user_id": office.analyst.id, "role": "editor"}
            assert (await owner.post(f"/api/deals/{office.deals[1].id}/members", json=grant)).status_code == 201
            async with asyncio.timeout(30):
                told = (await reader.until("notices")).data
            assert told["unread"] == 1
            assert [each["text"] for each in told["notices"]] == [
                f"{office.owner.name} shared {office.deals[1].name} with you; you can edit it"
            ]
            assert (await analyst.get("/api/notices")).json()["notices"] == told["notices"]
        assert worker.terminate(within=SOON) == 0
        assert "Traceback" not in worker.output()
    finally:
        worker.remove()


async def begin_sign_in(client: httpx.AsyncClient, user: User) -> asyncio.Task[httpx.Response]:
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield json.dumps({"email": user.email, "password": PASSWORD}).encode()
        sent.set()

    sign_in = client.post("/api/auth/login", content=body(), headers={"Content-Type": "application/json"})
    task = asyncio.create_task(sign_in)
    async with asyncio.timeout(SOON):
        await sent.wait()
    return task
