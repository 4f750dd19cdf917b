"""How often one person may ask for what costs something, and how much an organisation may have."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart
from redis.asyncio import Redis

from app.core.config import Settings, load_settings
from app.http.ratelimit import limit_of
from app.http.web import Access, access_of
from app.imports.run import run_import
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.servers.redis import KINDS

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
QUOTAS = {"QUOTA_DEALS": "2", "QUOTA_PEOPLE": "7", "QUOTA_FINDINGS": "2", "QUOTA_IMPORT_MIB": "1"}
# They are bounded by failures (auth/backoff.py) or cost next to nothing; nobody is signed in to be counted.
BOUNDED_OTHERWISE = {"/api/auth/login", "/login", "/api/auth/logout", "/logout", "/login/forget", "/link"}


@pytest.fixture
def settings(environ: dict[str, str], request: pytest.FixtureRequest) -> Settings:
    limits = {"RATE_LIMIT_WRITE": "3", "RATE_LIMIT_EXPORT": "2", "RATE_LIMIT_RUN": "2", "RATE_LIMIT_SELECT": "5"}
    if "long_file" in request.node.name:
        limits = {"QUOTA_DEALS": "700"}
    return load_settings(environ | (QUOTAS if "quota" in request.node.name else limits))


@on_sqlite
async def test_every_route_that_changes_something_or_makes_a_file_has_a_limit(app: Quart) -> None:
    limits: dict[str, Any] = {}
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static" or access_of(app, rule.endpoint) is Access.PUBLIC:
            assert rule.methods is not None
            assert not rule.methods & {"POST", "PUT", "PATCH", "DELETE"} or rule.rule in BOUNDED_OTHERWISE, rule
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            limits[f"{method} {rule.rule}"] = limit_of(app, rule.endpoint, rule.rule, method)
    unlimited = {route for route, limit in limits.items() if limit is None and not route.startswith("GET ")}
    own = {"PUT /api/deals/<id:deal_id>/drafts/<name>", "PUT /api/place"}  # counted apart
    assert unlimited - own == {
        f"POST {path}"
        for path in ("/api/deals/<id:deal_id>/select", "/api/deals/<id:deal_id>/visit", "/deals/<id:deal_id>/select", "/workspace/select")
    }, "these have a limit of their own, RATE_LIMIT_SELECT"
    exports = {route for route, limit in limits.items() if limit == "export"}
    assert {"GET /deals/<id:deal_id>/activity.csv", "GET /settings/export", "GET /imports/<id:import_id>/problems.csv"} <= exports
    assert {"POST /ops/jobs/<name>/run", "POST /api/ops/jobs/<name>/run"} <= {route for route, limit in limits.items() if limit == "run"}


@pytest.mark.parametrize("redis_url", ["none", *KINDS], indirect=True)
@on_sqlite
async def test_changes_are_counted_together_by_person_and_minute(scene: Scene, clock: FakeClock) -> None:
    made = {"json": {"title": "Churn"}}
    statuses = [(await scene.call("editor", "POST", "~/findings", **made))[0] for _ in range(3)]
    assert statuses == [201, 201, 201]
    client = await scene.client("editor")
    answer = await client.patch("/api/me", json={"theme": "dark"})
    assert (answer.status_code, (await answer.get_json())["code"]) == (429, "too_many_requests")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    page = await client.post(f"/deals/{scene.deal.id}/findings/new", form={"title": "Typed text", "deal": str(scene.deal.id)})
    assert page.status_code == 429
    assert "Typed text" in await page.get_data(as_text=True), "what was typed is not lost"
    assert (await scene.call("editor", "GET", "~"))[0] == 200, "reading goes on"
    assert (await scene.call("owner", "POST", "~/findings", **made))[0] == 201, "and so do others"
    clock.advance(timedelta(seconds=61))
    assert (await scene.call("editor", "POST", "~/findings", **made))[0] == 201


@on_sqlite
async def test_files_are_counted_apart(scene: Scene) -> None:
    client = await scene.client("viewer")
    paths = [f"/deals/{scene.deal.id}/activity.csv", "/settings/export", f"/deals/{scene.deal.id}/activity.csv"]
    assert [(await client.get(path)).status_code for path in paths] == [200, 200, 429]


@on_sqlite
async def test_refused_and_anonymous_requests_use_up_nothing(scene: Scene) -> None:
    for _ in range(5):
        assert (await scene.call("viewer", "PATCH", "/api/me", json={}, headers={"Origin": "https://evil.example"}))[0] == 403
    assert (await scene.call("viewer", "PATCH", "/api/me", json={"theme": "dark"}))[0] == 200
    assert (await scene.call("nobody", "PATCH", "/api/me", json={}))[0] == 401


@pytest.mark.parametrize("redis_url", ["valkey"], indirect=True)
@on_sqlite
async def test_nobody_is_refused_while_redis_is_away(scene: Scene) -> None:
    await scene.client("editor")
    # From outside: the site's own client leaves Redis alone once it is refused.
    async with Redis.from_url(scene.resources.settings.redis_url or "") as outside:
        await outside.config_set("maxmemory", "1")
        try:
            statuses = [(await scene.call("editor", "PATCH", "/api/me", json={"name": f"Name {n}"}))[0] for n in range(5)]
        finally:
            await outside.config_set("maxmemory", "0")
    assert statuses == [200] * 5


async def test_quota_of_deals_and_of_findings(scene: Scene) -> None:
    assert (await scene.call("admin", "POST", "/api/deals", json={"name": "Second"}))[0] == 201
    status, problem = await scene.call("admin", "POST", "/api/deals", json={"name": "Third"})
    assert (status, problem["code"], problem["limit"]) == (409, "quota_deals", 2)
    assert "Delete some" in problem["detail"]
    assert (await scene.call("foreign_admin", "POST", "/api/deals", json={"name": "Theirs"}))[0] == 201, "another organisation"
    for title in ("One", "Two"):
        assert (await scene.call("editor", "POST", "~/findings", json={"title": title}))[0] == 201
    status, problem = await scene.call("editor", "POST", "~/findings", json={"title": "Three"})
    assert (status, problem["code"]) == (409, "quota_findings")
    assert (await scene.call("editor", "GET", "~/findings"))[1]["total"] == 2


async def test_quota_of_deals_holds_for_many_at_once(scene: Scene) -> None:
    await scene.client("admin")
    many = [scene.call("admin", "POST", "/api/deals", json={"name": f"Deal {number}"}) for number in range(8)]
    assert sorted(status for status, _ in await asyncio.gather(*many)) == [201] + [409] * 7


async def test_quota_of_deals_counts_what_imports_add(scene: Scene) -> None:
    async def draft(name: str) -> int:
        csv = {"data": f"Target,Price\n{name},1000\n".encode(), "headers": {"Content-Type": "text/csv"}}
        status, body = await scene.call("admin", "POST", "/api/imports?start=false", **csv)
        assert status == 202
        return int(body["import"]["id"])

    first, second = await draft("First Company"), await draft("Second Company")
    assert (await scene.call("admin", "POST", f"/api/imports/{first}/start", json={}))[0] == 202
    status, problem = await scene.call("admin", "POST", f"/api/imports/{second}/start", json={})
    assert (status, problem["code"]) == (409, "quota_deals"), "the first will fill it"
    assert (await scene.call("admin", "POST", "/api/deals", json={"name": "Made meanwhile"}))[0] == 201
    await run_import(scene.resources, first, progress=quiet)
    shown = (await scene.call("admin", "GET", f"/api/imports/{first}"))[1]["import"]
    assert (shown["state"], shown["error"], shown["counts"].get("imported", 0)) == ("failed", "quota_deals", 0)


async def test_long_file_says_that_it_is_too_much_and_ends_there(scene: Scene) -> None:
    """Of deals to be had, most are already there: only a look at all rows could tell, so nothing is refused before."""
    rows = b"Target,Price\n" + b"".join(b"Company %d,1000\n" % n for n in (*([1] * 5000), *range(2, 1002)))
    status, body = await scene.call("admin", "POST", "/api/imports?start=false", data=rows, headers={"Content-Type": "text/csv"})
    draft = body["import"]
    assert (status, draft["rows"], draft["checked"]["rows"], draft["checked"]["complete"]) == (202, 6000, 5000, False)
    page = await (await (await scene.client("admin")).get(f"/imports/{draft['id']}")).get_data(as_text=True)
    assert "the first 5,000 of 6,000 rows" in page
    assert "The file has 6,000 rows, and your organisation may have 699 more deals." in " ".join(page.split())
    assert (await scene.call("admin", "POST", f"/api/imports/{draft['id']}/start", json={}))[0] == 202
    await run_import(scene.resources, draft["id"], progress=quiet)
    shown = (await scene.call("admin", "GET", f"/api/imports/{draft['id']}"))[1]["import"]
    assert (shown["state"], shown["error"]) == ("failed", "quota_deals")
    assert 200 <= shown["counts"]["imported"] <= 699, "what is in before stays"
    assert (await scene.call("admin", "GET", "/api/deals"))[1]["total"] == shown["counts"]["imported"] + 1


async def quiet(*_: Any, **__: Any) -> None:
    pass


@on_sqlite
async def test_quota_of_people_counts_open_invitations(scene: Scene) -> None:
    """Five are there already."""
    for name in ("six", "seven", "seven"):
        invited = {"email": f"{name}@new.example", "role": "member"}
        assert (await scene.call("admin", "POST", "/api/admin/invitations", json=invited))[0] == 201, (
            "a second link for one address is no second person"
        )
    status, problem = await scene.call("admin", "POST", "/api/admin/invitations", json={"email": "eight@new.example", "role": "member"})
    assert (status, problem["code"]) == (409, "quota_people")


@on_sqlite
async def test_quota_of_imports(scene: Scene) -> None:
    rows = b"Target,Price\n" + b"".join(b"Company %d,1000\n" % n for n in range(3))
    large = rows + b"".join(b"Filler %06d,%s\n" % (n, b"1" * 15) for n in range(40_000))
    csv = {"headers": {"Content-Type": "text/csv"}}
    status, draft = await scene.call("admin", "POST", "/api/imports?start=false", data=rows, **csv)
    assert status == 202
    status, problem = await scene.call("admin", "POST", f"/api/imports/{draft['import']['id']}/start", json={})
    assert (status, problem["code"]) == (409, "quota_deals"), "one deal is there, and two may be"
    status, problem = await scene.call("admin", "POST", "/api/imports?start=false", data=large, **csv)
    assert (status, problem["code"]) == (409, "quota_import")
