"""Clocks apart, a loop that was held up, a grant that runs out: time alone shows nobody anything that is over."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from quart import Quart

from app.core.clock import Clock
from app.core.config import Settings, load_settings
from app.factory import create_app
from app.models import Session
from app.resources import Resources, make_resources
from app.sessions.token import hash_token
from tests.factories import PASSWORD, make_deal, make_login, make_organisation, make_user
from tests.fakes import FakeClock
from tests.integration.scene import Scene


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_clocks_ten_minutes_apart(environ: dict[str, str]) -> None:
    """Nobody is signed out, and the newest is what was committed last, whatever its server's clock said."""
    apps = [create_app(load_settings(environ), clock=FakeClock(datetime.now(UTC) + timedelta(minutes=minutes))) for minutes in (-10, 10)]
    async with apps[0].test_app(), apps[1].test_app():
        resources: Resources = apps[0].extensions["holdfast"]
        organisation = await make_organisation(resources.database)
        user = await make_user(resources.database, organisation)
        deals = [await make_deal(resources.database, organisation, owner=user) for _ in range(2)]
        clients = [app.test_client() for app in apps]
        assert (await clients[0].post("/api/auth/login", json={"email": user.email, "password": PASSWORD})).status_code == 200
        clients[1].cookie_jar = clients[0].cookie_jar
        for turn in range(12):
            writer, deal = clients[turn % 2], deals[turn // 2 % 2]
            assert (await writer.post(f"/api/deals/{deal.id}/select")).status_code == 200
            for reader in clients:
                assert (await (await reader.get("/api/deals/current")).get_json())["deal"]["id"] == deal.id


async def test_a_loop_that_was_held_up_does_not_cost_the_fleet_its_redis(settings: Settings) -> None:
    """A read that does not queue up behind an earlier call says nothing of Redis; the write of its request asks it all the same."""
    now, resources = Clock().now(), make_resources(settings, kind="web")
    await resources.open()
    try:
        breaker = resources.backend.breaker
        assert breaker is not None
        login = await make_login(resources.database, await make_user(resources.database), token="a token", at=now)
        async with resources.database.write() as db:
            await resources.sessions.insert(db, login=login, data={}, now=now)
        with breaker.call(essential=True):
            await asyncio.sleep(0.06)
            loaded = await resources.sessions.read(hash_token("a token"))
            await resources.sessions.write(loaded, lambda data: data | {"key": 1})
        assert (await resources.backend.refresh()).mode == "redis"
    finally:
        await resources.close()


async def test_a_server_whose_clock_is_ahead_takes_a_deal_away_from_all_sessions(environ: dict[str, str], clock: FakeClock) -> None:
    settings = load_settings(environ | {"PERMANENT_SESSION_LIFETIME": "60"})
    ahead = FakeClock(clock.now() + timedelta(minutes=10))
    one, other = make_resources(settings, kind="web", clock=clock), make_resources(settings, kind="web", clock=ahead)
    await one.open()
    await other.open()
    try:
        login = await make_login(one.database, await make_user(one.database), token="a token", at=clock.now())
        async with one.database.write() as db:
            await one.sessions.insert(db, login=login, data={"key": "old"}, now=clock.now())
        await one.sessions.read(hash_token("a token"))
        await other.sessions.change_sessions(Session.login_id == login.id, lambda data: data | {"key": "new"})
        record = (await one.sessions.read(hash_token("a token"))).record
        assert record is not None
        assert record.data["key"] == "new"
    finally:
        await other.close()
        await one.close()


@pytest.mark.parametrize("headers", [{}, {"Sec-Purpose": "prefetch"}])
async def test_a_grant_that_runs_out_in_a_live_session(app: Quart, clock: FakeClock, headers: dict[str, str]) -> None:
    scene = await Scene.set(app)
    until = (clock.now() + timedelta(minutes=1)).isoformat()
    assert (await scene.call("owner", "PATCH", f"~/members/{scene.id_of('viewer')}", json={"expires_at": until}))[0] == 200
    await scene.select("viewer")
    clock.advance(timedelta(minutes=1))
    status, body = await scene.call("viewer", "GET", "/api/deals/current", headers=headers)
    assert status == 200
    assert body["deal"] is None
