"""One deal and what is done to it, through the app."""

import asyncio
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from app.models import Pin
from tests.factories import make_deal
from tests.fakes import FakeClock
from tests.integration.scene import Scene

# Rules above SQL; lists, searches, conflicts and races run on both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_a_deal_is_begun_by_its_owner(scene: Scene, clock: FakeClock) -> None:
    facts = {
        "name": "  Réal   & Söhne ",
        "acquirer": "<script>{{7*7}}</script>",
        "stage": "sourcing",
        "status": "Pending",
        "price_usd": 2**63 - 1,
        "announced_on": "2024-02-29",
        "external_ref": "X-1",
        "homepage": "https://real.example/?a=b",
        "founded_year": 1999,
    }
    client = await scene.client("stranger")
    response = await client.post("/api/deals", json=facts)
    assert response.status_code == 201
    deal = (await response.get_json())["deal"]
    assert response.headers["Location"] == f"/api/deals/{deal['id']}"
    assert response.headers["ETag"] == '"1"'
    assert {key: deal[key] for key in facts} == facts | {"name": "Réal   & Söhne"}
    assert (deal["role"], deal["announced_year"], deal["can_edit"], deal["version"]) == ("owner", 2024, True, 1)
    assert deal["owner"] == {"id": scene.id_of("stranger"), "name": scene.users["stranger"].name}
    assert (await scene.call("stranger", "GET", f"/api/deals/{deal['id']}"))[1]["deal"] == deal | {"is_current": True}
    assert (await scene.call("viewer", "GET", f"/api/deals/{deal['id']}"))[0] == 404
    assert [event.deal_id for event in await scene.events("deal.created")] == [deal["id"]]
    # Its creator had nothing to restore a moment ago, and has one deal now.
    assert (await scene.current("stranger"))["source"] == "only_deal"


async def test_an_external_reference_is_used_once_in_an_organisation(scene: Scene) -> None:
    assert (await scene.call("owner", "POST", "/api/deals", json={"name": "A", "external_ref": "X"}))[0] == 201
    assert (await scene.call("outsider", "POST", "/api/deals", json={"name": "A", "external_ref": "X"}))[0] == 201
    status, problem = await scene.call("owner", "POST", "/api/deals", json={"name": "B", "external_ref": "X"})
    assert (status, problem["code"]) == (409, "external_ref_taken")
    status, problem = await scene.call("owner", "PATCH", "~", json={"external_ref": "X"})
    assert (status, problem["code"]) == (409, "external_ref_taken")
    assert (await scene.call("owner", "GET", "~"))[1]["deal"]["version"] == 1


BAD_FACTS: list[dict[str, Any]] = [
    {},
    {"name": ""},
    {"name": " \u2003 "},
    {"name": "\u200b\u2060"},
    {"name": "a\nb"},
    {"name": "a\r"},
    {"name": "a\x00b"},
    {"name": "a\u2028b"},
    {"name": "\ud800"},
    {"name": "x" * 201},
    {"name": None},
    {"name": ["x"]},
    {"name": 5},
    {"name": "x", "owner_id": 1},
    {"name": "x", "role": "owner"},
    {"name": "x", "version": 3},
    {"name": "x", "stage": "done"},
    {"name": "x", "price_usd": True},
    {"name": "x", "price_usd": 1.5},
    {"name": "x", "price_usd": "1"},
    {"name": "x", "price_usd": -1},
    {"name": "x", "price_usd": 2**63},
    {"name": "x", "announced_on": "2023-02-29"},
    {"name": "x", "announced_on": "2023-2-9"},
    {"name": "x", "announced_on": "20230209"},
    {"name": "x", "announced_on": "٢٠٢٣-٠٢-٠٩"},
    {"name": "x", "announced_on": 20230209},
    {"name": "x", "announced_on": "2023-02-09T00:00:00Z"},
    {"name": "x", "tagline": "a\x00b"},
    {"name": "x", "homepage": "javascript:alert(1)"},
    {"name": "x", "news_url": 'https://a.example/" onclick="x'},
    {"name": "x", "founded_year": 10_000},
    {"name": "x", "external_ref": ""},
]


@on_sqlite
async def test_facts_that_are_not_well_formed_are_refused(scene: Scene) -> None:
    for facts in BAD_FACTS:
        assert (await scene.call("owner", "POST", "/api/deals", json=facts))[0] == 400, facts
        changes = {key: value for key, value in facts.items() if key != "name" or len(facts) == 1}
        if changes and "version" not in changes:
            assert (await scene.call("owner", "PATCH", "~", json=changes))[0] == 400, changes
    assert not await scene.events("deal.created", "deal.updated")


BAD_BODIES = [b'{"name": NaN}', b'{"name": "a", "name": "b"}', b'{"name": "a", "price_usd": Infinity}', b"[" * 50, b"null", b'"a"']


@on_sqlite
async def test_what_is_no_plain_json_object_is_refused(scene: Scene) -> None:
    routes = (("POST", "/api/deals"), ("PATCH", "~"), ("POST", "~/members"), ("POST", "~/archive"))
    for (method, path), body in product(routes, BAD_BODIES):
        status, _ = await scene.call("owner", method, path, data=body, headers={"Content-Type": "application/json"})
        assert status == 400, (method, path, body)


async def test_a_change_states_some_facts_and_leaves_the_rest(scene: Scene) -> None:
    status, body = await scene.call(
        "editor", "PATCH", "~", json={"tagline": "Blocks", "price_usd": 2_500_000_000, "announced_on": "2014-09-15"}
    )
    assert (status, body["deal"]["version"]) == (200, 2)
    status, body = await scene.call("editor", "PATCH", "~", json={"price_usd": None, "announced_on": None})
    deal = body["deal"]
    assert (deal["name"], deal["tagline"], deal["price_usd"], deal["announced_on"], deal["version"]) == ("Mojang", "Blocks", None, None, 3)
    # Saying what is so already changes nothing.
    assert (await scene.call("editor", "PATCH", "~", json={"tagline": "Blocks"}))[1]["deal"]["version"] == 3
    updates = await scene.events("deal.updated")
    assert [event.payload["fields"] for event in updates] == [
        ["announced_on", "announced_year", "price_usd", "tagline"],
        ["announced_on", "price_usd"],
    ]


async def test_a_change_of_what_has_moved_is_a_conflict_that_shows_the_deal_as_it_is(scene: Scene) -> None:
    for _ in range(2):
        await scene.call("owner", "PATCH", "~", json={"tagline": f"{_}"})
    for options in (
        {"json": {"tagline": "late", "version": 2}},
        {"json": {"tagline": "late"}, "headers": {"If-Match": '"2"'}},
        {"json": {"tagline": "late", "version": 3}, "headers": {"If-Match": '"1", "2"'}},
    ):
        status, problem = await scene.call("editor", "PATCH", "~", **options)
        assert (status, problem["code"]) == (409, "conflict")
        assert (problem["current"]["version"], problem["current"]["tagline"], problem["current"]["role"]) == (3, "1", "editor")
    for match in ('"3"', '"2", "3"', "*", 'W/"3"', ' W/"2" ,"3"', '"3",', ', ,W/"3"', ""):
        status, body = await scene.call("editor", "PATCH", "~", json={"tagline": "1"}, headers={"If-Match": match})
        assert (status, body["deal"]["version"]) == (200, 3)
    for match in ("3", 'w/"3"', '"x"', '"3', "W/3", '"3" "3"', '*, "3"', ",", '"\u0663"', '"' + "9" * 40 + '"', '"2", x', " ," * 5000):
        status, problem = await scene.call("editor", "PATCH", "~", json={"tagline": "1"}, headers={"If-Match": match})
        assert (status, problem["code"]) == (400, "invalid")
        assert "If-Match" in problem["detail"]
    # Several lines of it are one list; what this server compresses it weakens itself.
    two_lines = Headers([("If-Match", '"2"'), ("If-Match", 'W/"3"')])
    assert (await scene.call("editor", "PATCH", "~", json={"tagline": "1"}, headers=two_lines))[0] == 200
    assert (await scene.call("editor", "PATCH", "~", json={"tagline": "Long. " * 180}))[0] == 200
    client = await scene.client("editor")
    shown = await client.get(scene.path, headers={"Accept-Encoding": "gzip"})
    assert (shown.headers["Content-Encoding"], shown.headers["ETag"]) == ("gzip", 'W/"4"')
    match = shown.headers["ETag"]
    assert (await scene.call("editor", "PATCH", "~", json={"tagline": "2"}, headers={"If-Match": match}))[0] == 200
    assert (await scene.call("editor", "PATCH", "~", json={"tagline": "3"}, headers={"If-Match": match}))[0] == 409


async def test_of_many_changes_from_one_version_one_wins(scene: Scene) -> None:
    await scene.client("owner")
    bodies = [{"tagline": f"from {number}", "name": f"Name {number}", "version": 1} for number in range(8)]
    answers = await asyncio.gather(*(scene.call("owner", "PATCH", "~", json=body) for body in bodies))
    assert sorted(status for status, _ in answers) == [200] + [409] * 7
    [winner] = [body["deal"] for status, body in answers if status == 200]
    assert (await scene.call("owner", "GET", "~"))[1]["deal"] == winner
    assert len(await scene.events("deal.updated")) == 1


@on_sqlite
async def test_an_archived_deal_can_be_read_and_not_edited(scene: Scene) -> None:
    for _ in range(2):
        status, body = await scene.call("admin", "POST", "~/archive")
        assert (status, body["deal"]["is_archived"], body["deal"]["version"], body["deal"]["can_edit"]) == (200, True, 2, False)
    status, problem = await scene.call("owner", "PATCH", "~", json={"tagline": "x"})
    assert (status, problem["code"]) == (409, "deal_archived")
    assert (await scene.call("viewer", "GET", "~"))[1]["deal"]["is_archived"] is True
    assert (await scene.call("owner", "GET", "/api/deals"))[1]["total"] == 0
    assert (await scene.call("owner", "POST", "~/unarchive", json={"x": 1}))[0] == 400
    assert (await scene.call("owner", "POST", "~/unarchive"))[1]["deal"]["is_archived"] is False
    assert (await scene.call("owner", "PATCH", "~", json={"tagline": "x"}))[0] == 200


async def test_pins_are_each_persons_own_and_idempotent(scene: Scene) -> None:
    for _ in range(2):
        assert await scene.call("viewer", "PUT", "~/pin") == (204, None)
    assert (await scene.call("viewer", "GET", "~"))[1]["deal"]["is_pinned"] is True
    assert (await scene.call("owner", "GET", "~"))[1]["deal"]["is_pinned"] is False
    for _ in range(2):
        assert await scene.call("viewer", "DELETE", "~/pin") == (204, None)
    async with scene.resources.database.read() as db:
        assert await db.get(Pin, (scene.id_of("viewer"), scene.deal.id)) is None
    assert len(await scene.events("deal.pinned", "deal.unpinned")) == 2


async def test_recents_are_the_deals_chosen_last(scene: Scene, clock: FakeClock) -> None:
    others = [await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"]) for _ in range(11)]
    for deal in [*others, others[3]]:
        clock.advance(timedelta(seconds=1))
        assert (await scene.call("owner", "POST", f"/api/deals/{deal.id}/select"))[0] == 200
    _, body = await scene.call("owner", "GET", "/api/deals/recent")
    expected = [others[3], *[each for each in reversed(others) if each is not others[3]]][:10]
    assert [deal["id"] for deal in body["deals"]] == [deal.id for deal in expected]
    assert body["deals"][0]["is_current"] is True
    assert datetime.fromisoformat(body["deals"][0]["visited_at"]) == clock.now()


async def test_activity_tells_what_happened_and_not_where_others_go(scene: Scene) -> None:
    await scene.select("owner")
    await scene.select("viewer")
    for number in range(3):
        await scene.call("editor", "PATCH", "~", json={"tagline": str(number)})
    events, cursor = [], ""
    while True:
        status, page = await scene.call("viewer", "GET", f"~/activity?limit=2{cursor}")
        assert status == 200
        events += page["events"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [event["kind"] for event in events] == ["deal.updated"] * 3 + ["deal.selected", "deal.restored"]
    editor = {"id": scene.id_of("editor"), "name": scene.users["editor"].name}
    assert [event["actor"] for event in events[:3]] == [editor] * 3
    assert events[3]["user"]["id"] == scene.id_of("viewer")
    assert (await scene.call("owner", "GET", f"~/activity?limit=2{cursor}"))[0] == 200, "a page may be sent to a colleague"
    assert (await scene.call("viewer", "GET", "~/activity?limit=0"))[0] == 400


@on_sqlite
async def test_the_openapi_document_knows_every_deal_route_with_its_errors(scene: Scene) -> None:
    _, document = await scene.call("viewer", "GET", "/api/openapi.json")
    patch = document["paths"]["/api/deals/{deal_id}"]["patch"]
    assert {"200", "400", "401", "403", "404", "409", "413", "415", "503"} <= set(patch["responses"])
    body = patch["requestBody"]["content"]["application/json"]["schema"]
    assert body["additionalProperties"] is False
    assert body["properties"]["name"]["maxLength"] == 200
    listed = document["paths"]["/api/deals/list"]["get"]
    assert {each["name"] for each in listed["parameters"]} == {"q", "status", "stage", "import", "archived", "sort", "limit", "cursor"}
