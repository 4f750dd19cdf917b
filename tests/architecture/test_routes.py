"""Every route says who may call it, refuses other sites' changes and strangers, and stands in the API's document."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import update

from app.http.ids import NO_ID
from app.http.web import Access, access_of
from app.models import User
from tests.integration.scene import Scene

# What a route answers is the same on every database, and so is who may ask.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
API = "/api/"
# The document does not describe itself.
UNDESCRIBED = {"/api/openapi.json"}


class Route(NamedTuple):
    method: str
    rule: str
    access: Access

    @property
    def path(self) -> str:
        """An address this route answers to."""
        return re.sub(r"<[^>]*>", "1", self.rule)

    @property
    def is_api(self) -> bool:
        return self.rule.startswith(API)


def routes(app: Quart) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            for method in sorted((rule.methods or set()) & METHODS):
                yield Route(method, rule.rule, access_of(app, rule.endpoint))


async def ask(client: Client, route: Route, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status, and for an API its problem's code, for a page where it leads."""
    options: dict[str, Any] = {"method": route.method, "headers": headers or {}}
    response = await client.open(route.path, **options)
    if route.is_api and (response.mimetype or "").endswith("json"):
        return response.status_code, (await response.get_json()).get("code")
    return response.status_code, response.headers.get("Location", "").partition("?")[0]


@pytest.fixture
async def operator(app: Quart) -> Client:
    scene = await Scene.set(app)
    async with scene.resources.database.write() as db:
        await db.execute(update(User).values(is_operator=True))
    return await scene.client("admin")


async def test_every_route_declares_who_may_call_it(app: Quart) -> None:
    undeclared = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static" and not hasattr(app.view_functions[rule.endpoint], "access")
    ]
    assert undeclared == []
    assert len(list(routes(app))) > 40, "the map is the real one"


async def test_what_is_open_to_everybody_is_known(app: Quart) -> None:
    """One more entry here is a decision, not an oversight."""
    assert {(each.method, each.rule) for each in routes(app) if each.access is Access.PUBLIC} == {
        ("GET", "/api/health/session"),
        ("GET", "/.well-known/security.txt"),
        ("GET", "/api/openapi.json"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/link"),
        ("GET", "/login"),
        ("GET", "/metrics"),
        ("GET", "/robots.txt"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/logout"),
        ("POST", "/link"),
        ("POST", "/login"),
        ("POST", "/login/forget"),
        ("POST", "/logout"),
    }


async def test_anonymous_visitors_are_sent_to_sign_in(app: Quart) -> None:
    client = app.test_client()
    answers = {each: await ask(client, each) for each in routes(app) if each.access is not Access.PUBLIC}
    for route, answer in answers.items():
        if route.is_api:
            assert answer == (401, "not_authenticated"), route
        elif route.method == "GET":
            assert answer == (302, "/login"), route
        else:
            assert answer[0] == 401, route


async def test_changes_that_another_site_asks_for_are_refused(app: Quart, operator: Client) -> None:
    """Also from somebody who may do everything; a public route refuses them before it looks at anything."""
    changing = [each for each in routes(app) if each.method != "GET"]
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://elsewhere.example"}):
        for route in changing:
            status, code = await ask(operator, route, headers)
            assert (status, code if route.is_api else "cross_site") == (403, "cross_site"), (route, headers)
    assert (await operator.get("/api/me")).status_code == 200, "nobody was signed out by it"


async def test_operators_routes_are_for_operators(app: Quart) -> None:
    scene = await Scene.set(app)
    client = await scene.client("admin")
    for route in routes(app):
        if route.access is Access.OPERATORS:
            assert (await ask(client, route))[0] == 403, route


async def test_document_describes_every_call_and_no_other(app: Quart) -> None:
    document = await load_document(app)
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item if method.upper() in METHODS}
    served = {(each.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", each.rule)) for each in routes(app) if each.is_api}
    assert served - {("GET", path) for path in UNDESCRIBED} <= described
    assert {(method, path) for method, path in described if path.startswith(API)} <= served
    assert {path for _, path in described if not path.startswith(API)} == {"/health/live", "/health/ready"}, "pages are for people"


NO_IDS = ("0", "-1", "01", "+1", "1.0", "1e3", "abc", "٣", "²", "1\0", "\0", "1\n", " 1", str(2**63), "9" * 19, "1" * 20, "9" * 5000)


async def test_anything_else_for_an_id_is_the_id_of_nothing(app: Quart) -> None:
    adapter, ruled = app.url_map.bind("localhost"), [route for route in routes(app) if "<id:" in route.rule]
    assert len(ruled) > 90
    for text in NO_IDS:
        for route in ruled:
            names = re.findall(r"<id:(\w+)>", route.rule)
            found = adapter.match(re.sub(r"<id:[^>]*>", text, re.sub(r"<(?!id:)[^>]*>", "1", route.rule)), route.method)[1]
            assert [found[name] for name in names] == [NO_ID] * len(names), (route.rule, text[:20])
    for number in (1, 9, 10, 2**62, 2**63 - 10, 2**63 - 1):
        assert all(number in adapter.match(re.sub(r"<[^>]*>", str(number), each.rule), each.method)[1].values() for each in ruled)


async def test_who_may_ask_is_decided_before_what_an_address_names(app: Quart, operator: Client) -> None:
    for text in ("abc", "1%00", "%D9%A3", "0", "9" * 40):
        problem, page = await operator.get(f"/api/deals/{text}"), await operator.get(f"/deals/{text}/overview")
        assert (problem.status_code, problem.mimetype) == (404, "application/problem+json")
        assert (await problem.get_json())["code"] == "not_found"
        assert (page.status_code, page.mimetype) == (404, "text/html")
        requeued = await operator.post(f"/api/ops/streams/dead-letters/{text}/requeue")
        assert requeued.status_code == 404
        stranger = app.test_client()
        assert (await stranger.get(f"/api/deals/{text}")).status_code == 401
        assert (await stranger.get(f"/deals/{text}/overview")).headers["Location"].startswith("/login")


async def test_document_is_sound_openapi(app: Quart) -> None:
    document = await load_document(app)
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    for ref in references(document):
        resolve(document, ref)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method.upper() not in METHODS:
                continue
            where = (method, path)
            assert operation["responses"], where
            assert all(re.fullmatch(r"[1-5](\d\d|XX)|default", status) for status in operation.get("responses", {})), where
            assert all("description" in each for each in operation.get("responses", {}).values()), where
            in_path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert in_path == set(re.findall(r"{(\w+)}", path)), where
            assert all(each["required"] for each in operation.get("parameters", ()) if each["in"] == "path"), where
    operations = [operation for item in document["paths"].values() for operation in item.values() if isinstance(operation, dict)]
    ids = [each["operationId"] for each in operations if "operationId" in each]
    assert len(ids) == len(set(ids))


async def test_document_tells_problems_and_streams_from_json(app: Quart) -> None:
    responses = (await load_document(app))["paths"]["/api/events"]["get"]["responses"]
    assert {status: list(each["content"]) for status, each in responses.items()} == {
        "200": ["text/event-stream"],
        "401": ["application/problem+json"],
        "503": ["application/problem+json"],
    }


async def load_document(app: Quart) -> dict[str, Any]:
    response = await app.test_client().get("/api/openapi.json")
    assert (response.status_code, response.mimetype) == (200, "application/json")
    document = await response.get_json()
    assert isinstance(document, dict)
    return document


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(document: Any, ref: str) -> Any:
    """What a reference inside the document points to. Raises `KeyError`."""
    assert ref.startswith("#/"), ref
    for part in ref.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document
