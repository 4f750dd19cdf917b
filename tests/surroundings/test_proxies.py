"""Behind nginx, HAProxy and Caddy, with the very files of docs/operations/proxy: what people and programs see, and an upgrade."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.core.database import Database
from app.models import Deal, User
from tests.conftest import StartWeb
from tests.crawl import Answer, crawl
from tests.factories import PASSWORD, make_deal, make_organisation, make_user, make_work
from tests.integration.event_reader import listening
from tests.servers.proxies import ProxyServer
from tests.servers.web import WebServer
from tests.waiting import until

# What a proxy does is the same on every database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PRODUCTION = {
    "HOLDFAST_ENV": "production",
    "SECRET_KEY": "jJ8z-Qm3Vb7wXk2Rt9Lp5Ns1Yd4Hf6Gc0Ea",
    "ALLOWED_HOSTS": ".localhost,127.0.0.1",
    "PASSWORD_TIME_COST": "2",
    "PASSWORD_MEMORY_KIB": "19456",
    "RATE_LIMIT_LOGIN": "5",
    "DRAIN_SECONDS": "3",
}
# Another address of this machine, which is no proxy's.
VISITOR, SPOOFED = "127.0.0.2", "198.51.100.66"
ROOT = "/holdfast"
# Debian has it, but no need of it: tried where it is installed.
CADDY = ["caddy"] if shutil.which("caddy") else []
# For a machine that has other things to do as well.
SLACK = 2

StartProxy = Callable[..., ProxyServer]


class Site:
    """Two web processes, an admin who operates the site too, and two deals."""

    webs: list[WebServer]
    user: User
    deals: list[Deal]

    @property
    def ports(self) -> list[int]:
        return [web.port for web in self.webs]


@pytest.fixture
async def site(start_web: StartWeb, database: Database) -> Site:
    site = Site()
    organisation = await make_organisation(database)
    site.user = await make_user(database, organisation, role="admin", is_operator=True)
    site.deals = [await make_deal(database, organisation, owner=site.user) for _ in range(2)]
    await make_work(database, site.deals[0])
    site.webs = list(await asyncio.gather(start_web(PRODUCTION), start_web(PRODUCTION)))
    return site


@pytest.fixture
def start_proxy(site: Site) -> Iterator[StartProxy]:
    """`start_proxy("nginx", {"given": "taken"})`: in front of both processes, with these changes to its file."""
    servers: list[ProxyServer] = []

    def start(kind: str, changes: dict[str, str] | None = None, *, ports: list[int] | None = None) -> ProxyServer:
        servers.append(ProxyServer(kind, ports or site.ports, changes))
        servers[-1].start()
        servers[-1].wait_for_port()
        return servers[-1]

    yield start
    for server in servers:
        server.remove()


@asynccontextmanager
async def visitor(proxy: ProxyServer, url: str, *, http2: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(verify=proxy.trust(), http2=http2, local_address=VISITOR)
    async with httpx.AsyncClient(base_url=url, transport=transport, trust_env=False, timeout=20) as client:
        await until_served(client)
        yield client


async def until_served(client: httpx.AsyncClient) -> None:
    """A proxy that looks after its servers has to have looked once."""

    async def is_served() -> bool:
        return (await client.get("health/ready")).is_success

    await until(is_served, within=10)


async def sign_in(client: httpx.AsyncClient, user: User, **headers: str) -> httpx.Response:
    return await client.post("api/auth/login", json={"email": user.email, "password": PASSWORD}, headers=headers)


# What a client may make up; every proxy takes it away or puts the truth in its place.
MADE_UP = {
    "X-Forwarded-For": SPOOFED,
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "127.0.0.1:1",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/made-up",
    "Forwarded": f"for={SPOOFED};host=127.0.0.1:1;proto=http",
}


@pytest.mark.parametrize("kind", ["nginx", "haproxy", *CADDY])
async def test_holdfast_behind_a_proxy(kind: str, site: Site, start_proxy: StartProxy) -> None:
    proxy = start_proxy(kind)
    async with visitor(proxy, proxy.url) as client, visitor(proxy, proxy.url, http2=False) as old:
        if kind != "caddy":
            plain = await old.get(f"http://localhost:{proxy.plain_port}/deals?q=a")
            assert (plain.status_code, plain.headers["Location"][:17]) == (308, "https://localhost")

        # TLS and HTTP/2; signing in, whatever a client makes up, from a port that is not 443.
        answer = await sign_in(client, site.user, **MADE_UP, Origin=proxy.url, **{"Sec-Fetch-Site": "same-origin"})
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2"), answer.text
        assert {cookie.partition("=")[0] for cookie in answer.headers.get_list("set-cookie")} == {
            "__Host-holdfast_auth",
            "__Host-holdfast_device",
            "__Host-holdfast_session",
        }
        assert (await sign_in(old, site.user, Origin=proxy.url)).http_version == "HTTP/1.1"
        logins = (await client.get("/api/logins")).json()["logins"]
        assert {login["address"] for login in logins} == {VISITOR}
        assert (await client.patch("/api/me", json={"theme": "dark"}, headers={"Origin": f"{proxy.url}1"})).status_code == 403
        made = await client.post("/api/admin/invitations", json={"email": "a@deals.example"}, headers=MADE_UP)
        assert made.json()["link"]["url"].startswith(f"{proxy.url}/link?token=")
        assert (await client.get("/deals", headers=MADE_UP)).text.count('"/made-up') == 0
        assert (await client.get("/metrics")).status_code == 404

        # What happens elsewhere is on the stream within a second.
        async with listening(client) as reader:
            await reader.until("hello")
            asked = time.monotonic()
            selected = await client.post(f"/api/deals/{site.deals[0].id}/select")
            assert selected.status_code == 200, selected.text
            assert (await reader.until("selection")).data["deal"]["id"] == site.deals[0].id
            assert time.monotonic() - asked < 1 + SLACK

        # A version that was weakened on its way is still the version.
        path = f"/api/deals/{site.deals[0].id}"
        assert (await client.patch(path, json={"tagline": "Long. " * 200})).status_code == 200
        shown = await client.get(path, headers={"Accept-Encoding": "gzip"})
        assert (shown.headers["content-encoding"], shown.headers["etag"]) == ("gzip", 'W/"2"')
        for status in (200, 409):
            answer = await client.patch(path, json={"tagline": "Short"}, headers={"If-Match": shown.headers["etag"]})
            assert answer.status_code == status, answer.text

        await upload(client, proxy)

    # Below a path of a host that is shared.
    async with visitor(proxy, f"{proxy.shared_url}{ROOT}/") as below:
        await below_a_path(below, proxy, site)


async def upload(client: httpx.AsyncClient, proxy: ProxyServer) -> None:
    """20 MB; nginx writes nothing of it to its disk."""
    row = b"Company,Nobody,2014," + b"x" * 20_000 + b"\n"
    kept: list[Any] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"Target,Acquirer,Year,Remark\n"
        for _ in range(1000):
            yield row
        kept.extend(path for path in proxy.directory.glob("client_body/**/*") if path.is_file())

    answer = await client.post("/api/imports?filename=big.csv&start=false", content=body(), headers={"Content-Type": "text/csv"})
    assert answer.status_code in (202, 400), answer.text
    assert answer.status_code == 202 or answer.json()["code"] != "http_error", answer.text
    assert kept == []
    small = await client.post("/api/deals", content=b"x" * 700_000, headers={"Content-Type": "application/json"})
    assert (small.status_code, small.json()["code"]) == (413, "payload_too_large"), "Holdfast's own answer"


async def below_a_path(client: httpx.AsyncClient, proxy: ProxyServer, site: Site) -> None:
    assert (await client.get(f"{proxy.shared_url}{ROOT}")).headers["Location"] in (f"{ROOT}/", f"{proxy.shared_url}{ROOT}/")
    answer = await sign_in(client, site.user, **MADE_UP, Origin=proxy.shared_url)
    assert answer.status_code == 200, answer.text
    cookies = answer.headers.get_list("set-cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {f"__Secure-holdfast_{name}" for name in ("auth", "device", "session")}
    assert all(f"Path={ROOT};" in f"{cookie};" for cookie in cookies)
    assert (await client.get(f"{proxy.shared_url}{ROOT}/metrics")).status_code == 404
    made = await client.post("api/admin/invitations", json={"email": "b@deals.example"}, headers=MADE_UP)
    assert made.json()["link"]["url"].startswith(f"{proxy.shared_url}{ROOT}/link?token=")
    async with listening(client, "api/events") as reader:
        await reader.until("hello")
    found = await crawl(asker(client, proxy.shared_url), f"{ROOT}/", inside=ROOT)
    assert found.problems == []
    assert len([path for path in found.seen if "/static/" not in path]) > 30


def asker(client: httpx.AsyncClient, host: str) -> Callable[[str, str], Awaitable[Answer]]:
    async def ask(method: str, path: str) -> Answer:
        if path.partition("?")[0].endswith(("/api/events", "/progress")) or "/api/ops/live/" in path:
            async with client.stream("GET", host + path, headers={"Accept": "text/event-stream"}) as stream:
                return Answer(stream.status_code, "", "", "")
        answer = await client.request(method, host + path)
        kind = answer.headers.get("Content-Type", "")
        return Answer(answer.status_code, answer.headers.get("Location", ""), kind, answer.text if kind.startswith("text/") else "")

    return ask


async def test_nginx_as_people_have_it(site: Site, start_web: StartWeb, start_proxy: StartProxy) -> None:
    """`Host $host`, a compression of nginx's own, and a path that is passed through."""
    through = await start_web(PRODUCTION | {"ROOT_PATH": ROOT})
    changes = {
        "Host $http_host;": "Host $host;",
        'proxy_set_header X-Forwarded-Port "";': "",
        "proxy_set_header X-Forwarded-Prefix $holdfast_prefix;": "",
        "proxy_pass http://holdfast/;": "proxy_pass http://holdfast;",
        "proxy_pass http://holdfast$import_path$is_args$args;": "proxy_pass http://holdfast;",
        "proxy_pass http://holdfast$stream_path$is_args$args;": "proxy_pass http://holdfast;",
        'proxy_set_header Forwarded "";': (
            'proxy_set_header Accept-Encoding ""; gzip on; gzip_proxied any; gzip_min_length 20; gzip_types application/json;'
        ),
    }
    proxy = start_proxy("nginx", changes, ports=[through.port, through.port])
    async with visitor(proxy, f"{proxy.shared_url}{ROOT}/") as client:
        # The port of the browser is known to nobody but the browser.
        for headers, status in (
            ({"Origin": proxy.shared_url, "Sec-Fetch-Site": "same-origin"}, 200),
            ({"Origin": proxy.shared_url}, 403),
            ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ):
            assert (await sign_in(client, site.user, **headers)).status_code == status
        own = {"Origin": proxy.shared_url, "Sec-Fetch-Site": "same-origin"}
        made = await client.post("api/admin/invitations", json={"email": "b@deals.example"}, headers=own)
        assert made.json()["link"]["url"].startswith(f"{proxy.shared_url}{ROOT}/link?token=")
        found = await crawl(asker(client, proxy.shared_url), f"{ROOT}/", inside=ROOT)
        assert found.problems == []
        path = f"api/deals/{site.deals[1].id}"
        shown = await client.get(path, headers={"Accept-Encoding": "gzip"})
        assert (shown.headers["content-encoding"], shown.headers["etag"]) == ("gzip", 'W/"1"')
        answer = await client.patch(path, json={"tagline": "Short"}, headers={"If-Match": f'{shown.headers["etag"]}, "7"'})
        assert answer.status_code == 200, answer.text
    with_port = start_proxy("nginx", {"Host $http_host;": "Host $host;", 'X-Forwarded-Port "";': "X-Forwarded-Port $server_port;"})
    async with visitor(with_port, with_port.url) as client:
        assert (await sign_in(client, site.user, Origin=with_port.url)).status_code == 200
        assert (await sign_in(client, site.user, Origin="https://localhost")).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
async def test_a_rolling_restart_refuses_nobody(kind: str, site: Site, start_proxy: StartProxy) -> None:
    proxy = start_proxy(kind)
    answers: Counter[int] = Counter()
    stop = asyncio.Event()
    streams: Counter[str] = Counter()

    async def work(client: httpx.AsyncClient, number: int) -> None:
        while not stop.is_set():
            if number % 2:
                answer = await client.get("/api/deals/list")
            else:
                answer = await client.post(f"/api/deals/{site.deals[number % 4 // 2].id}/select")
            answers[answer.status_code] += 1
            await asyncio.sleep(0.01)

    async def listen(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            async with client.stream("GET", "/api/events", headers={"Accept": "text/event-stream"}) as stream:
                answers[stream.status_code] += 1
                async for line in stream.aiter_lines():
                    streams[line] += 1
                    if stop.is_set():
                        break

    async with visitor(proxy, proxy.url, http2=False) as client, visitor(proxy, proxy.url, http2=False) as old:
        for each in (client, old):
            assert (await sign_in(each, site.user)).status_code == 200
        tasks = [asyncio.create_task(work(each, number)) for each in (client, old) for number in range(4)]
        tasks.append(asyncio.create_task(listen(client)))
        for web in site.webs:
            before = answers.total()
            await asyncio.to_thread(web.terminate, within=40)
            web.start()
            await web.wait_until_ready()
            await until_asked(web)
            assert answers.total() > before + 20, "there was load all the time"
        stop.set()
        done, late = await asyncio.wait(tasks, timeout=20)
        for unfinished in late:
            unfinished.cancel()
        for task in done:
            task.result()
    assert set(answers) == {200}, answers
    assert streams["event: hello"] >= 2, "the stream came back"


async def until_asked(web: WebServer) -> None:
    """Until the proxy sends it requests again: the last thing to be seen of a restart before the next one may begin."""

    async def is_asked() -> bool:
        async with httpx.AsyncClient(base_url=web.url, trust_env=False) as client:
            return 'http_requests_total{method="POST",status="2xx"}' in (await client.get("/metrics")).text

    await until(is_asked, within=20)
