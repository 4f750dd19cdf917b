"""Tenants and roles: who gets what from every route under a deal, and that what one may not see does not exist."""

import re
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from quart import Quart

from app.models import Deal, Member
from tests.factories import make_member, make_work
from tests.fakes import FakeClock
from tests.integration.scene import Scene

# The rules themselves are in SQL and run on both; what follows from a role does not.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ANYONE, EDITING, MANAGING = ("viewer", "editor", "admin", "owner"), ("editor", "admin", "owner"), ("admin", "owner")
# Every route under /api/deals/<id> with the people it serves, and a body it would accept.
ROUTES: dict[tuple[str, str], tuple[tuple[str, ...], Any]] = {
    ("GET", "~"): (ANYONE, None),
    ("HEAD", "~"): (ANYONE, None),
    ("PATCH", "~"): (EDITING, {"tagline": "Blocks"}),
    ("DELETE", "~"): (MANAGING, None),
    ("POST", "~/archive"): (MANAGING, {}),
    ("POST", "~/unarchive"): (MANAGING, {}),
    ("POST", "~/restore"): (MANAGING, {}),
    ("POST", "~/transfer"): (MANAGING, {"user_id": 1}),
    ("POST", "~/select"): (ANYONE, None),
    ("PUT", "~/pin"): (ANYONE, None),
    ("DELETE", "~/pin"): (ANYONE, None),
    ("GET", "~/activity"): (ANYONE, None),
    ("GET", "~/history"): (ANYONE, None),
    ("GET", "~/findings/1/history"): (ANYONE, None),
    ("GET", "~/checklist/1/history"): (ANYONE, None),
    ("GET", "~/members"): (ANYONE, None),
    ("POST", "~/members"): (MANAGING, {"user_id": 1, "role": "viewer"}),
    ("PATCH", "~/members/1"): (MANAGING, {"role": "viewer"}),
    ("DELETE", "~/members/1"): (MANAGING, None),
    ("POST", "~/visit"): (ANYONE, None),
    ("GET", "~/findings"): (ANYONE, None),
    ("POST", "~/findings"): (EDITING, {"title": "Churn"}),
    ("GET", "~/findings/1"): (ANYONE, None),
    ("PATCH", "~/findings/1"): (EDITING, {"severity": "high"}),
    ("DELETE", "~/findings/1"): (EDITING, None),
    ("POST", "~/findings/1/restore"): (EDITING, {}),
    ("GET", "~/checklist"): (ANYONE, None),
    ("POST", "~/checklist"): (EDITING, {"section": "Tax", "title": "Returns"}),
    ("GET", "~/checklist/1"): (ANYONE, None),
    ("PATCH", "~/checklist/1"): (EDITING, {"done": True}),
    ("DELETE", "~/checklist/1"): (EDITING, None),
    ("POST", "~/checklist/1/restore"): (EDITING, {}),
    ("POST", "~/checklist/1/raise"): (EDITING, {"above": 2}),
    ("POST", "~/checklist/1/move"): (EDITING, {"after": None, "section": "Tax"}),
    ("PUT", "~/drafts/deal"): (ANYONE, {"fields": {"name": "Minecraft"}, "version": 1, "writer": "tab"}),
}
# One's own text goes whoever still sees the deal, and says nothing of it (`test_drafts.py`).
OWN = {("DELETE", "~/drafts/deal")}
READS = {key for key, (people, _) in ROUTES.items() if people == ANYONE}
NO_DEAL = 2**62


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    """With a finding and an item of the checklist, so that there is something at the addresses above."""
    await make_work(scene.resources.database, scene.deal)
    return scene


async def answer(scene: Scene, who: str, method: str, path: str, body: Any) -> tuple[int, Any]:
    status, json = await scene.call(who, method, path, **({} if body is None else {"json": body}))
    if isinstance(json, dict):
        json.pop("request_id", None)
    return status, json


async def assert_hidden(scene: Scene, who: str) -> None:
    """Every route and verb answers as it does for a deal that does not exist."""
    for (method, path), (_, body) in ROUTES.items():
        missing = await answer(scene, who, method, path.replace("~", f"/api/deals/{NO_DEAL}"), body)
        assert missing[0] == 404
        assert await answer(scene, who, method, path, body) == missing, (who, method, path)
        # What is wrong with a body is told only to those who may send one.
        if method in ("POST", "PATCH"):
            assert await answer(scene, who, method, path, ["nonsense"]) == missing, (who, method, path)
    status, page = await scene.call(who, "GET", "/api/deals?archived=all&q=mojang")
    assert (status, page["deals"], page["total"]) == (200, [], 0)


@on_sqlite
async def test_every_route_under_a_deal_is_in_the_matrix(app: Quart) -> None:
    """A new route must say here whom it serves."""
    found = set()
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/deals/<id:deal_id>"):
            path = re.sub("<[^>]*>", "1", rule.rule.replace("/api/deals/<id:deal_id>", "~").replace("<name>", "deal"))
            found |= {(method, path) for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}}
    assert found == {key for key in ROUTES if key[0] != "HEAD"} | OWN


@pytest.mark.parametrize("who", ["stranger", "outsider", "foreign_admin"])
async def test_what_one_may_not_see_does_not_exist(scene: Scene, who: str) -> None:
    await assert_hidden(scene, who)


async def test_a_grant_that_has_ended_is_as_good_as_none(scene: Scene, clock: FakeClock) -> None:
    await make_member(
        scene.resources.database, scene.deal, scene.users["stranger"], role="editor", expires_at=clock.now() + timedelta(hours=1)
    )
    assert (await scene.call("stranger", "GET", "~"))[0] == 200
    clock.advance(timedelta(hours=1))
    await assert_hidden(scene, "stranger")


async def test_a_deleted_deal_does_not_exist_for_anybody_but_those_whose_bin_it_is_in(scene: Scene) -> None:
    assert (await scene.call("owner", "DELETE", "~"))[0] == 204
    for who in ("viewer", "editor", "stranger", "foreign_admin"):
        await assert_hidden(scene, who)
    for (method, path), (_, body) in ROUTES.items():
        if path != "~/restore":
            assert (await answer(scene, "owner", method, path, body))[0] == 404, (method, path)
    assert (await scene.call("admin", "POST", "~/restore"))[0] == 200


async def test_a_grant_in_another_organisation_gives_nothing(scene: Scene) -> None:
    """Such a row should not be; access needs the same organisation all the same."""
    await make_member(scene.resources.database, scene.deal, scene.users["outsider"], role="editor")
    await assert_hidden(scene, "outsider")


@on_sqlite
async def test_a_role_gets_what_it_allows_and_403_for_the_rest(scene: Scene) -> None:
    for (method, path), (people, body) in ROUTES.items():
        for who in ("viewer", "editor"):
            status, json = await answer(scene, who, method, path, body)
            if who in people:
                assert status in (200, 201, 204), (who, method, path, json)
            else:
                assert (status, json["code"]) == (403, "forbidden"), (who, method, path, json)
    async with scene.resources.database.read() as db:
        deal = await db.get_one(Deal, scene.deal.id)
        assert (deal.owner_id, deal.deleted_at, deal.archived_at) == (scene.id_of("owner"), None, None)


@on_sqlite
async def test_a_viewer_with_a_bad_body_hears_403_and_a_stranger_404(scene: Scene) -> None:
    bodies = (b"{", b"[]", b'{"name": ""}', b'{"owner_id": 3}', b"x" * 70_000)
    routes = (("PATCH", "~"), ("POST", "~/transfer"), ("POST", "~/members"))
    for (method, path), body in product(routes, bodies):
        for who, expected in (("viewer", 403), ("stranger", 404)):
            assert (await scene.call(who, method, path, data=body))[0] == expected
        status = (await scene.call("owner", method, path, data=body, headers={"Content-Type": "application/json"}))[0]
        assert status == (413 if len(body) > 65_536 else 400)
    assert (await scene.call("owner", "PATCH", "~", data=b"{}", headers={"Content-Type": "text/plain"}))[0] == 415


@on_sqlite
async def test_nobody_in_particular_hears_401_even_with_another_site_behind_the_request(scene: Scene) -> None:
    for method, path in ROUTES:
        status, _ = await scene.call("nobody", method, path, headers={"Sec-Fetch-Site": "cross-site"})
        assert status == 401, (method, path)
    for path in ("/api/deals", "/api/deals/list", "/api/deals/recent", "/api/deals/bin"):
        assert (await scene.call("nobody", "GET", path))[0] == 401


@on_sqlite
async def test_another_site_hears_403_before_it_could_learn_what_exists(scene: Scene) -> None:
    for method, path in ROUTES:
        if method in ("GET", "HEAD"):
            continue
        for target in (path, path.replace("~", f"/api/deals/{NO_DEAL}")):
            status, json = await scene.call("owner", method, target, headers={"Sec-Fetch-Site": "cross-site"})
            assert (status, json["code"]) == (403, "cross_site"), (method, target)


async def test_what_is_no_id_is_absent(scene: Scene) -> None:
    for text in ("0", "-1", str(2**63), "9" * 40, "1e3", "٣", "1%00", "abc", "1.0", "+1", "01", "%201"):
        for (method, path), (_, body) in ROUTES.items():
            status, _ = await answer(scene, "owner", method, path.replace("~", f"/api/deals/{text}"), body)
            assert status == 404, (method, path, text)
        for method in ("PATCH", "DELETE"):
            assert (await answer(scene, "owner", method, f"~/members/{text}", {"role": "viewer"}))[0] == 404
            for kind in ("findings", "checklist"):
                assert (await answer(scene, "owner", method, f"~/{kind}/{text}", {}))[0] == 404


@on_sqlite
async def test_a_change_of_role_counts_from_the_next_request(scene: Scene) -> None:
    assert (await scene.call("viewer", "PATCH", "~", json={"tagline": "No"}))[0] == 403
    async with scene.resources.database.write() as db:
        member = await db.get_one(Member, (await scene.grant_of("viewer")).id)  # type: ignore[union-attr]
        member.role = "editor"
    assert (await scene.call("viewer", "PATCH", "~", json={"tagline": "Yes"}))[0] == 200


@on_sqlite
async def test_disabled_people_see_nothing(scene: Scene, clock: FakeClock) -> None:
    await scene.client("editor")
    async with scene.resources.database.write() as db:
        user = await db.merge(scene.users["editor"])
        user.disabled_at = clock.now()
    assert (await scene.call("editor", "GET", "~"))[0] == 404
    assert (await scene.call("editor", "GET", "/api/deals"))[1]["total"] == 0
