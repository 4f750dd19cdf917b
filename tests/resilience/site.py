"""A whole site on real processes, people who use it, and what they were answered while something breaks."""

import asyncio
import itertools
import os
import random
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select

from app.core.database import Database
from app.models import Deal, Event, Organisation, SessionBackend, User
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user
from tests.model.conformance import Verdict, find_strays
from tests.model.recorder import DIRECTORY, tell_step
from tests.resilience.matrix import IS_FULL
from tests.resilience.proxy import TcpProxy
from tests.servers.blocking import blocking
from tests.servers.process import AppProcess, held_directory, remove_directory
from tests.servers.redis import RedisServer
from tests.servers.web import ROOT, WebServer
from tests.waiting import until

# The bounds of the fault table are for a machine of its own; the tests share two cores with each other.
LENIENCE = 2
FLIP_SECONDS = 10 * LENIENCE
# In which a server may not have looked at the flag yet, where Redis could not tell it, and show other browsers what was before.
WINDOW = 1 * LENIENCE
# A directory for the steps that the model cannot take, to be looked at.
KEEP = os.environ.get("KEEP_STRAYS", "")
# What no site may end with.
COMPLAINTS: list[str] = []
VERSION_COOKIE = "holdfast_session"

SETTINGS = {
    "SECRET_KEY": "only-for-tests-" * 3,
    "PASSWORD_TIME_COST": "1",
    "PASSWORD_MEMORY_KIB": "8",
    "RATE_LIMIT_SELECT": "0",
    "RATE_LIMIT_LIST": "0",
    "RATE_LIMIT_WRITE": "0",
    "RATE_LIMIT_LOGIN": "0",
    # A quarter of what they are in production, and the return to Redis a fiftieth.
    "SESSION_BACKEND_POLL_SECONDS": "0.25",
    "PROBE_INTERVAL_SECONDS": "0.25",
    "PROBE_RISE_SECONDS": "0.2",
    "LOG_FORMAT": "json",
}
AS_IN_PRODUCTION = {"SESSION_BACKEND_POLL_SECONDS": "1", "PROBE_INTERVAL_SECONDS": "1", "PROBE_RISE_SECONDS": "10"}


class WorkerProcess(AppProcess):
    def __init__(self, environ: Mapping[str, str]) -> None:
        self.directory = held_directory("worker")
        variables = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(environ)
        super().__init__("worker", log=self.directory / "log", cwd=self.directory, env=variables)

    def says(self, text: str, *, times: int = 1) -> bool:
        self.check_alive()
        return self.output().count(text) >= times

    async def wait_until_ready(self) -> None:
        await until(lambda: self.says("Worker started"), within=30)

    def remove(self) -> None:
        self.cont()
        self.kill()
        remove_directory(self.directory)


class Site:
    """Web processes and a worker on one database and one Redis, each behind a proxy of its own."""

    def __init__(
        self,
        database_url: str,
        redis: RedisServer,
        *,
        webs: int = 2,
        worker: bool = True,
        settings: Mapping[str, str] | None = None,
        lossy: bool = True,
        recorded: bool = IS_FULL,
    ) -> None:
        """`lossy`: this Redis may lose what it was given, since a test restarts, empties or fills it. `recorded`: its processes write
        down their steps, which are held against the model at the end."""
        self.database_url = database_url
        self.redis = redis
        self.settings = SETTINGS | {"DATABASE_URL": database_url} | dict(settings or {})
        self.lossy = lossy
        self.recorded = recorded
        self.steps = held_directory("steps")  # that its processes take, for tests/model/conformance.py
        self.proxies = [TcpProxy(redis.port) for _ in range(webs + worker)]
        self.webs = [WebServer(self.environ(proxy)) for proxy in self.proxies[:webs]]
        # Its log says when it is ready.
        self.worker = WorkerProcess(self.environ(self.proxies[-1]) | {"LOG_LEVEL": "info"}) if worker else None

    @property
    def probe_interval(self) -> float:
        return float(self.settings["PROBE_INTERVAL_SECONDS"])

    @property
    def processes(self) -> list[WebServer | WorkerProcess]:
        return [*self.webs, *([self.worker] if self.worker else [])]

    def environ(self, proxy: TcpProxy) -> dict[str, str]:
        recorded = {DIRECTORY: str(self.steps)} if self.recorded else {}
        return {"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"} | recorded | self.settings

    def start(self) -> None:
        for process in self.processes:
            process.start()
        for process in self.processes:
            blocking(process.wait_until_ready)
        blocking(self.wait_for_redis)

    def remove(self) -> None:
        """The end of it, at which what its processes did is held against the model. The tests fail by `COMPLAINTS` (conftest.py)."""
        said = [line for line in self.output().splitlines() if "Sessions are not as they must be" in line]
        # A process that is stopped between its look at the hold and the commit says so, and is mended by the record's life.
        COMPLAINTS.extend(line for line in said if "hold_outlived" not in line)
        self.end()
        strays = find_strays(self.steps, lossy=self.lossy) if self.recorded else []
        COMPLAINTS.extend(map(str, strays))
        self.keep_strays(strays)

    def end(self) -> None:
        for process in self.processes:
            process.remove()
        for proxy in self.proxies:
            proxy.close()

    def keep_strays(self, strays: list[Verdict]) -> None:
        if strays and KEEP:
            shutil.copytree(self.steps, Path(KEEP) / self.steps.name)
        remove_directory(self.steps)

    def tell_step(self, what: str, *about: Any) -> None:
        """Something the model has to know of that a test does itself."""
        tell_step(self.steps / "test.jsonl", what, *about)

    async def health(self, server: int) -> tuple[str, str]:
        async with httpx.AsyncClient(trust_env=False, timeout=10, verify=False) as client:
            told = (await client.get(f"{self.webs[server].url}/api/health/session")).json()
        return told["status"], told["backend"]

    async def figures(self, name: str) -> dict[str, float]:
        """Of one counter, by label, over all web processes."""
        counted: dict[str, float] = {}
        async with httpx.AsyncClient(trust_env=False, timeout=10, verify=False) as client:
            for web in self.webs:
                for family in text_string_to_metric_families((await client.get(f"{web.url}/metrics")).text):
                    for sample in family.samples if family.name == f"holdfast_{name}" else ():
                        if sample.name.endswith("_total"):
                            label = next(iter(sample.labels.values()), "")
                            counted[label] = counted.get(label, 0) + sample.value
        return counted

    async def calls_of_redis(self) -> float:
        """Reads and writes of sessions that went to Redis, well or not."""
        reads, claims = await self.figures("session_reads"), await self.figures("session_claims")
        return reads.get("redis", 0) + reads.get("redis_failed", 0) + sum(claims.values())

    async def all_on(self, backend: str) -> bool:
        status = "healthy" if backend == "redis" else "degraded"
        return {await self.health(server) for server in range(len(self.webs))} == {(status, backend)}

    async def wait_for_redis(self, *, within: float = FLIP_SECONDS) -> float:
        return await timed(until(lambda: self.all_on("redis"), within=within))

    async def wait_for_sql(self) -> float:
        return await timed(until(lambda: self.all_on("sqlalchemy"), within=FLIP_SECONDS))

    def output(self) -> str:
        return "".join(process.output() for process in self.processes)


async def timed(work: Any) -> float:
    """Seconds it took."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


@dataclass(frozen=True)
class Answer:
    at: float
    took: float
    server: int
    what: str
    status: int


@dataclass
class Browser:
    """One cookie jar; each request goes to any of the servers, or to the one named."""

    site: Site
    http: httpx.AsyncClient
    email: str
    answers: list[Answer] = field(default_factory=list)

    async def call(self, method: str, path: str, *, server: int | None = None, **options: Any) -> httpx.Response:
        server = random.randrange(len(self.site.webs)) if server is None else server
        began = time.perf_counter()
        response = await self.http.request(method, self.site.webs[server].url + path, **options)
        self.answers.append(Answer(began, time.perf_counter() - began, server, f"{method} {path}", response.status_code))
        return response

    async def sign_in(self, password: str = PASSWORD, *, server: int | None = None) -> int:
        credentials = {"email": self.email, "password": password}
        return (await self.call("POST", "/api/auth/login", json=credentials, server=server)).status_code

    async def select(self, deal: Deal, *, server: int | None = None) -> int:
        return (await self.call("POST", f"/api/deals/{deal.id}/select", server=server)).status_code

    async def current(self, server: int | None = None) -> int | None:
        response = await self.call("GET", "/api/deals/current", server=server)
        assert response.status_code == 200, response.text
        deal = response.json()["deal"]
        return deal and int(deal["id"])

    async def current_everywhere(self) -> set[int | None]:
        return {await self.current(server) for server in range(len(self.site.webs))}

    async def status_everywhere(self) -> set[int]:
        return {(await self.call("GET", "/api/me", server=server)).status_code for server in range(len(self.site.webs))}


class People:
    """An organisation of this test's own: an owner, a viewer and three deals that both may see."""

    site: Site
    database: Database
    organisation: Organisation
    owner: User
    viewer: User
    deals: list[Deal]
    stack: AsyncExitStack

    @classmethod
    @asynccontextmanager
    async def of(cls, site: Site) -> AsyncIterator[Self]:
        people = cls()
        async with AsyncExitStack() as people.stack:
            people.site, people.database = site, Database(site.database_url, name="holdfast-test")
            people.stack.push_async_callback(people.database.close)
            people.organisation = await make_organisation(people.database)
            people.owner, people.viewer = [await make_user(people.database, people.organisation) for _ in range(2)]
            people.deals = [await make_deal(people.database, people.organisation, owner=people.owner) for _ in range(3)]
            for deal in people.deals:
                await make_member(people.database, deal, people.viewer)
            yield people

    async def browser(self, user: User | None = None, *, on: Deal | None = None, signed_in: bool = True) -> Browser:
        browser = Browser(self.site, await self._http(), (user or self.viewer).email)
        if signed_in:
            assert await browser.sign_in() == 200
        if on:
            assert await browser.select(on) == 200
        return browser

    async def bystander(self, browser: Browser) -> Browser:
        """The same login without the version it was shown: nothing but the servers keep it from seeing an older session."""
        other = Browser(self.site, await self._http(), browser.email)
        for cookie in browser.http.cookies.jar:
            if cookie.name != VERSION_COOKIE:
                other.http.cookies.jar.set_cookie(cookie)
        return other

    async def _http(self) -> httpx.AsyncClient:
        return await self.stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=15, verify=False))

    async def flips(self) -> list[str]:
        """The modes the backend went to, in order."""
        async with self.database.read() as db:
            payloads = await db.scalars(select(Event.payload).where(Event.kind == "backend.flipped").order_by(Event.id))
            return [payload["mode"] for payload in payloads]

    async def flag(self) -> SessionBackend:
        async with self.database.read() as db:
            return (await db.execute(select(SessionBackend))).scalar_one()

    async def count(self, kind: str, user: User | None = None) -> int:
        async with self.database.read() as db:
            mine = Event.user_id == (user or self.viewer).id
            return await db.scalar(select(func.count()).select_from(Event).where(Event.kind == kind, mine)) or 0


class Load:
    """Light and steady: people who select, read on any server, sign in and out, each checking what they are shown."""

    def __init__(self, people: People, *, readers: int = 2, pause: float = 0.03) -> None:
        self.people = people
        self.readers = readers
        self.pause = pause
        self.wrong: list[str] = []
        self.browsers: list[Browser] = []
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        self.browsers = [await self.people.browser(on=self.people.deals[0]) for _ in range(self.readers)]
        visitor, watch = [await self.people.browser(self.people.owner, signed_in=False) for _ in range(2)]
        self._tasks = [asyncio.create_task(self._work(browser)) for browser in self.browsers]
        self._tasks += [asyncio.create_task(self._come_and_go(visitor)), asyncio.create_task(self._measure_the_machine(watch))]
        self.browsers += [visitor, watch]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def for_a_while(self, answers: int) -> float:
        """Until so many more were given; when that began."""
        began, enough = time.perf_counter(), len(self.answers) + answers
        await until(lambda: len(self.answers) >= enough, within=60)
        return began

    @property
    def answers(self) -> list[Answer]:
        return [answer for browser in self.browsers for answer in browser.answers]

    @property
    def errors(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status >= 500]

    def times(self, since: float = 0, until: float = float("inf")) -> list[float]:
        return self._times(self.browsers[:-2], since, until)

    def noise(self, since: float = 0, until: float = float("inf")) -> float:
        """What the slowest of the answers took meanwhile that need neither Redis nor SQL: that much is the machine's."""
        return max(self._times(self.browsers[-1:], since, until), default=0)

    @staticmethod
    def _times(browsers: list[Browser], since: float, until: float) -> list[float]:
        return sorted(answer.took for browser in browsers for answer in browser.answers if since <= answer.at < until)

    async def _work(self, browser: Browser) -> None:
        shown: int | None = self.people.deals[0].id
        for turn in itertools.count(1):
            if self._over:
                return
            if turn % 6 == 0:
                deal = random.choice(self.people.deals)
                if await browser.select(deal) == 200:
                    shown = deal.id
            else:
                response = await browser.call("GET", "/api/deals/current")
                if response.status_code != 200:
                    self.wrong.append(f"{response.status_code} {response.text}")
                elif (response.json()["deal"] or {}).get("id") != shown:
                    self.wrong.append(f"shown {response.json()['deal']}, selected {shown}")
            await asyncio.sleep(self.pause)

    async def _come_and_go(self, visitor: Browser) -> None:
        while not self._over:
            for step in (visitor.sign_in(), visitor.call("GET", "/api/me"), visitor.call("POST", "/api/auth/logout")):
                await step
            await asyncio.sleep(self.pause)
            if (await visitor.call("GET", "/api/me")).status_code != 401:
                self.wrong.append("signed in after signing out")

    async def _measure_the_machine(self, watch: Browser) -> None:
        while not self._over:
            await watch.call("GET", "/health/live")
            await asyncio.sleep(self.pause)


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
