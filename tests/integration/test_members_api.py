"""Grants, and what a change of access does to live sessions, in SQL and in Redis, in the same step."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.models import Visit
from tests.factories import make_deal, make_member
from tests.fakes import FakeClock
from tests.integration.scene import Scene

NOTICE = {"code": "deal_unavailable"}


# With Redis in front, and on SQL alone.
# Each database and each way to keep sessions once: how both meet under faults is for tests/resilience.
pytestmark = pytest.mark.parametrize(("database_url", "redis_url"), [("postgresql", "valkey"), ("sqlite", "none")], indirect=True)


async def test_a_grant_opens_the_deal_until_it_ends(scene: Scene, clock: FakeClock) -> None:
    ends = clock.now() + timedelta(hours=1)
    grant = {"user_id": scene.id_of("stranger"), "role": "viewer", "expires_at": ends.isoformat()}
    status, body = await scene.call("owner", "POST", "~/members", json=grant)
    assert status == 201
    assert body["member"]["user_id"] == scene.id_of("stranger")
    assert body["member"]["expires_at"] == ends.isoformat().replace("+00:00", "Z")
    _, shown = await scene.call("stranger", "GET", "~")
    assert (shown["deal"]["role"], shown["deal"]["access_until"]) == ("viewer", ends.isoformat().replace("+00:00", "Z"))
    await scene.select("stranger")
    clock.advance(timedelta(hours=1))
    assert (await scene.call("stranger", "GET", "~"))[0] == 404
    assert (await scene.current("stranger"))["deal"] is None
    assert [event.user_id for event in await scene.events("member.granted")] == [scene.id_of("stranger")]


async def test_a_grant_by_address_ignores_case_and_a_second_one_replaces_the_first(scene: Scene) -> None:
    email = scene.users["stranger"].email
    assert (await scene.call("admin", "POST", "~/members", json={"email": email.upper(), "role": "editor"}))[0] == 201
    status, body = await scene.call("admin", "POST", "~/members", json={"email": email, "role": "viewer"})
    assert (status, body["member"]["role"]) == (200, "viewer")
    assert [event.kind for event in await scene.events("member.granted", "member.changed")] == ["member.granted", "member.changed"]


async def test_somebody_of_another_organisation_is_as_unknown_as_nobody(scene: Scene) -> None:
    ids, emails = (scene.id_of("outsider"), 2**40), (scene.users["outsider"].email, "no@body.example")
    for person in [{"user_id": each} for each in ids] + [{"email": each} for each in emails]:
        status, problem = await scene.call("owner", "POST", "~/members", json=person | {"role": "viewer"})
        problem.pop("request_id")
        assert (status, problem["code"], problem["detail"]) == (400, "unknown_person", "There is no such person in your organisation.")
        assert (await scene.call("owner", "POST", "~/transfer", json=person))[0] == 400
    for method, body in (("PATCH", {"role": "editor"}), ("DELETE", None)):
        answers = [await scene.call("owner", method, f"~/members/{person}", json=body) for person in ids]
        assert [status for status, _ in answers] == [404, 404]


BAD_GRANTS: list[dict[str, Any]] = [
    {},
    {"role": "viewer"},
    {"user_id": 1},
    {"user_id": 1, "email": "a@b.example", "role": "viewer"},
    {"user_id": True, "role": "viewer"},
    {"user_id": "1", "role": "viewer"},
    {"user_id": 2**63, "role": "viewer"},
    {"user_id": 1, "role": "owner"},
    {"user_id": 1, "role": "viewer", "is_operator": True},
    {"user_id": 1, "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"},
    {"user_id": 1, "role": "viewer", "expires_at": "2100-01-01T00:00:00"},
    {"user_id": 1, "role": "viewer", "expires_at": 4102444800},
    {"user_id": 1, "role": "viewer", "expires_at": "0001-01-01T00:00:00+14:00"},
]


async def test_a_grant_that_is_not_well_formed_is_refused(scene: Scene) -> None:
    for body in BAD_GRANTS:
        assert (await scene.call("owner", "POST", "~/members", json=body))[0] == 400, body


async def test_a_whole_number_is_an_integer_however_it_is_written(scene: Scene) -> None:
    """As JSON Schema has it: 7.0 is 7, and 7.5 is nobody's id."""
    stranger = scene.id_of("stranger")
    for user_id, answer in ((float(stranger), 201), (stranger + 0.5, 400)):
        status, body = await scene.call("owner", "POST", "~/members", json={"user_id": user_id, "role": "viewer"})
        assert status == answer, body
    assert [event.user_id for event in await scene.events("member.granted")] == [stranger]


async def test_the_owner_needs_no_grant(scene: Scene) -> None:
    status, problem = await scene.call("admin", "POST", "~/members", json={"user_id": scene.id_of("owner"), "role": "viewer"})
    assert (status, problem["code"]) == (409, "already_owner")


async def test_everybody_who_sees_the_deal_is_listed_once_with_what_they_may_do(scene: Scene, clock: FakeClock) -> None:
    await make_member(scene.resources.database, scene.deal, scene.users["admin"], role="viewer")
    ended = clock.now() - timedelta(seconds=1)
    await make_member(scene.resources.database, scene.deal, scene.users["stranger"], role="viewer", expires_at=ended)
    for who, may_manage in (("viewer", False), ("owner", True)):
        _, body = await scene.call(who, "GET", "~/members")
        assert [(each["user_id"], each["role"]) for each in body["members"]] == [
            (scene.id_of(role), role) for role in ("owner", "admin", "editor", "viewer")
        ]
        assert body["can_manage"] is may_manage


async def test_a_revoke_takes_the_deal_out_of_every_live_session_of_that_person(scene: Scene) -> None:
    await scene.select("editor")
    await scene.select("viewer")
    second = await scene.client("editor", again=True)
    assert (await (await second.get("/api/deals/current")).get_json())["deal"]["id"] == scene.deal.id
    before = (await scene.user("editor")).last_deal_version

    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('editor')}"))[0] == 204
    rows = await scene.sessions("editor")
    assert len(rows) == 2
    for row in rows:
        assert row.current_deal_id is None
        assert {"current_deal_id", "deal", "source", "selected_at"}.isdisjoint(row.data)
        assert (row.data["notice"], row.data["only_deal_off"]) == (NOTICE, True)
    user = await scene.user("editor")
    assert (user.last_deal_id, user.last_deal_accessed_at, user.last_deal_version) == (None, None, before + 1)
    for client in (await scene.client("editor"), second):
        shown = await (await client.get("/api/deals/current")).get_json()
        assert shown == {"deal": None, "source": "none", "notice": NOTICE}
    assert (await scene.call("editor", "POST", "~/select"))[0] == 404
    # Nobody else lost anything.
    assert (await scene.current("viewer"))["deal"]["id"] == scene.deal.id
    [event] = await scene.events("member.revoked")
    assert (event.actor_id, event.user_id, event.deal_id) == (scene.id_of("owner"), scene.id_of("editor"), scene.deal.id)


async def test_a_select_beside_a_revoke_never_survives_it(scene: Scene) -> None:
    path = f"~/members/{scene.id_of('viewer')}"
    second = await scene.client("viewer", again=True)
    await scene.client("viewer")
    await scene.client("owner")
    outcomes = set()
    for _ in range(8):
        selected, also_selected, (revoked, _body) = await asyncio.gather(
            scene.call("viewer", "POST", "~/select"), second.post(f"{scene.path}/select"), scene.call("owner", "DELETE", path)
        )
        assert revoked == 204
        outcomes |= {selected[0], also_selected.status_code}
        for client in (await scene.client("viewer"), second):
            assert (await (await client.get("/api/deals/current")).get_json())["deal"] is None
        assert [row.current_deal_id for row in await scene.sessions("viewer")] == [None, None]
        assert (await scene.user("viewer")).last_deal_id is None
        await scene.call("owner", "POST", "~/members", json={"user_id": scene.id_of("viewer"), "role": "viewer"})
    assert outcomes <= {200, 404}


async def test_grants_of_one_person_made_at_the_same_time_are_one(scene: Scene) -> None:
    grant = {"user_id": scene.id_of("stranger"), "role": "viewer"}
    for who in ("owner", "admin"):
        await scene.client(who)
    answers = await asyncio.gather(*(scene.call(who, "POST", "~/members", json=grant) for who in ("owner", "admin") * 3))
    assert sorted(status for status, _ in answers) == [200] * 5 + [201]


async def test_a_revoke_leaves_a_session_on_another_deal_and_a_pointer_to_another_deal_alone(scene: Scene) -> None:
    other = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["viewer"])
    assert (await scene.call("viewer", "POST", f"/api/deals/{other.id}/select"))[0] == 200
    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}"))[0] == 204
    assert (await scene.current("viewer"))["deal"]["id"] == other.id
    assert (await scene.user("viewer")).last_deal_id == other.id


async def test_revoked_and_granted_again_is_not_restored_by_itself(scene: Scene) -> None:
    await scene.select("viewer")
    await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}")
    await make_deal(scene.resources.database, scene.organisation, owner=scene.users["viewer"])
    await scene.call("owner", "POST", "~/members", json={"user_id": scene.id_of("viewer"), "role": "viewer"})
    assert (await scene.current("viewer"))["deal"] is None
    await scene.select("viewer")
    assert (await scene.current("viewer"))["notice"] is None


async def test_who_loses_a_grant_and_still_sees_the_deal_another_way_keeps_their_place(scene: Scene) -> None:
    await make_member(scene.resources.database, scene.deal, scene.users["admin"], role="viewer")
    await scene.select("admin")
    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('admin')}"))[0] == 204
    assert (await scene.current("admin"))["deal"]["id"] == scene.deal.id
    assert (await scene.user("admin")).last_deal_id == scene.deal.id


async def test_a_member_may_leave_but_not_send_others_away(scene: Scene) -> None:
    await scene.select("viewer")
    assert (await scene.call("viewer", "DELETE", f"~/members/{scene.id_of('editor')}"))[0] == 403
    assert (await scene.call("viewer", "DELETE", f"~/members/{scene.id_of('viewer')}"))[0] == 204
    assert (await scene.current("viewer"))["deal"] is None
    assert (await scene.call("viewer", "DELETE", f"~/members/{scene.id_of('viewer')}"))[0] == 404
    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('owner')}"))[0] == 404


async def test_another_role_or_end_is_on_the_card_of_live_sessions_at_once(scene: Scene, clock: FakeClock) -> None:
    await scene.select("viewer")
    ends = clock.now() + timedelta(hours=2)
    path = f"~/members/{scene.id_of('viewer')}"
    status, body = await scene.call("owner", "PATCH", path, json={"role": "editor", "expires_at": ends.isoformat()})
    assert (status, body["member"]["role"]) == (200, "editor")
    card = (await scene.current("viewer"))["deal"]
    assert (card["role"], card["access_until"]) == ("editor", int(ends.timestamp() * 1000))
    assert (await scene.call("owner", "PATCH", path, json={"expires_at": None}))[1]["member"]["role"] == "editor"
    assert (await scene.current("viewer"))["deal"]["access_until"] is None
    for bad in ({}, {"role": None}, {"expires_at": "tomorrow"}, {"user_id": 3}):
        assert (await scene.call("owner", "PATCH", path, json=bad))[0] == 400


async def test_who_had_nothing_to_restore_sees_a_new_grant_at_once(scene: Scene) -> None:
    assert (await scene.current("stranger"))["deal"] is None
    assert "nothing_until" in (await scene.sessions("stranger"))[0].data
    await scene.call("owner", "POST", "~/members", json={"user_id": scene.id_of("stranger"), "role": "viewer"})
    shown = await scene.current("stranger")
    assert (shown["deal"]["id"], shown["source"]) == (scene.deal.id, "only_deal")


async def test_an_owner_who_transfers_the_deal_loses_it_unless_they_see_it_another_way(scene: Scene) -> None:
    for who in ("owner", "editor"):
        await scene.select(who)
    status, body = await scene.call("owner", "POST", "~/transfer", json={"user_id": scene.id_of("editor")})
    assert (status, body) == (200, {"owner": {"id": scene.id_of("editor"), "name": scene.users["editor"].name}})
    assert await scene.current("owner") == {"deal": None, "source": "none", "notice": NOTICE}
    assert (await scene.user("owner")).last_deal_id is None
    assert (await scene.current("editor"))["deal"]["role"] == "owner"
    assert await scene.grant_of("editor") is None
    # An administrator who owned it goes on as administrator.
    await scene.call("editor", "POST", "~/transfer", json={"user_id": scene.id_of("admin")})
    await scene.select("admin")
    await scene.call("admin", "POST", "~/transfer", json={"email": scene.users["viewer"].email})
    assert (await scene.current("admin"))["deal"]["role"] == "admin"
    assert len(await scene.events("deal.transferred")) == 3


async def test_a_deleted_deal_leaves_every_session_and_comes_back_from_the_bin(scene: Scene, clock: FakeClock) -> None:
    for who in ("owner", "viewer"):
        await scene.select(who)
    assert (await scene.call("owner", "DELETE", "~"))[0] == 204
    for who in ("owner", "viewer"):
        # Whoever did it needs nobody to tell them.
        assert await scene.current(who) == {"deal": None, "source": "none", "notice": NOTICE if who == "viewer" else None}
        assert (await scene.user(who)).last_deal_id == scene.deal.id
        assert (await scene.sessions(who))[0].current_deal_id is None
    clock.advance(timedelta(seconds=5))
    _, listed = await scene.call("owner", "GET", "/api/deals/bin")
    assert [deal["id"] for deal in listed["deals"]] == [scene.deal.id]
    assert (await scene.call("viewer", "GET", "/api/deals/bin"))[1] == {"deals": []}
    assert (await scene.call("viewer", "POST", "~/restore"))[0] == 404
    assert (await scene.call("owner", "POST", "~/restore"))[0] == 200
    for who in ("owner", "viewer"):
        shown = await scene.current(who)
        assert (shown["deal"]["id"], shown["source"]) == (scene.deal.id, "restored")
    assert [event.kind for event in await scene.events("deal.deleted", "deal.undeleted")] == ["deal.deleted", "deal.undeleted"]


async def test_the_bin_is_emptied_after_thirty_days(scene: Scene, clock: FakeClock) -> None:
    await scene.call("owner", "DELETE", "~")
    clock.advance(timedelta(days=30))
    scene.clients.clear()
    assert (await scene.call("owner", "GET", "/api/deals/bin"))[1] == {"deals": []}
    assert (await scene.call("owner", "POST", "~/restore"))[0] == 404


async def test_archiving_takes_no_ones_place_away(scene: Scene) -> None:
    await scene.select("viewer")
    assert (await scene.call("owner", "POST", "~/archive"))[0] == 200
    shown = await scene.current("viewer")
    assert (shown["deal"]["id"], shown["source"], shown["notice"]) == (scene.deal.id, "selected", None)
    elsewhere = await scene.client("viewer", again=True)
    restored = await (await elsewhere.get("/api/deals/current")).get_json()
    assert (restored["deal"]["id"], restored["source"]) == (scene.deal.id, "restored")


async def test_another_name_is_on_the_card_of_every_session(scene: Scene) -> None:
    for who in ("owner", "viewer"):
        await scene.select(who)
    assert (await scene.call("editor", "PATCH", "~", json={"name": "Minecraft"}))[0] == 200
    for who in ("owner", "viewer"):
        card = (await scene.current(who))["deal"]
        assert (card["name"], card["role"]) == ("Minecraft", who)


async def test_the_visits_of_somebody_who_lost_access_are_shown_to_nobody(scene: Scene) -> None:
    await scene.select("viewer")
    assert len((await scene.call("viewer", "GET", "/api/deals/recent"))[1]["deals"]) == 1
    await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}")
    assert (await scene.call("viewer", "GET", "/api/deals/recent"))[1] == {"deals": []}
    async with scene.resources.database.read() as db:
        assert await db.get(Visit, (scene.id_of("viewer"), scene.deal.id)) is not None
