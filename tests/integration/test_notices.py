"""In-app notices: from the event to the person's list and stream, in words that give nothing away."""

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from app.core.config import Settings
from app.core.time_budget import current_time_budget, set_time_budget
from app.events.effects import catch_up
from app.factory import create_app
from app.models import Login
from tests.fakes import FakeClock
from tests.integration.scene import Scene

# Rules above SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def have_effects(scene: Scene) -> int:
    return await catch_up(scene.resources.database, scene.resources.clock, "notify")


async def test_a_notice_is_worded_when_it_is_read(scene: Scene) -> None:
    stranger = scene.id_of("stranger")
    grant = {"user_id": stranger, "role": "viewer"}
    assert (await scene.call("owner", "POST", "~/members", json=grant))[0] == 201
    assert (await scene.call("owner", "PATCH", f"~/members/{stranger}", json={"role": "editor"}))[0] == 200
    assert (await scene.call("owner", "POST", "~/transfer", json={"user_id": stranger}))[0] == 200
    assert await have_effects(scene) > 0
    assert await have_effects(scene) == 0, "once each"
    owner = scene.users["owner"].name
    status, body = await scene.call("stranger", "GET", "/api/notices")
    assert (status, body["unread"], body["next_cursor"]) == (200, 3, None)
    assert [(each["id"], each["kind"], each["text"]) for each in body["notices"]] == [
        (3, "deal.transferred", f"{owner} made you the owner of Mojang"),
        (2, "deal.role_changed", f"{owner} changed what you may do in Mojang; you can edit it"),
        (1, "deal.shared", f"{owner} shared Mojang with you; you can view it"),
    ]
    assert (await scene.call("stranger", "POST", "/api/notices/read", json={"up_to": 2}))[0] == 204
    status, body = await scene.call("stranger", "GET", "/api/notices?unread=true&limit=1")
    assert [each["id"] for each in body["notices"]] == [3]
    status, body = await scene.call("stranger", "GET", "/api/notices?limit=1&cursor=3")
    assert ([each["id"] for each in body["notices"]], body["next_cursor"], body["unread"]) == ([2], 2, 1)
    for who in ("viewer", "outsider", "owner"):
        assert (await scene.call(who, "GET", "/api/notices"))[1]["notices"] == [], who


@on_sqlite
async def test_a_notice_does_not_name_a_deal_that_is_lost_again(scene: Scene) -> None:
    stranger = scene.id_of("stranger")
    await scene.call("owner", "POST", "~/members", json={"user_id": stranger, "role": "viewer"})
    await have_effects(scene)
    await scene.call("owner", "DELETE", f"~/members/{stranger}")
    [notice] = (await scene.call("stranger", "GET", "/api/notices"))[1]["notices"]
    assert notice["text"] == f"{scene.users['owner'].name} shared a deal with you; it is no longer available to you"
    assert notice["deal_id"] is None


@on_sqlite
async def test_bodies_and_queries_are_strict(scene: Scene) -> None:
    for body in ({"up_to": "1"}, {"up_to": -1}, {"up_to": 2**31}, {}, {"up_to": 1, "user_id": 3}):
        assert (await scene.call("viewer", "POST", "/api/notices/read", json=body))[0] == 400, body
    for query in ("limit=0", "limit=101", "cursor=x", "cursor=0", "unread=perhaps", "user_id=1"):
        assert (await scene.call("viewer", "GET", f"/api/notices?{query}"))[0] == 400, query
    assert (await scene.call("viewer", "GET", f"/api/notices?cursor={2**31 - 1}"))[0] == 200


@pytest.mark.parametrize("redis_url", ["none"], indirect=True)
async def test_a_stream_is_no_activity(scene: Scene, clock: FakeClock) -> None:
    """An hour later: neither opening a stream nor what it looks at moves the idle clock of the login; a click does."""
    client = await scene.client("viewer")
    before = (await scene.call("viewer", "GET", "/api/logins"))[1]["logins"][0]["seen_at"]
    clock.advance(timedelta(hours=1))
    async with client.request("/api/events", headers={"Accept": "text/event-stream"}) as stream:
        await stream.send_complete()
        async with asyncio.timeout(10):
            received = b""
            while b"hello" not in received:
                received += await stream.receive()
        await stream.disconnect()
    async with scene.resources.database.read() as db:
        assert {each.isoformat() for each in await db.scalars(select(Login.seen_at))} == {before}
    assert (await scene.call("viewer", "GET", "/api/logins"))[1]["logins"][0]["seen_at"] > before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_streams_share_does_not_use_up_the_time_of_a_request(scene: Scene) -> None:
    """A request waits so long for the database in all; what it started goes on for as long as somebody listens."""
    looks = 0

    async def look() -> int:
        nonlocal looks
        async with scene.resources.database.read() as db:
            await db.execute(text("SELECT 1"))
        looks += 1
        return looks

    set_time_budget(0.0001)
    try:
        async with asyncio.timeout(10), aclosing(scene.app.extensions["live"].watch("look", look, every=timedelta(0))) as found:
            async for number in found:
                if number > 20:
                    break
    finally:
        set_time_budget(None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_begins_with_the_server_has_no_time_budget(settings: Settings) -> None:
    """The poll of the backend flag, for one: with a request's time budget it would fail for ever once that is used up."""
    app = create_app(settings)
    limits: list[object] = []
    app.before_serving(lambda: limits.append(current_time_budget()))
    async with app.test_app():
        pass
    assert limits == [None]
