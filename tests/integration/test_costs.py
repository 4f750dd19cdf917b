"""What a request costs, counted: SQL statements sent, put together and compiled, transactions that write, commands Redis was sent."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import delete

from app.auth.service import disable_user
from app.core.config import Settings, load_settings
from app.factory import create_app
from app.http.app import FastJSON
from app.models import Session
from tests.counting import Counted, counting
from tests.factories import PASSWORD, make_deal, make_member, make_user, make_work
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.servers.redis import KINDS

on_every_redis = pytest.mark.parametrize("redis_url", KINDS, indirect=True)
without_redis = pytest.mark.parametrize("redis_url", ["none"], indirect=True)

# What counting itself sends, and what a new connection says once.
NOT_COUNTED = {"info", "hello", "client|setname", "client|setinfo", "select"}


@dataclass
class Cost(Counted):
    """And what Redis was sent."""

    redis: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    # The look at the flag goes on in the background, at a pace that no test waits for.
    return load_settings(environ | {"SESSION_BACKEND_POLL_SECONDS": "3600", "PROBE_INTERVAL_SECONDS": "3600"})


@pytest.fixture
async def scene(settings: Settings, clock: FakeClock) -> AsyncIterator[Scene]:
    app = create_app(settings, clock=clock)
    async with app.test_app():
        scene = await Scene.set(app)
        # More than one deal, so that the current one is there because it was chosen.
        await make_member(scene.resources.database, await make_deal(scene.resources.database, scene.organisation), scene.users["viewer"])
        await scene.select("viewer")
        yield scene


@on_every_redis
@pytest.mark.parametrize("path", ["/api/deals/current", "/api/me"])
async def test_warm_request_is_one_command_and_no_sql(scene: Scene, path: str) -> None:
    await scene.call("viewer", "GET", path)
    async with counted(scene) as cost:
        assert (await scene.call("viewer", "GET", path))[0] == 200
    assert (cost.statements, cost.commits, dict(cost.redis)) == ([], 0, {"mget": 1})


@without_redis
@pytest.mark.parametrize("path", ["/api/deals/current", "/api/me"])
async def test_warm_request_without_redis_is_one_statement(scene: Scene, path: str) -> None:
    await scene.call("viewer", "GET", path)
    async with counted(scene) as cost:
        assert (await scene.call("viewer", "GET", path))[0] == 200
    assert (len(cost.statements), cost.commits) == (1, 0), cost.statements


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_answers_of_the_whole_app_are_written_by_the_fast_encoder(scene: Scene) -> None:
    assert isinstance(scene.app.json, FastJSON)


@pytest.mark.parametrize("redis_url", ["none", *KINDS], indirect=True)
async def test_restore_is_three_statements_in_one_transaction(scene: Scene) -> None:
    await lose_session(scene)
    async with counted(scene) as cost:
        assert (await scene.current("viewer"))["source"] == "restored"
    assert len(cost.statements) <= 3, cost.statements
    assert (len(cost.writing), cost.commits) == (2, 1), cost.statements


@pytest.mark.parametrize("redis_url", ["none", *KINDS], indirect=True)
async def test_selection_is_one_transaction(scene: Scene) -> None:
    async with counted(scene) as cost:
        await scene.select("viewer")
    assert cost.commits == 1
    # The event with the proof of access, the person, the visit, the session.
    assert len(cost.writing) == 4, cost.writing


@pytest.mark.parametrize("redis_url", ["none", *KINDS], indirect=True)
async def test_sign_in_is_one_transaction_with_the_deal_already_restored(scene: Scene) -> None:
    client, person = scene.app.test_client(), scene.users["viewer"]
    async with counted(scene) as cost:
        response = await client.post("/api/auth/login", json={"email": person.email, "password": PASSWORD})
    assert (await response.get_json())["current_deal"]["id"] == scene.deal.id
    assert cost.commits == 1
    assert len(cost.statements) == 12, cost.statements  # two for the device cookie


async def test_no_number_of_rows_changes_the_number_of_statements_of_a_deal_page(scene: Scene) -> None:
    pages = ("overview", "findings", "findings/1", "findings/1/edit", "checklist", "team", "activity", "edit")
    client, database = await scene.client("owner"), scene.resources.database
    await make_work(database, scene.deal)

    async def costs() -> dict[str, int]:
        found = {}
        for page in ("overview", *pages):
            async with counted(scene) as cost:
                assert (await client.get(f"/deals/{scene.deal.id}/{page}")).status_code == 200
            found[page] = len(cost.statements)
        return found

    before = await costs()
    for number in range(15):
        await make_member(database, scene.deal, await make_user(database, scene.organisation))
        facts = {"title": f"Finding {number}", "owner_id": scene.id_of("editor")}
        assert (await scene.call("owner", "POST", "~/findings", json=facts))[0] == 201
        assert (await scene.call("owner", "POST", "~/checklist", json=facts | {"section": f"S{number}"}))[0] == 201
    assert await costs() == before
    assert max(before.values()) <= 6, before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_page_asked_for_again_puts_no_statement_together(scene: Scene) -> None:
    await make_work(scene.resources.database, scene.deal)
    in_deal = ("overview", "findings", "findings/1", "checklist", "checklist/1", "team", "activity", "edit")
    alone = ("/deals", "/deals?stage=diligence&sort=-name", "/deals/board", "/settings", "/settings/devices", "/admin/people", "/notices")
    api = ("list?limit=20", "recent", *(f"{scene.deal.id}{rest}" for rest in ("", "/findings", "/checklist", "/members", "/activity")))
    client = await scene.client("admin")
    await scene.select("admin")
    for path in (*(f"/deals/{scene.deal.id}/{page}" for page in in_deal), *alone, *(f"/api/deals/{rest}" for rest in api)):
        for _ in range(2):
            async with counted(scene) as cost:
                assert (await client.get(path)).status_code == 200
        assert (cost.built, cost.compiled) == ([], []), path
        assert len(cost.statements) <= 6, (path, cost.statements)


@pytest.mark.parametrize("redis_url", ["none", "valkey"], indirect=True)
async def test_warmed_change_puts_no_statement_together(scene: Scene) -> None:
    client, person = scene.app.test_client(), scene.users["viewer"]
    steps: list[tuple[str, str, Any]] = [
        ("POST", "/api/auth/login", {"email": person.email, "password": PASSWORD}),
        ("POST", f"{scene.path}/select?page=findings", None),
        ("POST", f"{scene.path}/visit?page=team", None),
        ("GET", "/api/deals/current", None),
        ("POST", "/api/deals/current/undo", {}),
        ("DELETE", "/api/deals/current", None),
        ("POST", f"{scene.path}/select", None),
        ("POST", "/api/auth/logout", None),
    ]
    for turn in range(3):
        for method, path, body in steps:
            if path.endswith("current") and method == "GET":
                await lose_session(scene)
            async with counted(scene) as cost:
                assert (await client.open(path, method=method, json=body)).status_code in (200, 204), path
            if turn == 2:
                assert (cost.built, cost.compiled) == ([], []), (path, cost.built, cost.compiled, cost.statements)


async def test_what_a_failed_sign_in_asks_of_the_database_tells_nothing_of_the_account(scene: Scene) -> None:
    disabled = await make_user(scene.resources.database, scene.organisation)
    await disable_user(scene.resources, disabled.email)
    asked = []
    for email in (scene.users["viewer"].email, disabled.email, "nobody@elsewhere.example"):
        async with counted(scene) as cost:
            answer = await scene.app.test_client().post("/api/auth/login", json={"email": email, "password": "x" * 20})
        assert answer.status_code == 401
        asked.append(cost.statements)
    assert asked[0] == asked[1] == asked[2]


@asynccontextmanager
async def counted(scene: Scene) -> AsyncIterator[Cost]:
    """Count what happens meanwhile, on every engine and in Redis."""
    cost = Cost()
    before = await redis_calls(scene)
    with counting(scene.resources.database, cost):
        yield cost
    cost.redis = await redis_calls(scene) - before


async def redis_calls(scene: Scene) -> Counter[str]:
    """How often each command was called so far."""
    if scene.resources.redis is None:
        return Counter()
    stats = await scene.resources.redis.commands.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()}
    return Counter({name: count for name, count in calls.items() if name not in NOT_COUNTED})


async def lose_session(scene: Scene) -> None:
    """The rows and the records of all sessions; what Redis knows of the epoch stays, or the flag would be looked at beside the request."""
    async with scene.resources.database.write() as db:
        await db.execute(delete(Session))
    if scene.resources.redis:
        await scene.resources.redis.commands.delete(*await scene.resources.redis.commands.keys(scene.resources.keys.name("s:*")))
