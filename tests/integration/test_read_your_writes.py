"""Who has chosen a deal sees that deal, whatever else was under way: slow requests that began earlier, writes on other servers."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from quart import request, session
from quart.typing import TestClientProtocol as Client
from werkzeug.datastructures import Headers

from app.core.config import Settings
from app.core.errors import StoreUnavailable
from app.factory import create_app
from app.http.web import signed_in
from app.resources import Resources, make_resources
from app.sessions.manager import Loaded
from app.sessions.token import hash_token
from tests.factories import make_deal, make_login, make_user
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.servers.redis import KINDS

on_every_backend = pytest.mark.parametrize("redis_url", ["none", *KINDS], indirect=True)

TOKEN = "a token"
KEY = hash_token(TOKEN)
# The promise is 1000 of 1000; every run tries fewer.
RACE_TRIALS = int(os.environ.get("RACE_TRIALS", "20"))


@dataclass
class Slow:
    """The two ends of `GET /api/slow`: it answers with the deal it began with, once it may; `?keep=1` makes it keep a key as well."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, client: Client, query: str = "") -> "asyncio.Task[tuple[int, Headers]]":
        """Returns when the server is in the middle of the request. The task gives the id of the deal, and the headers."""

        async def ask() -> tuple[int, Headers]:
            response = await client.get(f"/api/slow{query}")
            return (await response.get_json())["deal"]["id"], response.headers

        task = asyncio.create_task(ask())
        async with asyncio.timeout(5):
            await self.began.wait()
        return task


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
async def scene(settings: Settings, clock: FakeClock, slow: Slow) -> AsyncIterator[Scene]:
    app = create_app(settings, clock=clock)

    @app.get("/api/slow")
    @signed_in
    async def answer_late() -> dict[str, object]:
        deal = session["deal"]
        slow.began.set()
        async with asyncio.timeout(5):
            await slow.may_end.wait()
        if "keep" in request.args:
            session["kept"] = deal["id"]
        return {"deal": deal}

    async with app.test_app():
        yield await Scene.set(app)


@on_every_backend
@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
async def test_slow_get_that_began_before_a_select_does_not_bring_the_old_deal_back(scene: Scene, slow: Slow, cold: bool) -> None:
    await scene.select("owner")
    chosen = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"])
    client = await scene.client("owner")
    if cold:
        await empty_redis(scene.resources)
    late = await slow.begin(client)
    assert (await client.post(f"/api/deals/{chosen.id}/select")).status_code == 200
    slow.may_end.set()
    shown, headers = await late
    assert shown == scene.deal.id, "it is served by the session it began with"
    assert headers.getlist("Set-Cookie") == []
    assert (await scene.current("owner"))["deal"]["id"] == chosen.id
    await empty_redis(scene.resources)
    assert (await scene.current("owner"))["deal"]["id"] == chosen.id
    assert (await scene.user("owner")).last_deal_id == chosen.id


@on_every_backend
async def test_slow_request_that_keeps_a_key_of_its_own_leaves_the_choice_alone(scene: Scene, slow: Slow) -> None:
    await scene.select("owner")
    chosen = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"])
    client = await scene.client("owner")
    late = await slow.begin(client, "?keep=1")
    assert (await client.post(f"/api/deals/{chosen.id}/select")).status_code == 200
    slow.may_end.set()
    await late
    assert (await scene.current("owner"))["deal"]["id"] == chosen.id
    [row] = await scene.sessions("owner")
    assert (row.data["kept"], row.data["current_deal_id"]) == (scene.deal.id, chosen.id)


@on_every_backend
async def test_slow_get_that_began_before_a_clear_does_not_bring_the_deal_back(scene: Scene, slow: Slow) -> None:
    await scene.select("owner")
    client = await scene.client("owner")
    late = await slow.begin(client)
    assert (await client.delete("/api/deals/current")).status_code == 204
    slow.may_end.set()
    _, headers = await late
    assert headers.getlist("Set-Cookie") == []
    assert (await scene.current("owner"))["deal"] is None


@on_every_backend
async def test_slow_get_that_began_before_signing_out_signs_nobody_in(scene: Scene, slow: Slow) -> None:
    await scene.select("owner")
    client = await scene.client("owner")
    late = await slow.begin(client)
    assert (await client.post("/api/auth/logout")).status_code == 204
    slow.may_end.set()
    _, headers = await late
    assert headers.getlist("Set-Cookie") == []
    assert (await client.get("/api/me")).status_code == 401


@pytest.mark.timeout(600)
@on_every_backend
async def test_two_servers_that_change_two_keys_of_one_session_both_win_every_time(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        servers = [await server(settings, stack) for _ in "ab"]
        login = await make_login(servers[0].database, await make_user(servers[0].database), token=TOKEN)
        async with servers[0].database.write() as db:
            await servers[0].sessions.insert(db, login=login, data={}, now=servers[0].clock.now())
        lost = [turn for turn in range(RACE_TRIALS) if not await both_win(servers, turn)]
    assert lost == [], f"{len(lost)} of {RACE_TRIALS} pairs lost a write"


async def both_win(servers: list[Resources], turn: int) -> bool:
    """Both servers change their own key of the same version at once; afterwards each sees both, and so does SQL."""
    found = [await resources.sessions.read(KEY) for resources in servers]

    async def write(resources: Resources, loaded: Loaded, key: str) -> None:
        assert await resources.sessions.write(loaded, lambda data: data | {key: turn})

    await asyncio.gather(*map(write, servers, found, "ab"))
    seen = [(await resources.sessions.read(KEY)).record for resources in servers]
    truth = await servers[0].sessions.sql.read(KEY)
    assert truth is not None
    return all(record is not None and record.data == {"a": turn, "b": turn} for record in [*seen, truth.record])


async def server(settings: Settings, stack: AsyncExitStack) -> Resources:
    resources = make_resources(settings, kind="web")
    await resources.open()
    stack.push_async_callback(resources.close)
    return resources


async def empty_redis(resources: Resources) -> None:
    if resources.redis:
        await resources.redis.commands.flushdb()


@pytest.mark.parametrize("fault", [StoreUnavailable("a test"), RuntimeError("a test")], ids=["foreseen", "not foreseen"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_key_that_cannot_be_kept_costs_nobody_the_page(
    scene: Scene, slow: Slow, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """What the request did is committed by then: a 500 would say it was not."""
    client = await scene.client("owner")
    await scene.select("owner")

    async def fail(*arguments: object, **options: object) -> None:
        raise fault

    task = await slow.begin(client, "?keep=1")
    monkeypatch.setattr(scene.resources.sessions, "write", fail)
    slow.may_end.set()
    assert (await task)[0] == scene.deal.id
