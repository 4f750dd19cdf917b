"""What every answer tells the browser, and which requests are refused before anything looks at them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart
from quart.typing import ResponseReturnValue

from app.auth.people import add_user
from app.core.config import Settings, load_settings
from app.factory import create_app
from app.http.web import public

# No SQL differs here.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PASSWORD = "correct horse battery staple"
LOGIN = {"email": "ann@example.com", "password": PASSWORD}


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Quart]:
    app = create_app(settings)

    @public
    async def fail() -> ResponseReturnValue:
        raise RuntimeError("an unexpected fault")

    app.add_url_rule("/fail", "fail", fail)
    app.add_url_rule("/api/fail", "api_fail", fail)
    async with app.test_app():
        await add_user(app.extensions["holdfast"], LOGIN["email"], PASSWORD, name="Ann", organisation="Acme")
        yield app


ANSWERS = [
    ("GET", "/login", 200),
    ("HEAD", "/login", 200),
    ("OPTIONS", "/login", 200),
    ("GET", "/deals", 302),
    ("GET", "/nowhere", 404),
    ("GET", "/fail", 500),
    ("GET", "/api/fail", 500),
    ("GET", "/api/me", 401),
    ("GET", "/api/nowhere", 404),
    ("PUT", "/api/me", 405),
    ("POST", "/api/auth/login", 400),
    ("GET", "/health/live", 200),
    ("GET", "/static/holdfast.css", 200),
    ("GET", "/static/nothing.css", 404),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_headers_are_on_every_kind_of_answer(app: Quart, method: str, path: str, status: int) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = await app.test_client().open(path, method=method, json=None)
    assert answer.status_code == status
    check_headers(answer)
    assert (answer.headers.get("Cache-Control") == "no-store") == (not path.startswith("/static/") or status >= 400)
    assert "Strict-Transport-Security" not in answer.headers


async def test_headers_are_on_what_a_signed_in_person_gets(app: Quart) -> None:
    client = app.test_client()
    for answer in (await client.post("/api/auth/login", json=LOGIN), await client.get("/api/me"), await client.post("/api/auth/logout")):
        assert answer.status_code < 300
        check_headers(answer)
        assert answer.headers["Cache-Control"] == "no-store"


async def test_unchanged_static_file_carries_the_headers_too(app: Quart) -> None:
    client = app.test_client()
    etag = (await client.get("/static/holdfast.css")).headers["ETag"]
    answer = await client.get("/static/holdfast.css", headers={"If-None-Match": etag})
    assert answer.status_code == 304
    check_headers(answer)


async def test_policy_allows_own_files_and_nothing_inline(app: Quart) -> None:
    policy = (await app.test_client().get("/login")).headers["Content-Security-Policy"]
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert directives["form-action"] == directives["script-src"] == directives["style-src"] == "'self'"
    assert "unsafe" not in policy


async def test_no_other_site_may_read_an_answer(app: Quart) -> None:
    answer = await app.test_client().get("/api/me", headers={"Origin": "https://evil.example"})
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]


def check_headers(answer: Any) -> None:
    expected = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "camera=()" in answer.headers["Permissions-Policy"]


# Other sites

ALLOWED: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "http://LOCALHOST:80"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Origin": "http://localhost:5001", "Host": "localhost:5001"},
]
REFUSED: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "unheard-of"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "https://localhost.evil.example"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "file://"},
    {"Origin": "http://localhost/"},
]


@pytest.mark.parametrize("headers", ALLOWED)
async def test_own_pages_and_scripts_may_change_things(app: Quart, headers: dict[str, str]) -> None:
    client = app.test_client()
    assert (await client.post("/api/auth/login", json=LOGIN, headers=headers)).status_code == 200
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookie_jar or ())
    answer = await app.test_client().patch("/api/me", json={"theme": "dark"}, headers={**headers, "Cookie": cookie})
    assert answer.status_code == 200


@pytest.mark.parametrize("headers", REFUSED)
async def test_other_sites_may_not(app: Quart, headers: dict[str, str]) -> None:
    client = app.test_client()
    answer = await client.post("/api/auth/login", json=LOGIN, headers=headers)
    assert (answer.status_code, (await answer.get_json())["code"]) == (403, "cross_site")
    assert not list(client.cookie_jar or ())
    await client.post("/api/auth/login", json=LOGIN)
    for method, path in (
        ("PATCH", "/api/me"),
        ("POST", "/api/logins/revoke-others"),
        ("DELETE", "/api/logins/1"),
        ("POST", "/api/auth/logout"),
    ):
        assert (await client.open(path, method=method, headers=headers, json=None)).status_code == 403
    assert (await client.get("/api/me", headers=headers)).status_code == 200


async def test_anonymous_is_told_so_before_where_from(app: Quart) -> None:
    answer = await app.test_client().patch("/api/me", json={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 401


# Hosts


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5001", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:5001"])
async def test_development_server_answers_to_loopback_names(app: Quart, host: str) -> None:
    assert (await app.test_client().get("/login", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "localhost:80:80",
        "localhost:",
        "[::1",
        "",
        "10.0.0.1",
        "localhost/x",
        "lo calhost",
    ],
)
async def test_foreign_host_is_refused(app: Quart, host: str) -> None:
    for path in ("/login", "/api/me", "/nowhere", "/static/holdfast.css"):
        answer = await app.test_client(use_cookies=False).get(path, headers={"Host": host})
        assert answer.status_code == 400
        check_headers(answer)


async def test_load_balancer_may_ask_for_the_health_by_address(app: Quart) -> None:
    assert (await app.test_client().get("/health/live", headers={"Host": "10.0.0.1:5001"})).status_code == 200


@pytest.mark.parametrize("path", ["/health//live", "/health/nothing"])
async def test_what_is_no_answer_about_the_health_needs_a_known_host(app: Quart, path: str) -> None:
    """The framework would answer with a redirect to whatever host was named."""
    answer = await app.test_client().get(path, headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.headers.get("Location")) == (400, None)


# Production


@pytest.fixture
async def production(environ: dict[str, str]) -> AsyncIterator[Quart]:
    strong = {
        "HOLDFAST_ENV": "production",
        "SECRET_KEY": "pU3_dQ9vX7-mK2rT5wZ8yB4nC6hJ1sLf",
        "RATE_LIMIT_LOGIN": "5",
        "ALLOWED_HOSTS": "deals.example",
        "PASSWORD_TIME_COST": "2",
        "PASSWORD_MEMORY_KIB": "19456",
    }
    app = create_app(load_settings(environ | strong))
    async with app.test_app():
        await add_user(app.extensions["holdfast"], LOGIN["email"], PASSWORD, name="Ann", organisation="Acme")
        yield app


async def sign_in_over_tls(app: Quart, **headers: str) -> Any:
    return await app.test_client().post("/api/auth/login", json=LOGIN, headers={"Host": "deals.example", **headers}, scheme="https")


async def test_production_asks_for_tls_and_guards_its_cookies(production: Quart) -> None:
    answer = await sign_in_over_tls(production)
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    cookies = answer.headers.getlist("Set-Cookie")
    names = ["__Host-holdfast_auth", "__Host-holdfast_device", "__Host-holdfast_session"]
    assert sorted(cookie.partition("=")[0] for cookie in cookies) == names
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie


async def test_production_takes_changes_from_its_pages_over_tls_only(production: Quart) -> None:
    assert (await sign_in_over_tls(production, Origin="https://deals.example")).status_code == 200
    assert (await sign_in_over_tls(production, Origin="http://deals.example")).status_code == 403


async def test_production_answers_to_its_own_name_only(production: Quart) -> None:
    assert (await production.test_client().get("/login", headers={"Host": "localhost"}, scheme="https")).status_code == 400
