"""The operators' console: what it shows is so, what it does is done and audited, and it needs SQL alone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from quart import Quart
from sqlalchemy import event, insert, select, update

from app.core.config import load_settings
from app.events.service import record_event
from app.factory import create_app
from app.models import DeadLetter, JobRun, Traffic, User
from app.ops.statistics.traffic import BUCKET_COLUMNS, Counts, Recorder, load
from app.ops.statistics.windows import WINDOWS
from tests.conftest import StartRedis, StartWeb
from tests.factories import PASSWORD, make_user
from tests.fakes import FakeClock
from tests.integration.desk import Desk
from tests.integration.event_reader import listening
from tests.waiting import until

without_redis = pytest.mark.parametrize("redis_url", ["none"], indirect=True)

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PAGES = ("/ops", "/ops/sessions", "/ops/sessions?window=7d", "/ops/jobs", "/ops/streams?window=1h", "/ops/users")


@without_redis
async def test_every_page_works_on_an_empty_site_and_from_sql_alone(desk: Desk) -> None:
    for path in PAGES:
        assert "<h1>" in await desk.page(path)
    assert "No worker" in await desk.page("/ops/jobs") or "no worker" in await desk.page("/ops/jobs")


@on_sqlite
async def test_a_page_costs_the_same_whatever_there_is_to_show(desk: Desk) -> None:
    counted = []
    for _ in range(2):
        with statements_of(desk) as sent:
            for path in PAGES:
                await desk.page(path)
        counted.append(len(sent))
        await desk.runs(*["queued", "running", "failed"] * 10, error_class="KeyError")
        await desk.schedule()
        async with desk.resources.database.write() as db:
            for number in range(12):
                await record_event(db, "backend.flipped", at=desk.resources.clock.now(), mode="sql", epoch=number, reason="a test")
        for cached in vars(desk.scene.app.extensions["console"]).values():
            if hasattr(cached, "forget"):
                cached.forget()
    assert counted[0] + 1 >= counted[1] - 1, counted


@contextmanager
def statements_of(desk: Desk) -> Iterator[list[tuple[str, Any]]]:
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        sent.append((statement, parameters))

    engines = [engine.sync_engine for engine in desk.resources.database.engines]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def test_the_switch_counts_at_once_and_says_who_turned_it(desk: Desk, clock: FakeClock) -> None:
    await desk.scene.select("viewer")
    assert await desk.post("/ops/sessions/auto-restore", enabled="false") == "/ops/sessions?done=restore-off"
    again = await desk.scene.client("viewer", again=True)
    assert (await (await again.get("/api/deals/current")).get_json())["deal"] is None
    switch = (await desk.get("/api/ops/sessions"))["auto_restore"]
    assert (switch["enabled"], switch["set_by"], switch["changed_by"]) == (False, "operator", "operator@test.example")
    status, _ = await desk.scene.call("operator", "PUT", "/api/ops/sessions/auto-restore", json={"enabled": True})
    assert status == 204
    clock.advance(timedelta(minutes=1))  # for so long a session that found nothing does not look again
    assert (await (await again.get("/api/deals/current")).get_json())["source"] == "restored"
    assert await desk.operators_events() == ["ops.auto_restore_switched"] * 2


@on_sqlite
async def test_the_backend_is_drawn_from_the_first_event_on(desk: Desk, clock: FakeClock) -> None:
    async def first_span() -> float:
        found = re.search(r'class="fill-(?:accent|amber)" x="([\d.]+)%"', await desk.page("/ops/sessions"))
        assert found
        return float(found[1])

    clock.advance(timedelta(hours=6))
    assert 60 < await first_span() < 80, "of a day; nothing was there before"
    assert "Not installed yet" in await desk.page("/ops/sessions")
    clock.advance(timedelta(hours=20))
    assert await first_span() == 0


@on_sqlite
async def test_where_the_environment_decides_the_page_says_so(environ: dict[str, str], clock: FakeClock) -> None:
    app = create_app(load_settings(environ | {"AUTO_RESTORE_DEAL": "false"}), clock=clock)
    async with app.test_app():
        desk = await Desk.set(app)
        await desk.post("/ops/sessions/auto-restore", enabled="true")
        switch = (await desk.get("/api/ops/sessions"))["auto_restore"]
        assert (switch["enabled"], switch["set_by"], switch["switched_on"]) == (False, "environment", True)
        assert "AUTO_RESTORE_DEAL=false" in await desk.page("/ops/sessions")


async def test_an_operator_ends_somebodys_logins_and_their_deal_comes_back(desk: Desk) -> None:
    scene = desk.scene
    await scene.select("viewer")
    second = await scene.client("viewer", again=True)
    viewer = scene.id_of("viewer")
    login_id = (await desk.get(f"/api/ops/users/explain?q={scene.users['viewer'].email}"))["browsers"][0]["login_id"]
    told = await desk.post(f"/ops/users/{viewer}/end-logins", login_id=str(login_id), next="/ops/users?q=x")
    assert told == "/ops/users?q=x&done=logins-ended"
    gone = [(await client.get("/api/me")).status_code for client in (scene.clients["viewer"], second)]
    assert sorted(gone) == [200, 401], "one of the two"
    status, body = await scene.call("operator", "POST", f"/api/ops/users/{viewer}/end-logins", json={})
    assert (status, len(body["login_ids"])) == (200, 1)
    assert [(await client.get("/api/me")).status_code for client in (scene.clients["viewer"], second)] == [401, 401]
    third = await scene.client("viewer", again=True)
    assert (await (await third.get("/api/deals/current")).get_json())["source"] == "restored"
    assert await desk.operators_events() == ["ops.logins_ended"] * 2
    ended = await scene.events("login.ended")
    assert [each.payload["reason"] for each in ended] == ["operator", "operator"]
    assert (await scene.call("operator", "POST", "/api/ops/users/999999/end-logins"))[0] == 404


@on_sqlite
async def test_people_are_found_by_a_part_of_their_address(desk: Desk) -> None:
    found = (await desk.get("/api/ops/users?q=TEST.example"))["people"]
    assert len(found) == 8
    assert "Which person?" in await desk.page("/ops/users?q=test.example")
    page = await desk.page(f"/ops/users?q={desk.scene.users['viewer'].email}")
    assert "The rule, step by step" in page
    assert desk.scene.deal.name not in page, "operators see no contents of deals"
    assert "No such person" in await desk.page("/ops/users?q=%25")
    assert (await desk.scene.call("operator", "GET", "/api/ops/users/explain?q=nobody@test.example"))[0] == 404


async def test_dead_letters_are_requeued_from_sql(desk: Desk) -> None:
    now = desk.resources.clock.now()
    letters = [
        {
            "consumer_group": group,
            "entry_id": f"{number}-0",
            "event_id": 1,
            "content": {},
            "error": "KeyError",
            "deliveries": 5,
            "dead_at": now,
        }
        for number, group in enumerate(("analytics", "notify", "notify"))
    ]
    async with desk.resources.database.write() as db:
        await db.execute(insert(DeadLetter), letters)
    view = await desk.get("/api/ops/streams")
    assert (view["dead_letters"], [each["dead_letters"] for each in view["groups"]]) == (3, [1, 2])
    assert len((await desk.get("/api/ops/streams?group=notify"))["letters"]) == 2
    first = view["letters"][-1]["id"]
    assert await desk.post(f"/ops/streams/dead-letters/{first}/requeue") == "/ops/streams?done=requeued"
    assert await desk.post(f"/ops/streams/dead-letters/{first}/requeue") == "/ops/streams?done=nothing-requeued"
    assert await desk.scene.call("operator", "POST", "/api/ops/streams/dead-letters/requeue", json={"group": "notify"}) == (
        202,
        {"count": 2},
    )
    again = await desk.get("/api/ops/streams")
    assert {each["requeued_by"] for each in again["letters"]} == {"operator@test.example"}
    kinds = await desk.operators_events()
    assert kinds.count("ops.dead_letters_requeued") == 3
    assert "waits for another try" in await desk.page("/ops/streams")


async def test_what_processes_count_is_added_up_by_minute(desk: Desk, clock: FakeClock) -> None:
    """Two web processes in one minute, one of them in the next; the sums are what both counted."""
    resources, scene = desk.resources, desk.scene
    first, second = Recorder(resources), Recorder(resources)
    await scene.select("viewer")
    await (await scene.client("viewer", again=True)).get("/api/deals/current")
    await first.record()
    await second.record()
    clock.advance(timedelta(minutes=1))
    await scene.select("viewer")
    await (await scene.client("stranger")).get("/api/me")
    clock.advance(timedelta(minutes=1))
    await scene.clients["stranger"].get("/api/me")  # looks for a deal again: the one attempt that is not part of signing in
    await first.record()
    await first.record()  # nothing new: nothing written
    async with resources.database.read() as db:
        rows = list(await db.scalars(select(Traffic).order_by(Traffic.minute)))
        buckets, whole = await load(db, WINDOWS["1h"], clock.now())
    assert [(row.selected, row.restored) for row in rows] == [(2, 2), (1, 0)], "both saw the same process's counters"
    assert [each["selected"] for each in buckets[-3:]] == [2, 0, 1]
    assert (whole["selected"], whole.restore_rate) == (3, 100.0)
    assert sum(whole[name] for name in BUCKET_COLUMNS) == 1
    view = await desk.get("/api/ops/sessions?window=1h")
    assert view["traffic"][-3]["restored"] == 4, "at signing in, and by itself"


def test_quantiles_lie_within_their_bucket() -> None:
    counts = Counts(dict.fromkeys(BUCKET_COLUMNS, 0))
    assert counts.restore_quantile_ms(0.99) is None
    counts.of |= {"restore_within_5ms": 98, "restore_within_50ms": 2}
    assert 2.5 < (counts.restore_quantile_ms(0.5) or 0) <= 5
    assert 25 < (counts.restore_quantile_ms(0.99) or 0) <= 50
    counts.of["restore_over_5s"] = 100
    assert counts.restore_quantile_ms(0.99) == 5000


@on_sqlite
async def test_the_stream_renews_what_changed_and_tells_of_redis(
    start_web: StartWeb, start_redis: StartRedis, database: Any, clock: FakeClock
) -> None:
    redis = start_redis()
    web = await start_web({"REDIS_URL": redis.url})
    operator = await make_user(database, is_operator=True)
    async with httpx.AsyncClient(base_url=web.url, trust_env=False) as client:
        await client.post("/api/auth/login", json={"email": operator.email, "password": PASSWORD})
        async with listening(client, "/api/ops/live/sessions") as sessions, listening(client, "/api/ops/live/jobs") as jobs:
            whole = (await sessions.until("regions")).data
            assert {"figures", "fleet", "switch"} <= whole.keys()
            assert "Redis is not in use" not in whole["banner"]
            await jobs.until("regions")
            async with database.write() as db:
                await db.execute(insert(JobRun), [_waiting_run(clock)])
            changed = (await jobs.until("regions")).data
            assert "schedule" not in changed, "only what looks different"
            assert "waiting" in changed["active"]
            redis.kill()
            while "Redis is not in use" not in (await sessions.until("regions")).data.get("banner", ""):
                pass
        assert (await client.get("/api/ops/live/nothing")).status_code == 404
        assert (await client.get("/api/ops/live/runs/999")).status_code == 404


def _waiting_run(clock: FakeClock) -> dict[str, Any]:
    now = clock.now()
    # Of a job this version does not know, so that no worker takes it.
    return {"name": "later", "trigger": "cli", "due_at": now, "queued_at": now, "payload": {}, "counts": {}, "earlier_attempts": []}


@on_sqlite
async def test_figures_tell_sessions_and_jobs_over_two_processes(start_web: StartWeb, database: Any) -> None:
    """Counters of both processes are added up, whichever answers; what SQL knows is there once."""
    web = await start_web({"WEB_CONCURRENCY": "2"})
    user = await make_user(database)

    async with httpx.AsyncClient(base_url=web.url, trust_env=False) as client:
        for _ in range(10):
            await client.get("/api/me", headers={"Connection": "close"})
        await client.post("/api/auth/login", json={"email": user.email, "password": PASSWORD})

        async def all_counted() -> bool:
            figures = (await client.get("/metrics", headers={"Connection": "close"})).text
            refused = sum(
                float(line.split()[-1])
                for line in figures.splitlines()
                if line.startswith('holdfast_http_requests_total{method="GET",status="4xx"}')
            )
            return refused == 10 and figures.count("\nholdfast_sessions{") == 2 and 'holdfast_sessions{state="live"} 1.0' in figures

        await until(all_counted, within=15)


@on_sqlite
@without_redis
async def test_a_session_that_still_says_operator_opens_no_page_of_theirs(app: Quart) -> None:
    desk = await Desk.set(app)
    await desk.page("/ops")
    operator = User.id == desk.scene.id_of("operator")
    async with desk.resources.database.write() as db:
        await db.execute(update(User).where(operator).values(is_operator=False))
    client = await desk.scene.client("operator")
    for path in ("/ops", "/ops/jobs", "/api/ops/jobs"):
        assert (await client.get(path)).status_code in (403, 404), path
    assert (await client.get("/ops")).status_code == 403
