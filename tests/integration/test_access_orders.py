"""Orders of events in which somebody kept a deal or a login that was over: people who do two things at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import personal_data, service
from app.auth.service import revoke_logins
from app.core.config import load_settings
from app.current_deal import restore
from app.current_deal import service as selection
from app.deals.realign import Realignment
from app.factory import create_app
from app.models import Session
from app.resources import Resources
from app.sessions.holds import WriteHolds
from app.sessions.manager import SessionManager
from tests.conftest import StartRedis
from tests.factories import PASSWORD, make_deal
from tests.fakes import FakeClock
from tests.integration.conftest import waits_for_a_row
from tests.integration.scene import Scene
from tests.resilience.proxy import TcpProxy
from tests.waiting import until

NEW_PASSWORD = {"current_password": PASSWORD, "new_password": "staple-battery-horse"}


async def deadlocks(resources: Resources) -> int:
    async with resources.database.read() as db:
        counted = "SELECT pg_stat_get_db_deadlocks(oid) FROM pg_database WHERE datname = current_database()"
        return int(await db.scalar(text(counted)) or 0)


def stop_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Whoever calls this waits with its answer: (it has been asked, let it go on)."""
    asked, go_on, original = asyncio.Event(), asyncio.Event(), getattr(module, name)

    async def slow(*arguments: Any, **options: Any) -> Any:
        answer = await original(*arguments, **options)
        asked.set()
        await go_on.wait()
        return answer

    monkeypatch.setattr(module, name, slow)
    return asked, go_on


async def shorten(scene: Scene, clock: FakeClock) -> None:
    ends = (clock.now() + timedelta(minutes=10)).isoformat()
    assert (await scene.call("owner", "PATCH", f"~/members/{scene.id_of('viewer')}", json={"expires_at": ends}))[0] == 200


async def select_while(app: Quart, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[Scene], Awaitable[None]]) -> Scene:
    """A select that has seen the deal, and goes on when `meanwhile` is done."""
    scene = await Scene.set(app)
    await scene.client("viewer")
    await scene.client("owner")
    seen, go_on = stop_after(monkeypatch, selection, "find_card")
    selecting = asyncio.create_task(scene.call("viewer", "POST", "~/select"))
    await seen.wait()
    await meanwhile(scene)
    go_on.set()
    assert (await selecting)[0] == 200
    return scene


async def test_a_grant_that_is_shortened_while_its_deal_is_selected(app: Quart, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await select_while(app, monkeypatch, lambda scene: shorten(scene, clock))
    clock.advance(timedelta(minutes=11))
    assert (await scene.current("viewer"))["deal"] is None


async def test_a_deal_that_is_renamed_while_it_is_selected(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    async def rename(scene: Scene) -> None:
        assert (await scene.call("owner", "PATCH", "~", json={"name": "Renamed"}))[0] == 200

    scene = await select_while(app, monkeypatch, rename)
    assert (await scene.current("viewer"))["deal"]["name"] == "Renamed"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_grant_that_is_shortened_while_its_deal_comes_back(app: Quart, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await Scene.set(app)
    await scene.select("viewer")
    await scene.client("owner")
    seen, go_on = stop_after(monkeypatch, restore, "find_candidate")
    signing_in = asyncio.create_task(scene.client("viewer", again=True))
    await seen.wait()
    await shorten(scene, clock)
    go_on.set()
    browser = await signing_in
    clock.advance(timedelta(minutes=11))
    assert (await (await browser.get("/api/deals/current")).get_json())["deal"] is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_deal_that_is_deleted_while_somebody_on_it_changes_their_password(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deletion waits for the session, and its person goes on by another token."""
    scene = await Scene.set(app)
    await scene.select("viewer")
    await scene.client("owner")
    settled, go_on = [[asyncio.Event() for _ in range(2)] for _ in range(2)]
    await_holds, order = WriteHolds.await_holds, iter(range(2))

    async def slow_await_holds(self: WriteHolds, db: AsyncSession) -> None:
        number = next(order, None)
        if number is not None:
            settled[number].set()
            await go_on[number].wait()
        await await_holds(self, db)

    monkeypatch.setattr(WriteHolds, "await_holds", slow_await_holds)
    password = asyncio.create_task(scene.call("viewer", "POST", "/api/me/password", json=NEW_PASSWORD))
    await settled[0].wait()
    delete = asyncio.create_task(scene.call("owner", "DELETE", "~"))
    await until(lambda: waits_for_a_row(scene.resources))
    go_on[0].set()
    assert (await password)[0] == 200
    await settled[1].wait()
    assert (await scene.current("viewer"))["deal"]["id"] == scene.deal.id, "not deleted yet"
    go_on[1].set()
    assert (await delete)[0] == 204
    assert (await scene.current("viewer"))["deal"] is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_changing_the_password_and_a_bulk_change_lock_sessions_in_one_order(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await Scene.set(app)
    await scene.select("viewer")
    second = await scene.client("viewer", again=True)
    await scene.client("owner")
    run_sync, arrived, go_on = AsyncSession.run_sync, asyncio.Event(), asyncio.Event()

    async def slow(self: AsyncSession, run: Any, *arguments: Any, **options: Any) -> Any:
        if str(arguments[0]).startswith("DELETE FROM sessions"):
            arrived.set()
            await go_on.wait()
        return await run_sync(self, run, *arguments, **options)

    monkeypatch.setattr(AsyncSession, "run_sync", slow)
    password = asyncio.create_task(second.post("/api/me/password", json=NEW_PASSWORD))
    await arrived.wait()
    delete = asyncio.create_task(scene.call("owner", "DELETE", "~"))
    await until(lambda: waits_for_a_row(scene.resources))
    go_on.set()
    assert ((await password).status_code, (await delete)[0]) == (200, 204)
    assert await deadlocks(scene.resources) == 0


async def test_somebody_who_signs_in_while_they_are_erased(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await Scene.set(app)
    ended, go_on = stop_after(monkeypatch, personal_data, "change_and_end_all")
    erasing = asyncio.create_task(personal_data.erase_person(scene.resources, scene.users["viewer"].email))
    await ended.wait()
    client = app.test_client()
    credentials = {"email": scene.users["viewer"].email, "password": PASSWORD}
    assert (await client.post("/api/auth/login", json=credentials)).status_code == 401
    go_on.set()
    assert await erasing == scene.id_of("viewer")
    assert (await client.get("/api/me")).status_code == 401


async def test_a_choice_made_while_a_restore_is_refused_wins(app: Quart, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request of an expired session finds the last deal deleted; before it can say so, its person has chosen another one."""
    scene = await Scene.set(app)
    other = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"], name="Other")
    await scene.select("owner")
    assert (await scene.call("admin", "DELETE", "~"))[0] == 204
    async with scene.resources.database.write() as db:
        await db.execute(update(Session).values(expires_at=clock.now() - timedelta(seconds=1)))
    assert scene.resources.redis
    await scene.resources.redis.commands.flushdb()
    decided, go_on, write = asyncio.Event(), asyncio.Event(), SessionManager.write

    async def slow_write(self: SessionManager, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(SessionManager, "write", write)
        decided.set()
        await go_on.wait()
        return await write(self, *arguments, **options)

    monkeypatch.setattr(SessionManager, "write", slow_write)
    late = asyncio.create_task(scene.current("owner"))
    await decided.wait()
    assert (await scene.call("owner", "POST", f"/api/deals/{other.id}/select"))[0] == 200
    go_on.set()
    assert (await late)["deal"]["id"] == other.id
    assert (await scene.current("owner"))["deal"]["id"] == other.id


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_preferences_that_are_changed_during_a_sign_in(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await Scene.set(app)
    await scene.client("viewer")
    assert (await scene.call("viewer", "DELETE", "/api/deals/current"))[0] == 204  # nothing comes back, so nothing is locked for it
    seen, go_on = stop_after(monkeypatch, restore, "find_candidate")
    signing_in = asyncio.create_task(scene.client("viewer", again=True))
    await seen.wait()
    assert (await scene.call("viewer", "PATCH", "/api/me", json={"theme": "dark"}))[0] == 200
    go_on.set()
    assert (await (await (await signing_in).get("/api/me")).get_json())["user"]["theme"] == "dark"


@pytest.mark.parametrize("what", ["delete", "leave", "rename"])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_change_of_many_sessions_is_seen_by_the_browser_that_made_it(
    environ: dict[str, str], clock: FakeClock, start_redis: StartRedis, what: str
) -> None:
    """Its server cannot reach Redis, so the other one is not told; by its cookie the browser is ahead of what is there."""
    proxy = TcpProxy(start_redis().port)
    environ = environ | {"SESSION_BACKEND_POLL_SECONDS": "5"}
    apps = [
        create_app(load_settings(environ | {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}), clock=clock)
        for port in (proxy.port, proxy.target)
    ]
    async with apps[0].test_app(), apps[1].test_app():
        scene = await Scene.set(apps[0])
        who = "viewer" if what == "leave" else "owner"
        await scene.select(who)
        here, there = await scene.client(who), apps[1].test_client()
        there.cookie_jar = here.cookie_jar
        for _ in range(2):
            assert await current(there) == "Mojang"
        proxy.refuse()
        method, path = {"delete": ("DELETE", "~"), "leave": ("DELETE", f"~/members/{scene.id_of(who)}"), "rename": ("PATCH", "~")}[what]
        options = {"json": {"name": "Renamed"}} if what == "rename" else {}
        assert (await scene.call(who, method, path, **options))[0] in (200, 204)
        assert await current(there) == ("Renamed" if what == "rename" else None)
    proxy.close()


async def current(client: Client) -> str | None:
    deal = (await (await client.get("/api/deals/current")).get_json())["deal"]
    return deal and str(deal["name"])


@pytest.mark.parametrize("until_when", ["9999-12-31T23:59:59.999Z", "2500-04-21T22:47:47.565Z"])
async def test_a_grant_for_as_good_as_ever(app: Quart, until_when: str) -> None:
    scene = await Scene.set(app)
    grant = {"expires_at": until_when}
    assert (await scene.call("owner", "PATCH", f"~/members/{scene.id_of('viewer')}", json=grant))[0] == 200
    await scene.select("viewer")
    again = await scene.client("viewer", again=True)
    assert await current(again) == "Mojang"


async def test_preferences_that_are_changed_while_another_request_looks_for_a_deal(
    app: Quart, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await Scene.set(app)
    assert (await scene.call("stranger", "GET", "/api/me"))[0] == 200
    clock.advance(restore.RESTORE_BACKOFF + timedelta(seconds=1))
    seen, go_on = stop_after(monkeypatch, restore, "_look")
    looking = asyncio.create_task(scene.call("stranger", "GET", "/api/deals/current"))
    await seen.wait()
    monkeypatch.undo()
    assert (await scene.call("stranger", "PATCH", "/api/me", json={"theme": "dark"}))[0] == 200
    go_on.set()
    assert (await looking)[0] == 200
    assert (await scene.call("stranger", "GET", "/api/me"))[1]["user"]["theme"] == "dark"


async def test_somebody_who_is_enabled_while_they_are_erased_is_not_erased_in_part(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await Scene.set(app)
    await scene.client("admin")
    ended, go_on = stop_after(monkeypatch, personal_data, "change_and_end_all")
    erasing = asyncio.create_task(personal_data.erase_person(scene.resources, scene.users["viewer"].email))
    await ended.wait()
    enabling = await scene.call("admin", "PATCH", f"/api/admin/people/{scene.id_of('viewer')}", json={"disabled": False})
    assert enabling[0] == 200
    assert (await scene.call("viewer", "GET", "/api/me"))[0] == 200
    go_on.set()
    with pytest.raises(LookupError, match="once more"):
        await erasing
    assert await personal_data.erase_person(scene.resources, scene.users["viewer"].email) == scene.id_of("viewer")
    assert (await scene.call("viewer", "GET", "/api/me"))[0] == 401


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_sign_out_everywhere_of_somebody_who_signed_in_very_often(app: Quart) -> None:
    """More logins are remembered than a statement may have parameters."""
    scene = await Scene.set(app)
    await scene.client("viewer")
    many = (
        "INSERT INTO logins"
        " (user_id, token_hash, created_at, seen_at, idle_expires_at, expires_at, ended_at, keep_signed_in, user_agent, address)"
        " SELECT :user_id, md5(n::text) || md5(n::text), now(), now(), now(), now(), now(), false, '', '' FROM generate_series(1, 33000) n"
    )
    async with scene.resources.database.write() as db:
        await db.execute(text(many), {"user_id": scene.id_of("viewer")})
    assert (await scene.call("viewer", "POST", "/api/logins/revoke-others"))[0] == 200
    assert len(await revoke_logins(scene.resources, scene.users["viewer"].email)) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_changing_the_password_and_signing_out_the_others_lock_logins_in_one_order(
    app: Quart, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await Scene.set(app)
    await scene.client("viewer")
    third, second = await scene.client("viewer", again=True), await scene.client("viewer", again=True)
    found, go_on = stop_after(monkeypatch, service, "find_live_login")
    password = asyncio.create_task(second.post("/api/me/password", json=NEW_PASSWORD))
    await found.wait()
    assert (await third.post("/api/logins/revoke-others")).status_code == 200, "which ends the other one"
    go_on.set()
    assert (await password).status_code == 401
    assert await deadlocks(scene.resources) == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_choosing_a_deal_to_begin_at_does_not_wait_for_its_withdrawal(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one has the person and refers to the deal, the other has the deal and wants the person."""
    scene = await Scene.set(app)
    await scene.select("viewer")
    await scene.client("owner")
    arrived, go_on, load = asyncio.Event(), asyncio.Event(), Realignment.load

    async def slow(self: Realignment, *arguments: Any, **options: Any) -> None:
        arrived.set()
        await go_on.wait()
        await load(self, *arguments, **options)

    monkeypatch.setattr(Realignment, "load", slow)
    withdraw = asyncio.create_task(scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}"))
    await arrived.wait()
    start = {"start_at": "deal", "start_deal_id": scene.deal.id}
    assert (await scene.call("viewer", "PATCH", "/api/me", json=start))[0] == 200
    go_on.set()
    assert (await withdraw)[0] == 204
    assert await deadlocks(scene.resources) == 0
