"""The promise, spec by spec: the deal a person works on is remembered, selected, restored, and kept by sessions that survive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from quart.typing import TestClientProtocol as Client
from sqlalchemy import delete, func, inspect, select, text, update
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from app.core.config import Settings, load_settings
from app.core.database import Database
from app.core.errors import StoreUnavailable
from app.core.metrics import METRICS
from app.core.redis import Instance, RedisClient, check_redis_health
from app.factory import create_app
from app.models import Deal, Member, Organisation, Outbox, Session, Switch, User, Visit
from tests.conftest import StartRedis
from tests.factories import PASSWORD, make_deal, make_member, make_organisation, make_user
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.jobs import run_job
from tests.losses import empty_redis, footprint, lose_sessions, refuse_writes, writes_to_sessions_blocked
from tests.servers.redis import KINDS, PRIVATE_KINDS
from tests.waiting import until

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TAKEN_AWAY = {"code": "deal_unavailable"}

# Each database and each kind of Redis, though not each with each: how they work together is for tests/resilience.
with_and_without_redis = pytest.mark.parametrize(
    ("database_url", "redis_url"), [("sqlite", "valkey"), ("postgresql", "none")], indirect=True
)
on_every_backend = pytest.mark.parametrize(
    ("database_url", "redis_url"), [("sqlite", "none"), ("sqlite", "valkey"), ("postgresql", KINDS[-1])], indirect=True
)


# Spec 01: the deal a person worked on last


@pytest.fixture
async def home(database: Database) -> Organisation:
    return await make_organisation(database)


@pytest.fixture
async def person(database: Database, home: Organisation) -> User:
    return await make_user(database, home)


@pytest.fixture
async def deal(database: Database, home: Organisation, person: User) -> Deal:
    return await make_deal(database, home, owner=person)


async def test_user_update_last_deal(database: Database, person: User, deal: Deal) -> None:
    async with changing(database, person) as user:
        user.update_last_deal(deal.id, at=NOW)
    user = await stored(database, person)
    assert (user.last_deal_id, user.last_deal_accessed_at, user.last_deal_version) == (deal.id, NOW, 1)


async def test_user_get_last_deal(database: Database, person: User, deal: Deal) -> None:
    assert (await stored(database, person)).get_last_deal() is None
    async with changing(database, person) as user:
        user.update_last_deal(deal.id, at=NOW)
    assert (await stored(database, person)).get_last_deal() == deal.id


async def test_user_clear_last_deal(database: Database, person: User, deal: Deal) -> None:
    async with changing(database, person) as user:
        user.update_last_deal(deal.id, at=NOW)
        user.clear_last_deal(at=NOW + timedelta(hours=1))
    user = await stored(database, person)
    assert (user.get_last_deal(), user.last_deal_accessed_at) == (None, None)
    assert (user.last_deal_version, user.last_deal_cleared_at) == (2, NOW + timedelta(hours=1))


async def test_last_deal_version_rises_also_for_the_same_deal(database: Database, person: User, deal: Deal) -> None:
    """What was decided from an older choice can tell that there is a newer one, even of the same deal."""
    for version in (1, 2, 3):
        async with changing(database, person) as user:
            user.update_last_deal(deal.id, at=NOW)
        assert (await stored(database, person)).last_deal_version == version


async def test_choice_after_a_clear_counts_again(database: Database, person: User, deal: Deal) -> None:
    async with changing(database, person) as user:
        user.clear_last_deal(at=NOW)
        user.update_last_deal(deal.id, at=NOW)
    assert (await stored(database, person)).last_deal_cleared_at is None


async def test_deal_that_is_removed_leaves_no_dangling_pointer(database: Database, person: User, deal: Deal) -> None:
    async with changing(database, person) as user:
        user.update_last_deal(deal.id, at=NOW)
    async with database.write() as db:
        await db.execute(delete(Deal).where(Deal.id == deal.id))
    assert (await stored(database, person)).get_last_deal() is None


async def test_pointer_to_a_deal_that_never_was_is_refused(database: Database, person: User) -> None:
    with pytest.raises(IntegrityError):
        async with changing(database, person) as user:
            user.update_last_deal(2**40, at=NOW)


async def test_person_from_before_has_no_last_deal_and_is_remembered_from_now_on(database: Database, person: User) -> None:
    """The columns' own defaults, for rows written by somebody who does not know them."""
    async with database.write() as db:
        await db.execute(
            text(
                "INSERT INTO users (organisation_id, email, name, password_hash, created_at) VALUES (:home, 'old@x.example', '', '', :now)"
            ),
            {"home": person.organisation_id, "now": NOW if database.dialect == "postgresql" else NOW.isoformat()},
        )
        found = await db.execute(select(User).where(User.email == "old@x.example"))
    user = found.scalar_one()
    assert (user.last_deal_id, user.last_deal_accessed_at, user.last_deal_version, user.last_deal_cleared_at) == (None, None, 0, None)
    assert user.remember_last_deal


async def test_people_on_a_deal_are_found_by_an_index(database: Database) -> None:
    async with database.read() as db:
        indexes = await (await db.connection()).run_sync(lambda connection: inspect(connection).get_indexes("users"))
    assert {"idx_users_last_deal": ["last_deal_id"]}.items() <= {each["name"]: each["column_names"] for each in indexes}.items()


# Spec 02: selecting a deal


@on_every_backend
async def test_select_deal_api(scene: Scene, clock: FakeClock) -> None:
    status, answer = await scene.call("viewer", "POST", "~/select")
    assert status == 200
    card = {"id": scene.deal.id, "name": "Mojang", "role": "viewer", "access_until": None}
    assert answer == {"deal": card, "selected_at": clock.now().isoformat()}
    assert await scene.current("viewer") == {"deal": card, "source": "selected", "notice": None}
    [session], user = await scene.sessions("viewer"), await scene.user("viewer")
    assert (session.data["current_deal_id"], session.current_deal_id) == (scene.deal.id, scene.deal.id)
    assert (user.last_deal_id, user.last_deal_accessed_at, user.last_deal_version) == (scene.deal.id, clock.now(), 1)


async def test_selection_leaves_a_visit_and_an_event_on_its_way_to_the_stream(scene: Scene, clock: FakeClock) -> None:
    await scene.select("viewer")
    [event] = await scene.events("deal.selected")
    assert (event.at, event.organisation_id, event.actor_id, event.user_id, event.deal_id) == (
        clock.now(),
        scene.organisation.id,
        scene.id_of("viewer"),
        scene.id_of("viewer"),
        scene.deal.id,
    )
    async with scene.resources.database.read() as db:
        visit = await db.get_one(Visit, (scene.id_of("viewer"), scene.deal.id))
        assert visit.visited_at == clock.now()
        assert await db.get(Outbox, event.id)


@with_and_without_redis
@pytest.mark.parametrize("table", ["events", "outbox", "users", "visits", "sessions"])
async def test_selection_that_fails_halfway_has_not_happened(scene: Scene, table: str) -> None:
    await scene.select("viewer")
    before = await footprint(scene.resources.database)
    other = await make_deal(scene.resources.database, scene.organisation)
    await make_member(scene.resources.database, other, scene.users["viewer"])
    await refuse_writes(scene.resources.database, table)
    with capture_logs():  # a traceback drawn in colours takes seconds
        status, _ = await scene.call("viewer", "POST", f"/api/deals/{other.id}/select")
    assert status >= 500
    assert await footprint(scene.resources.database) == before
    assert (await scene.current("viewer"))["deal"]["id"] == scene.deal.id


@with_and_without_redis
@pytest.mark.parametrize("reason", ["no grant", "another organisation", "deleted", "ended grant", "never was", "no id"])
async def test_deal_one_may_not_see_cannot_be_selected(scene: Scene, clock: FakeClock, reason: str) -> None:
    mine = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["stranger"])
    assert (await scene.call("stranger", "POST", f"/api/deals/{mine.id}/select"))[0] == 200
    wanted: int | str = scene.deal.id
    if reason == "another organisation":
        foreign = await make_deal(scene.resources.database, scene.elsewhere)
        # Not even a grant reaches across organisations.
        await make_member(scene.resources.database, foreign, scene.users["stranger"])
        wanted = foreign.id
    elif reason == "deleted":
        wanted = (await make_deal(scene.resources.database, scene.organisation, owner=scene.users["stranger"], deleted_at=clock.now())).id
    elif reason == "ended grant":
        await make_member(scene.resources.database, scene.deal, scene.users["stranger"], expires_at=clock.now())
    elif reason in ("never was", "no id"):
        wanted = 2**62 if reason == "never was" else "0x1"
    before = await footprint(scene.resources.database)
    status, problem = await scene.call("stranger", "POST", f"/api/deals/{wanted}/select")
    assert (status, problem["code"]) == (404, "not_found")
    assert await footprint(scene.resources.database) == before
    assert (await scene.current("stranger"))["deal"]["id"] == mine.id


async def test_selecting_twice_is_selecting_once(scene: Scene) -> None:
    first, second = [await scene.call("owner", "POST", "~/select") for _ in range(2)]
    assert first == second
    assert (await scene.user("owner")).last_deal_id == scene.deal.id
    async with scene.resources.database.read() as db:
        assert await db.scalar(select(func.count()).select_from(Visit)) == 1


async def test_list_marks_the_selected_deal(scene: Scene) -> None:
    await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"])
    await scene.select("owner")
    _, answer = await scene.call("owner", "GET", "/api/deals/list")
    assert answer["current_deal_id"] == scene.deal.id
    assert {each["id"]: each["is_current"] for each in answer["deals"]}[scene.deal.id]
    assert len([each for each in answer["deals"] if each["is_current"]]) == 1


async def test_somebody_who_has_chosen_nothing_has_no_current_deal(scene: Scene) -> None:
    assert await scene.current("stranger") == {"deal": None, "source": "none", "notice": None}


@with_and_without_redis
async def test_selection_is_what_the_next_login_anywhere_begins_with(scene: Scene) -> None:
    await scene.select("owner")
    elsewhere, answer = await sign_in(scene, "owner")
    assert answer["current_deal"] == {"id": scene.deal.id, "name": "Mojang", "role": "owner"}
    shown = await current(elsewhere)
    assert (shown["deal"]["id"], shown["source"], shown["notice"]["code"]) == (scene.deal.id, "restored", "restored")


@with_and_without_redis
async def test_selection_moves_no_other_browser_and_the_last_one_is_remembered(scene: Scene) -> None:
    await scene.select("owner")
    elsewhere, _ = await sign_in(scene, "owner")
    other = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"])
    assert (await elsewhere.post(f"/api/deals/{other.id}/select")).status_code == 200
    assert (await scene.current("owner"))["deal"]["id"] == scene.deal.id
    assert (await current(elsewhere))["deal"]["id"] == other.id
    assert (await scene.user("owner")).last_deal_id == other.id


@on_every_backend
async def test_clear_forgets_in_every_browser_and_at_the_next_login(scene: Scene) -> None:
    await scene.select("owner")
    elsewhere, _ = await sign_in(scene, "owner")
    assert (await current(elsewhere))["deal"] is not None
    assert (await scene.call("owner", "DELETE", "/api/deals/current"))[0] == 204
    later, answer = await sign_in(scene, "owner")
    assert answer["current_deal"] is None
    for client in (await scene.client("owner"), elsewhere, later):
        assert await current(client) == {"deal": None, "source": "none", "notice": None}
    [event] = await scene.events("deal.cleared")
    assert (event.user_id, event.deal_id) == (scene.id_of("owner"), scene.deal.id)
    assert (await scene.user("owner")).last_deal_cleared_at is not None


async def test_anonymous_visitors_select_see_and_clear_nothing(scene: Scene) -> None:
    client = scene.app.test_client()
    for call in (client.get, client.delete):
        assert (await call("/api/deals/current")).status_code == 401
    assert (await client.get("/api/deals/list")).status_code == 401
    response = await client.post(f"{scene.path}/select")
    assert (response.status_code, (await response.get_json())["code"]) == (401, "not_authenticated")
    async with scene.resources.database.read() as db:
        assert await db.scalar(select(func.count()).select_from(Session)) == 0


@with_and_without_redis
async def test_archived_deal_can_be_selected_and_restored(scene: Scene) -> None:
    assert (await scene.call("owner", "POST", "~/archive"))[0] == 200
    await scene.select("viewer")
    _, answer = await sign_in(scene, "viewer")
    assert answer["current_deal"]["id"] == scene.deal.id


# Spec 03: coming back


@on_every_backend
async def test_auto_restore_deal(scene: Scene, clock: FakeClock) -> None:
    """The session is gone, from SQL, from Redis and from the browser, and the very next request is in the deal again."""
    await scene.select("viewer")
    chosen_at = clock.now()
    await lose_sessions(scene.resources)
    (await scene.client("viewer")).delete_cookie("localhost", "holdfast_session")
    clock.advance(timedelta(hours=1))
    answer = await scene.current("viewer")
    assert (answer["deal"]["id"], answer["deal"]["role"], answer["source"]) == (scene.deal.id, "viewer", "restored")
    last_seen = chosen_at.isoformat()
    assert answer["notice"] == {"code": "restored", "deal_id": scene.deal.id, "name": "Mojang", "last_seen": last_seen}
    [session] = await scene.sessions("viewer")
    assert session.current_deal_id == scene.deal.id
    event = (await scene.events("deal.restored"))[-1]
    assert (event.user_id, event.deal_id, event.payload["source"]) == (scene.id_of("viewer"), scene.deal.id, "restored")


@on_every_backend
@pytest.mark.parametrize("loss", ["session row deleted", "session expired", "session cookie lost", "login ended"])
async def test_auto_restore(scene: Scene, clock: FakeClock, loss: str) -> None:
    """Whatever is lost, the next request (after signing in, if that was lost too) is served in the same deal."""
    await scene.select("editor")
    client = await scene.client("editor")
    expected = "restored"
    if loss == "session row deleted":
        await lose_sessions(scene.resources)
    elif loss == "session expired":
        async with scene.resources.database.write() as db:
            await db.execute(update(Session).values(expires_at=clock.now() + timedelta(seconds=1)))
        await empty_redis(scene.resources)
        clock.advance(timedelta(seconds=1))
    elif loss == "session cookie lost":
        client.delete_cookie("localhost", "holdfast_session")
        expected = "selected"
    else:
        assert (await client.post("/api/auth/logout")).status_code == 204
        client, _ = await sign_in(scene, "editor")
    answer = await current(client)
    assert (answer["deal"]["id"], answer["source"]) == (scene.deal.id, expected)


@with_and_without_redis
async def test_session_with_a_deal_is_left_alone(scene: Scene) -> None:
    await scene.select("owner")
    counted, told, [before] = restores(), len(await scene.events("deal.restored")), await scene.sessions("owner")
    for _ in range(3):
        assert (await scene.current("owner"))["source"] == "selected"
    [after] = await scene.sessions("owner")
    assert (restores(), after.version) == (counted, before.version)
    assert len(await scene.events("deal.restored")) == told


@with_and_without_redis
@pytest.mark.parametrize(
    ("method", "headers"),
    [("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch"}), ("GET", {"Sec-Purpose": "prefetch;prerender"}), ("GET", {"Purpose": "prefetch"})],
)
async def test_request_that_nobody_looks_at_restores_nothing(scene: Scene, method: str, headers: dict[str, str]) -> None:
    await scene.select("owner")
    await lose_sessions(scene.resources)
    client = await scene.client("owner")
    unseen: dict[str, Any] = {"method": method, "headers": headers}
    for path in ("/api/deals/current", "/workspace"):
        response = await client.open(path, **unseen)
        assert response.status_code == 200
        assert response.headers.getlist("Set-Cookie") == []
    assert await scene.sessions("owner") == []
    assert (await scene.current("owner"))["source"] == "restored"


@with_and_without_redis
@pytest.mark.parametrize(
    ("environment", "switch", "restored"),
    [("", None, True), ("false", None, False), ("", False, False), ("true", False, True), ("false", True, False)],
)
async def test_restoring_can_be_switched_off(
    environ: dict[str, str], clock: FakeClock, environment: str, switch: bool | None, restored: bool
) -> None:
    """By AUTO_RESTORE_DEAL, and without a redeploy by an operator; the environment has the last word."""
    app = create_app(load_settings(environ | {"AUTO_RESTORE_DEAL": environment}), clock=clock)
    async with app.test_app():
        scene = await Scene.set(app)
        await scene.select("owner")
        if switch is not None:
            async with scene.resources.database.write() as db:
                db.add(Switch(name="auto_restore_deal", enabled=switch, changed_at=clock.now()))
            await until(lambda: scene.resources.switches == {"auto_restore_deal": switch})
        await lose_sessions(scene.resources)
        expected = (scene.deal.id, "restored") if restored else (None, "none")
        answer = await scene.current("owner")
        assert (answer["deal"] and answer["deal"]["id"], answer["source"]) == expected
        assert ((await sign_in(scene, "owner"))[1]["current_deal"] is not None) is restored
        assert (await scene.user("owner")).last_deal_id == scene.deal.id, "it is there when restoring is switched on again"


@with_and_without_redis
async def test_who_does_not_want_to_be_remembered_begins_without_a_deal(scene: Scene) -> None:
    assert (await scene.call("viewer", "PATCH", "/api/me", json={"remember_last_deal": False}))[0] == 200
    await make_member(scene.resources.database, await make_deal(scene.resources.database, scene.organisation), scene.users["viewer"])
    await scene.select("viewer")
    assert (await scene.current("viewer"))["deal"]["id"] == scene.deal.id, "the choice counts while the session lasts"
    await lose_sessions(scene.resources)
    assert await scene.current("viewer") == {"deal": None, "source": "none", "notice": None}


@with_and_without_redis
async def test_deleted_deal_is_not_restored_until_it_is_back_from_the_bin(scene: Scene) -> None:
    await scene.select("viewer")
    await lose_sessions(scene.resources)
    assert (await scene.call("owner", "DELETE", "~"))[0] == 204
    for _ in range(3):
        assert await scene.current("viewer") == {"deal": None, "source": "none", "notice": TAKEN_AWAY}
    assert len(await scene.events("deal.restore_refused")) == 1
    assert (await scene.call("viewer", "POST", "/api/notices/dismiss"))[0] == 204
    assert (await scene.current("viewer"))["notice"] is None
    assert (await scene.user("viewer")).last_deal_id == scene.deal.id
    assert (await scene.call("owner", "POST", "~/restore"))[0] == 200
    _, answer = await sign_in(scene, "viewer")
    assert answer["current_deal"]["id"] == scene.deal.id


@with_and_without_redis
async def test_notice_of_a_deleted_deal_comes_once_also_when_the_memory_of_it_has_cooled(scene: Scene, clock: FakeClock) -> None:
    await scene.select("viewer")
    await lose_sessions(scene.resources)
    assert (await scene.call("owner", "DELETE", "~"))[0] == 204
    assert (await scene.current("viewer"))["notice"] == TAKEN_AWAY
    assert (await scene.call("viewer", "POST", "/api/notices/dismiss"))[0] == 204
    clock.advance(timedelta(minutes=2))
    assert (await scene.current("viewer"))["notice"] is None
    assert len(await scene.events("deal.restore_refused")) == 1


@with_and_without_redis
async def test_revoked_deal_is_not_restored_and_forgotten_for_good(scene: Scene) -> None:
    """Here the grant goes without a word to the sessions, as by hand in the database; the hook finds out for itself."""
    await scene.select("viewer")
    await lose_sessions(scene.resources)
    async with scene.resources.database.write() as db:
        await db.execute(delete(Member).where(Member.user_id == scene.id_of("viewer")))
    assert await scene.current("viewer") == {"deal": None, "source": "none", "notice": TAKEN_AWAY}
    user = await scene.user("viewer")
    assert (user.last_deal_id, user.last_deal_cleared_at) == (None, None)
    [event] = await scene.events("deal.restore_refused")
    assert (event.deal_id, event.payload) == (scene.deal.id, {"reason": "refused_revoked"})
    other = await make_deal(scene.resources.database, scene.organisation)
    await make_member(scene.resources.database, other, scene.users["viewer"])
    grant = {"user_id": scene.id_of("viewer"), "role": "editor"}
    assert (await scene.call("owner", "POST", "~/members", json=grant))[0] == 201
    assert (await scene.current("viewer"))["deal"] is None
    assert (await sign_in(scene, "viewer"))[1]["current_deal"] is None


@with_and_without_redis
async def test_cleared_selection_is_not_restored(scene: Scene) -> None:
    await scene.select("viewer")
    assert (await scene.call("viewer", "DELETE", "/api/deals/current"))[0] == 204
    await lose_sessions(scene.resources)
    assert await scene.current("viewer") == {"deal": None, "source": "none", "notice": None}, "nor the only deal there is"
    await scene.select("viewer")
    await lose_sessions(scene.resources)
    assert (await scene.current("viewer"))["source"] == "restored"


@with_and_without_redis
async def test_only_deal_is_selected_by_itself(scene: Scene) -> None:
    answer = await scene.current("viewer")
    assert (answer["deal"]["id"], answer["source"], answer["notice"]) == (scene.deal.id, "only_deal", None)
    assert (await scene.user("viewer")).last_deal_id is None, "nobody chose it"


@with_and_without_redis
async def test_only_deal_does_not_jump_in_for_one_that_was_taken_away(scene: Scene) -> None:
    other = await make_deal(scene.resources.database, scene.organisation)
    await make_member(scene.resources.database, other, scene.users["viewer"])
    await scene.select("viewer")
    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}"))[0] == 204
    for _ in range(2):
        assert await scene.current("viewer") == {"deal": None, "source": "none", "notice": TAKEN_AWAY}
    assert (await sign_in(scene, "viewer"))[1]["current_deal"]["id"] == other.id, "a new session may begin with it"


@with_and_without_redis
async def test_grant_that_ends_takes_the_deal_out_of_the_living_session(scene: Scene, clock: FakeClock) -> None:
    until_then = clock.now() + timedelta(hours=1)
    await make_member(scene.resources.database, scene.deal, scene.users["stranger"], expires_at=until_then)
    await scene.select("stranger")
    clock.advance(timedelta(minutes=59))
    assert (await scene.current("stranger"))["deal"]["id"] == scene.deal.id
    clock.advance(timedelta(minutes=1))
    for _ in range(2):
        assert await scene.current("stranger") == {"deal": None, "source": "none", "notice": TAKEN_AWAY}
    assert (await scene.user("stranger")).last_deal_id is None


@with_and_without_redis
async def test_restore_that_cannot_be_written_serves_the_deal_and_forgets_nothing(scene: Scene) -> None:
    await scene.select("owner")
    await lose_sessions(scene.resources)
    client, errors = await scene.client("owner"), restores()["error"]
    async with writes_to_sessions_blocked(scene.resources.database):
        with capture_logs() as logs:
            response = await client.get("/api/deals/current")
    assert (response.status_code, (await response.get_json())["deal"]["id"]) == (200, scene.deal.id)
    assert response.headers.getlist("Set-Cookie") == []
    assert [each["log_level"] for each in logs if each["event"].startswith("Auto-restore failed")] == ["warning"]
    assert restores()["error"] == errors + 1
    assert (await scene.user("owner")).last_deal_id == scene.deal.id
    assert (await scene.current("owner"))["source"] == "restored"
    assert len(await scene.sessions("owner")) == 1


async def test_log_and_counters_tell_what_became_of_each_restore(scene: Scene) -> None:
    for who in ("owner", "viewer", "editor"):
        await scene.select(who)
    await scene.client("stranger")
    await lose_sessions(scene.resources)
    async with scene.resources.database.write() as db:
        await db.execute(delete(Member).where(Member.user_id == scene.id_of("viewer")))
    before, timed = restores(), restores_timed()
    with capture_logs() as logs:
        assert (await scene.current("owner"))["source"] == "restored"
        assert (await scene.current("viewer"))["notice"] == TAKEN_AWAY
        assert (await scene.current("stranger"))["deal"] is None
        assert (await scene.call("owner", "DELETE", "~"))[0] == 204
        assert (await scene.current("editor"))["notice"] == TAKEN_AWAY
    said = [(each["event"], each.get("user_id"), each.get("reason")) for each in logs if each["event"].startswith("Auto-restore")]
    assert said == [
        (f"Auto-restored deal {scene.deal.id}", scene.id_of("owner"), None),
        (f"Auto-restore refused deal {scene.deal.id}", scene.id_of("viewer"), "refused_revoked"),
        (f"Auto-restore refused deal {scene.deal.id}", scene.id_of("editor"), "refused_deleted"),
    ]
    assert "Mojang" not in str(logs), "ids, no names"
    assert {outcome: count - before[outcome] for outcome, count in restores().items() if count != before[outcome]} == {
        "restored": 1,
        "refused_revoked": 1,
        "refused_deleted": 1,
        "none": 1,
    }
    assert restores_timed() == timed + 4


# Spec 04: sessions that survive


@pytest.mark.parametrize("kind", PRIVATE_KINDS)
async def test_redis_health_check(start_redis: StartRedis, settings: Settings, kind: str) -> None:
    """A server that would answer PING may still be unfit to keep a session."""
    server = start_redis(kind)
    instance = await check(server.url, settings)
    assert (len(instance.run_id), instance.role) == (40, "master")
    server.say("CONFIG SET maxmemory 1")
    await assert_unfit(server.url, settings, "OutOfMemory")
    server.say("CONFIG SET maxmemory 0")
    master = start_redis(kind)
    server.say(f"REPLICAOF 127.0.0.1 {master.port}")
    await assert_unfit(server.url, settings, "ReadOnly|MasterDown|Loading")
    server.say("CONFIG SET replica-read-only no")
    await assert_unfit(server.url, settings, "replica")
    server.say("REPLICAOF NO ONE")
    server.stop()
    await assert_unfit(server.url, settings, "no answer in time")
    server.cont()
    assert (await check(server.url, settings)).run_id == instance.run_id
    server.kill()
    await assert_unfit(server.url, settings, "no connection")


@pytest.mark.parametrize(
    ("backend", "line", "health"),
    [
        ("redis", "Session backend: Redis (healthy)", {"status": "healthy", "backend": "redis"}),
        ("dead redis", "Session backend: SQLAlchemy (Redis unavailable)", {"status": "degraded", "backend": "sqlalchemy"}),
        ("none", "Session backend: SQLAlchemy (no Redis configured)", {"status": "healthy", "backend": "sqlalchemy"}),
    ],
)
async def test_log_and_health_name_the_session_backend(
    environ: dict[str, str], start_redis: StartRedis, clock: FakeClock, backend: str, line: str, health: dict[str, str]
) -> None:
    if backend == "dead redis":
        server = start_redis()
        server.kill()
        environ["REDIS_URL"] = server.url
    elif backend == "none":
        environ["REDIS_URL"] = ""
    app = create_app(load_settings(environ), clock=clock)
    with capture_logs() as logs:
        async with app.test_app():
            response = await app.test_client().get("/api/health/session")
            strict = await app.test_client().get("/api/health/session?strict=1")
    assert [each["event"] for each in logs if each["event"].startswith("Session backend:")] == [line]
    assert (response.status_code, await response.get_json()) == (200, health)
    assert strict.status_code == (200 if health["status"] == "healthy" else 503)


async def test_operators_are_told_why_and_others_are_not(scene: Scene) -> None:
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("admin")).values(is_operator=True))
    assert set((await scene.call("owner", "GET", "/api/health/session"))[1]) == {"status", "backend"}
    _, answer = await scene.call("admin", "GET", "/api/health/session")
    assert (answer["epoch"], answer["checks"]["redis"], answer["checks"]["sql"]) == (1, "ok", "ok")
    # By SQL, whatever the session still says.
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("admin")).values(is_operator=False))
    assert set((await scene.call("admin", "GET", "/api/health/session"))[1]) == {"status", "backend"}


@with_and_without_redis
async def test_clean_up_takes_expired_sessions_and_leaves_living_ones(scene: Scene, clock: FakeClock) -> None:
    await scene.select("owner")
    clock.advance(scene.resources.settings.permanent_session_lifetime - timedelta(hours=12))
    await scene.select("editor")
    clock.advance(timedelta(hours=12))
    assert (await run_job(scene.resources, "expire_sessions")).counts["sessions"] == 1
    assert (await scene.sessions("owner"), len(await scene.sessions("editor"))) == ([], 1)
    assert (await scene.current("editor"))["source"] == "selected"
    assert (await scene.call("owner", "GET", "/api/me"))[0] == 401, "that login was idle for too long as well"
    assert (await sign_in(scene, "owner"))[1]["current_deal"]["id"] == scene.deal.id


@pytest.mark.parametrize("kind", PRIVATE_KINDS)
async def test_sessions_survive_a_redis_that_is_killed(
    environ: dict[str, str], start_redis: StartRedis, clock: FakeClock, kind: str
) -> None:
    """Reading, selecting, clearing, signing in and out: everything goes on, by SQL."""
    server = start_redis(kind)
    app = create_app(load_settings(environ | {"REDIS_URL": server.url}), clock=clock)
    async with app.test_app():
        scene = await Scene.set(app)
        await scene.select("owner")
        await scene.select("viewer")
        other = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"])
        server.kill()
        assert (await scene.current("owner"))["deal"]["id"] == scene.deal.id
        assert (await scene.call("owner", "POST", f"/api/deals/{other.id}/select"))[0] == 200
        assert (await scene.current("owner"))["deal"]["id"] == other.id
        assert (await sign_in(scene, "owner"))[1]["current_deal"]["id"] == other.id
        assert (await scene.call("viewer", "DELETE", "/api/deals/current"))[0] == 204
        assert (await scene.current("viewer"))["deal"] is None
        assert (await scene.call("viewer", "POST", "/api/auth/logout"))[0] == 204
        assert (await scene.call("viewer", "GET", "/api/me"))[0] == 401
        status, health = await scene.call("owner", "GET", "/api/health/session")
        assert (status, health) == (200, {"status": "degraded", "backend": "sqlalchemy"})


@with_and_without_redis
async def test_each_login_has_one_session_however_many_requests_come_first(scene: Scene) -> None:
    await scene.select("owner")
    client = await scene.client("owner")
    await lose_sessions(scene.resources)
    answers = await asyncio.gather(*(client.get("/api/deals/current") for _ in range(8)))
    assert {(await each.get_json())["deal"]["id"] for each in answers} == {scene.deal.id}
    assert len(await scene.sessions("owner")) == 1


# What the tests above share


async def stored(database: Database, person: User) -> User:
    async with database.read() as db:
        return await db.get_one(User, person.id)


@asynccontextmanager
async def changing(database: Database, person: User) -> AsyncIterator[User]:
    async with database.write() as db:
        yield await db.get_one(User, person.id)


async def sign_in(scene: Scene, who: str) -> tuple[Client, Any]:
    """Another browser of this person, and what signing in answered."""
    client = scene.app.test_client()
    response = await client.post("/api/auth/login", json={"email": scene.users[who].email, "password": PASSWORD})
    assert response.status_code == 200
    return client, await response.get_json()


async def current(client: Client) -> Any:
    response = await client.get("/api/deals/current")
    assert response.status_code == 200
    return await response.get_json()


def restores() -> dict[str, float]:
    outcomes = ("restored", "only_deal", "refused_deleted", "refused_revoked", "none", "error")
    return {each: METRICS.registry.get_sample_value("holdfast_restores_total", {"outcome": each}) or 0 for each in outcomes}


def restores_timed() -> float:
    return METRICS.registry.get_sample_value("holdfast_restore_seconds_count") or 0


async def check(url: str, settings: Settings) -> Instance:
    client = RedisClient(url, name="holdfast-test", timeout=settings.redis_timeout)
    try:
        return await check_redis_health(client)
    finally:
        await client.close()


async def assert_unfit(url: str, settings: Settings, why: str) -> None:
    with pytest.raises(StoreUnavailable, match=why):
        await check(url, settings)
