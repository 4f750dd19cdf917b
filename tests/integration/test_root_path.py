"""The site below a path of its host, whether the proxy takes it off or passes it through."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import update

from app.core.config import load_settings
from app.factory import create_app
from app.models import User
from tests.crawl import Answer, crawl
from tests.factories import PASSWORD, make_work
from tests.fakes import FakeClock
from tests.integration.scene import Scene

# Addresses are the same on every database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ROOT = "/holdfast"
PROXY = {"client": ("127.0.0.1", 40000)}
CSV = "Target,Acquirer,Year,Price,Date\nNest,Google,2014,$3.2bn,13/01/2014\n,Google,2013,$5m,\n"
# By a link that is shown once, by a job's run, or for programs.
NO_PAGE_LEADS_THERE = {
    "/health/live",
    "/health/ready",
    "/metrics",
    "/link",
    "/workspace",
    "/workspace/<page>",
    "/ops/jobs/runs/<id:run_id>",
}
NO_PAGE_LEADS_THERE |= {"/robots.txt", "/.well-known/security.txt", "/.well-known/change-password"}


@pytest.fixture
async def below(environ: dict[str, str], clock: FakeClock) -> AsyncIterator[Quart]:
    app = create_app(load_settings(environ | {"ROOT_PATH": ROOT}), clock=clock)
    async with app.test_app():
        yield app


async def operator(scene: Scene, app: Quart, **login: Any) -> Client:
    """Somebody who sees every page there is."""
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("admin")).values(is_operator=True))
    client = app.test_client()
    body = {"email": scene.users["admin"].email, "password": PASSWORD}
    answer = await client.post(f"{login.pop('root', '')}/api/auth/login", json=body, **login)
    assert answer.status_code == 200
    return client


def asker(client: Client, *, strip: str = "", headers: dict[str, str] | None = None) -> Any:
    """Ask as a browser behind a proxy has it done; `strip` is what the proxy takes off."""

    async def ask(method: str, path: str) -> Answer:
        if path.partition("?")[0].endswith(("/api/events", "/progress")) or "/api/ops/live/" in path:
            return Answer(200, "", "", "")  # endless; tests/surroundings reads them
        options: dict[str, Any] = {"method": method, "headers": headers or {}, "scope_base": PROXY}
        answer = await client.open(path.removeprefix(strip), **options)
        text = str(await answer.get_data(as_text=True)) if (answer.mimetype or "").startswith("text/") else ""
        return Answer(answer.status_code, answer.headers.get("Location", ""), answer.headers.get("Content-Type", ""), text)

    return ask


async def fill(scene: Scene) -> None:
    """One of each thing that has a page of its own."""
    await make_work(scene.resources.database, scene.deal)
    status, _ = await scene.call(
        "admin", "POST", "/api/imports?filename=a.csv&start=false", data=CSV.encode(), headers={"Content-Type": "text/csv"}
    )
    assert status == 202
    finding = {"title": "A", "severity": "low", "text": "See [the board](/deals/board) and [more](https://e.example/)."}
    assert (await scene.call("admin", "POST", "~/findings", json=finding))[0] == 201
    assert (await scene.call("admin", "PUT", "~/pin"))[0] == 204
    for name in ("finding-new.tab", "finding-4711"):  # to continue, and of what is gone: to read
        draft = {"fields": {"title": "A"}, "version": 1, "writer": "tab"}
        assert (await scene.call("admin", "PUT", f"~/drafts/{name}", json=draft))[0] == 200
    await scene.select("admin")


@pytest.mark.parametrize("way", ["passed through", "taken off"])
async def test_no_page_leads_out_of_the_root_path(app: Quart, below: Quart, way: str) -> None:
    scene = await Scene.set(app)
    await fill(scene)
    headers = {"X-Forwarded-Prefix": ROOT} if way == "taken off" else {}
    site = below if way == "passed through" else app
    client = await operator(scene, site, root=ROOT if way == "passed through" else "", headers=headers, scope_base=PROXY)
    ask = asker(client, strip=ROOT if way == "taken off" else "", headers=headers)
    found = await crawl(ask, f"{ROOT}/", inside=ROOT)
    stranger = asker(site.test_client(), strip=ROOT if way == "taken off" else "", headers=headers)
    door = await crawl(stranger, ROOT, inside=ROOT)
    assert found.problems + door.problems == []
    rules = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.rule.startswith("/api/")}
    missed = {
        rule for rule in rules - NO_PAGE_LEADS_THERE if not any(fits(rule, path.removeprefix(ROOT)) for path in {**found.seen, **door.seen})
    }
    assert missed == set(), "the crawl sees every page"


def fits(rule: str, path: str) -> bool:
    return bool(re.fullmatch(re.sub(r"<path:[^>]*>", ".+", re.sub(r"<(?:id:)?\w+>", "[^/]+", rule)), path.partition("?")[0]))


@pytest.mark.parametrize("way", ["passed through", "taken off"])
async def test_forms_scripts_and_programs_stay_below_the_root_path(app: Quart, below: Quart, way: str) -> None:
    scene = await Scene.set(app)
    site, at, headers = (below, ROOT, {}) if way == "passed through" else (app, "", {"X-Forwarded-Prefix": ROOT})
    client = await operator(scene, site, root=at, headers=headers, scope_base=PROXY)
    deal = scene.deal.id

    async def ask(method: str, path: str, **options: Any) -> Any:
        return await client.open(at + path, method=method, headers=headers, scope_base=PROXY, **options)

    for path, form, leads_to in (
        (f"/deals/{deal}/pin", {"next": "/deals?q=a"}, "/deals?q=a"),
        (f"/deals/{deal}/pin", {"next": "//evil.example"}, "/"),
        (f"/deals/{deal}/pin", {"next": "/../other"}, "/"),
        ("/workspace/select", {"deal_id": str(deal)}, f"/deals/{deal}/overview"),
        ("/settings/theme", {"theme": "dark", "next": "/settings"}, "/settings"),
        ("/ops/sessions/auto-restore", {"enabled": "false"}, "/ops/sessions?done=restore-off"),
    ):
        answer = await ask("POST", path, form=form)
        assert (answer.status_code, answer.headers.get("Location")) == (303, ROOT + leads_to), path
        assert await answer.get_data() == b"", "the text of a redirect names no address without the root path"
    answer = await ask("POST", "/api/deals", json={"name": "New"})
    assert re.fullmatch(rf"{ROOT}/api/deals/\d+", answer.headers["Location"])
    answer = await ask("GET", "//deals")
    assert answer.headers.get("Location", ROOT).startswith((ROOT, f"http://localhost{ROOT}"))
    document = json.loads(await (await ask("GET", "/api/openapi.json")).get_data())
    assert document["servers"] == [{"url": ROOT}]
    made = await (await ask("POST", "/api/admin/invitations", json={"email": "new@deals.example"})).get_json()
    assert made["link"]["url"].startswith(f"http://localhost{ROOT}/link?token=")
    nobody = site.test_client()
    answer = await nobody.get(f"{at}/deals?q=b", headers=headers, scope_base=PROXY)
    assert answer.headers["Location"] == f"{ROOT}/login?next=%2Fdeals%3Fq%3Db"
    answer = await nobody.get(f"{at}/nowhere", headers=headers, scope_base=PROXY)
    assert f'href="{ROOT}/login"' in await answer.get_data(as_text=True)
    answer = await nobody.get(f"{at}/static/js/shell.js", headers=headers, scope_base=PROXY)
    assert answer.status_code == 200
    # Straight to the process, as health checks ask.
    assert (await nobody.get("/health/ready")).status_code == 200


async def test_cookies_go_to_the_root_path_alone_and_keep_a_name_that_browsers_guard(environ: dict[str, str], clock: FakeClock) -> None:
    production = {"HOLDFAST_ENV": "production", "ALLOWED_HOSTS": "deals.example", "RATE_LIMIT_LOGIN": "5"}
    production |= {"PASSWORD_TIME_COST": "2", "PASSWORD_MEMORY_KIB": "19456", "SECRET_KEY": "jJ8z-Qm3Vb7wXk2Rt9Lp5Ns1Yd4Hf6Gc0Ea"}
    app = create_app(load_settings(environ | production), clock=clock)
    async with app.test_app():
        scene = await Scene.set(app)
        body = {"email": scene.users["owner"].email, "password": PASSWORD}

        async def cookies(prefix: str) -> dict[str, str]:
            headers = {"Host": "deals.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": prefix}
            client = app.test_client()
            set_by = [await client.post("/api/auth/login", json=body, headers=headers, scope_base=PROXY)]
            set_by.append(await client.post("/api/auth/logout", headers=headers, scope_base=PROXY))
            assert set_by[1].headers["Clear-Site-Data"] == ('"cache"' if prefix else '"cache", "storage"')
            lines = [line for answer in set_by for line in answer.headers.getlist("Set-Cookie")]
            assert len(lines) == 5, "three are set, and all but the device's are deleted"
            assert all("Secure" in line and "HttpOnly" in line and "SameSite=Lax" in line and "Domain" not in line for line in lines)
            paths = {(line.partition("=")[0], re.search(r"Path=([^;]+)", line)[1]) for line in lines}  # type: ignore[index]
            return dict(paths)

        assert await cookies("") == {f"__Host-holdfast_{name}": "/" for name in ("auth", "session", "device")}
        for prefix in ("/holdfast", "/other/place"):
            assert await cookies(prefix) == {f"__Secure-holdfast_{name}": prefix for name in ("auth", "session", "device")}


async def test_a_stream_of_the_console_draws_for_the_root_path_it_is_watched_under(app: Quart) -> None:
    """Two proxies may show one process under two paths; what one of them draws is nothing for the other."""
    scene = await Scene.set(app)
    client = await operator(scene, app)
    for prefix in ("/one", "", "/two"):
        async with client.request("/api/ops/live/overview", headers={"X-Forwarded-Prefix": prefix}, scope_base=PROXY) as connection:
            await connection.send_complete()
            frame = b""
            while b"regions" not in frame or b"href=" not in frame:
                frame += await connection.receive()
            addresses = re.findall(rb'href=\\"(/[^"\\]*)', frame)
            assert addresses
            assert all(address.startswith(prefix.encode() + b"/") for address in addresses)
            assert prefix or not any(b"/one" in address or b"/two" in address for address in addresses)
            await connection.disconnect()


# Whose port it is


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # nginx: Host $host, and the browser at :8443
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8443"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost.:8443"}, 200),
        ({"X-Forwarded-Port": "8443", "Origin": "http://localhost:8443"}, 200),
        ({"X-Forwarded-Host": "127.0.0.1:8443", "Origin": "https://127.0.0.1:8443"}, 200),
        ({"X-Forwarded-Host": "127.0.0.1", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https", "Origin": "https://127.0.0.1"}, 200),
        # Without the browser's own word another port is another site.
        ({"Origin": "http://localhost:8443"}, 403),
        ({"Sec-Fetch-Site": "none", "Origin": "http://localhost:8443"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8443"}, 403),
        ({"X-Forwarded-Port": "8443", "Origin": "http://localhost:8444"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8443"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "ftp://localhost"}, 403),
        ({"X-Forwarded-Host": "evil.example", "Origin": "https://evil.example"}, 400),
    ],
)
async def test_a_port_that_the_proxy_keeps_to_itself(app: Quart, headers: dict[str, str], status: int) -> None:
    scene = await Scene.set(app)
    client = await operator(scene, app)
    answer = await client.patch("/api/me", json={"theme": "dark"}, headers=headers, scope_base=PROXY)
    assert answer.status_code == status
    if status == 200:
        made = await client.post("/api/admin/invitations", json={"email": "a@deals.example"}, headers=headers, scope_base=PROXY)
        assert (await made.get_json())["link"]["url"].startswith(f"{headers['Origin']}/link?token="), "the link is for the browser's port"


async def test_who_is_no_trusted_proxy_moves_nothing(app: Quart) -> None:
    headers = {"X-Forwarded-Prefix": ROOT, "X-Forwarded-Host": "127.0.0.1:1", "X-Forwarded-For": "10.9.9.9"}
    answer = await app.test_client().get("/deals", headers=headers, scope_base={"client": ("192.0.2.1", 1)})
    assert answer.headers["Location"] == "/login?next=%2Fdeals"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/deals//7/overview?q=a%2Fb&c=%20", "/deals/7/overview?q=a%2Fb&c=%20"),
        ("/static//js/shell.js", "/static/js/shell.js"),
        ("/login//", "/login/"),
    ],
)
async def test_redirect_of_the_framework_names_no_host(app: Quart, below: Quart, path: str, location: str) -> None:
    """It knows the scheme and port of its own socket, which behind a proxy are not the browser's."""
    for site, root in ((app, ""), (below, ROOT)):
        answer = await site.test_client().get(root + path)
        assert (answer.status_code, answer.headers["Location"]) == (308, root + location)
