"""Somebody at work on a real web process without Redis, so that every request goes to the database that is being swept."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from app.core.database import Database
from tests.factories import PASSWORD, make_deal, make_organisation, make_user
from tests.servers.web import WebServer

SETTINGS = {
    "SECRET_KEY": "only-for-benchmarks-" * 3,
    "PASSWORD_TIME_COST": "1",
    "PASSWORD_MEMORY_KIB": "8",
    "RATE_LIMIT_SELECT": "0",
    "RATE_LIMIT_LIST": "0",
    "RATE_LIMIT_WRITE": "0",
    "RATE_LIMIT_LOGIN": "0",
}
PAUSE_SECONDS = 0.005


@dataclass
class Times:
    """Seconds that answers took."""

    reads: list[float] = field(default_factory=list)
    selects: list[float] = field(default_factory=list)


@asynccontextmanager
async def at_work(url: str) -> AsyncIterator["Person"]:
    database = Database(url, name="holdfast-benchmark")
    try:
        organisation = await make_organisation(database)
        user = await make_user(database, organisation)
        deals = [(await make_deal(database, organisation, owner=user)).id for _ in range(2)]
    finally:
        await database.close()
    server = WebServer(SETTINGS | {"DATABASE_URL": url})
    server.start()
    try:
        await server.wait_until_ready()
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
            answer = await http.post("/api/auth/login", json={"email": user.email, "password": PASSWORD})
            answer.raise_for_status()
            yield Person(http, deals)
    finally:
        server.remove()


class Person:
    def __init__(self, http: httpx.AsyncClient, deals: list[int]) -> None:
        self.http = http
        self.deals = deals

    async def work(self, until: asyncio.Event) -> Times:
        """Select one deal and the other, read four times after each, and wait a little in between. Any refusal ends the benchmark."""
        times, turn = Times(), 0
        while not until.is_set():
            turn += 1
            deal = self.deals[turn % 2]
            if turn % 5:
                times.reads.append(await self._call("GET", "/api/deals/current"))
            else:
                times.selects.append(await self._call("POST", f"/api/deals/{deal}/select"))
            await asyncio.sleep(PAUSE_SECONDS)
        return times

    async def _call(self, method: str, path: str) -> float:
        began = time.perf_counter()
        (await self.http.request(method, path)).raise_for_status()
        return time.perf_counter() - began
