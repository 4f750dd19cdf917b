"""Versions side by side: JSON that another one wrote has keys this one does not know, or lacks some; everything reads it all the same."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import JSON, delete, insert, select, update

from app.events.effects import EFFECTS, retry_requeued
from app.http.cursors import Cursors
from app.models import DeadLetter, Event, Import, JobRun, Session, User, UserNotice
from app.models.base import Base
from tests.factories import make_work
from tests.integration.scene import Scene
from worker.probe import Probe

NEW = {"from_another_version": {"nested": [1, {"x": None}]}}
STREAMS = ("/api/events", "/api/imports/<id:import_id>/progress", "/api/ops/live/")
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("admin")).values(is_operator=True))
    await scene.call("admin", "POST", "/api/deals", json={"name": "Another one"})
    await scene.select("admin")
    await make_work(scene.resources.database, scene.deal)
    await _fill(scene)
    listing = {"query": {"severity": "high"}, "anchor": {"row": 1, "next": [2], "out": 0.5}}
    place = {"page": "findings", "deal_id": scene.deal.id, "listing": listing}
    assert (await scene.call("admin", "PUT", "/api/place", json=place))[0] == 204
    draft = {"fields": {"name": "Minecraft"}, "drawn": {"name": "Mojang"}, "version": 1, "writer": "tab"}
    assert (await scene.call("admin", "PUT", "~/drafts/deal", json=draft))[0] == 200
    assert (await scene.call("admin", "PATCH", "~/findings/1", json={"text": "Changed"}))[0] == 200
    return scene


async def _fill(scene: Scene) -> None:
    """Something in every table with JSON that a page shows."""
    now, whom = scene.resources.clock.now(), scene.id_of("admin")
    failed = {"attempt": 1, "process_id": "p", "started_at": now.isoformat(), "ended_at": now.isoformat(), "error_class": "E", "error": "e"}
    layout = {"encoding": "utf-8", "headings": ["Name"], "fields": ["name"], "samples": [["Mojang"]]}
    common = {"organisation_id": scene.organisation.id, "user_id": whom, "filename": "a.csv", "created_at": now, "updated_at": now}
    async with scene.resources.database.write() as db:
        times = {"due_at": now, "queued_at": now, "started_at": now, "finished_at": now}
        run = {"name": "sweep_stale_deals", "trigger": "cli", "status": "failed", "error_class": "E", "error": "e", "payload": {"a": 1}}
        db.add(JobRun(**run, **times, counts={"deals": 1}, earlier_attempts=[failed]))
        db.add(Import(**common, size=5, state="draft", layout=layout, found={"rows": 1, "complete": True}, counts={"rows": 1}))
        letter = {"consumer_group": "analytics", "entry_id": "1-0", "event_id": 1, "content": {"id": "1"}, "error": "e", "deliveries": 3}
        db.add(DeadLetter(**letter, dead_at=now))
        notice = {"user_id": whom, "event_id": 1, "actor_id": scene.id_of("owner"), "deal_id": scene.deal.id, "created_at": now}
        db.add(UserNotice(**notice, sequence=1, kind="deal.shared", payload={"role": "viewer"}))
        db.add(UserNotice(**notice | {"event_id": 2}, sequence=2, kind="deal.of_another_version", payload={}))
        kinds = {"deal.restored": {"source": "restored", "ms": 1.5}, "deal.restore_refused": {"reason": "refused_revoked"}}
        kinds |= {"member.granted": {"role": "viewer"}, "deal.updated": {"fields": ["name"]}}
        kinds |= {"finding.created": {"number": 1, "finding_id": 1}}
        for kind, payload in kinds.items():
            where = {"organisation_id": scene.organisation.id, "deal_id": scene.deal.id, "user_id": whom, "actor_id": whom}
            db.add(Event(kind=kind, at=now, payload=payload, **where))
        db.add(Event(kind="backend.flipped", at=now, payload={"mode": "redis", "epoch": 7, "reason": "probe: well"}))


def widen(value: Any) -> Any:
    """With an unknown key in every object, however deep."""
    if isinstance(value, dict):
        return {name: widen(each) for name, each in value.items()} | NEW
    return [widen(each) for each in value] if isinstance(value, list) else value


async def widen_everything(scene: Scene) -> set[str]:
    """Every JSON column of every row. Events cannot be changed, so they get wider copies."""
    touched = set()
    async with scene.resources.database.write() as db:
        for table in Base.metadata.sorted_tables:
            columns = [column for column in table.columns if isinstance(column.type, JSON)]
            for row in (await db.execute(select(table))).mappings().all() if columns else ():
                wide = {column.name: widen(row[column.name]) for column in columns if row[column.name] is not None}
                touched |= {f"{table.name}.{name}" for name in wide}
                if table.name == "events":
                    await db.execute(insert(table).values({name: row[name] for name in row if name != "id"} | wide))
                else:
                    keys = [column == row[column.name] for column in table.primary_key]
                    await db.execute(update(table).where(*keys).values(wide))
    return touched


def routes(scene: Scene) -> Iterator[str]:
    known = {
        "draft_id": 1,
        "deal_id": scene.deal.id,
        "user_id": scene.id_of("viewer"),
        "run_id": 1,
        "item_id": 1,
        "import_id": 1,
        "page": "team",
    }
    for rule in scene.app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint != "static" and not rule.rule.startswith(STREAMS):
            path = rule.rule
            for name, value in known.items():
                path = re.sub(rf"<(?:id:)?{name}>", str(value), path)
            yield path + (f"?q={scene.users['admin'].email}" if path.endswith(("explain", "/users")) else "")


async def read_with_everything(scene: Scene) -> None:
    client = await scene.client("admin")
    for path in routes(scene):
        answer = await client.get(path)
        said = await answer.get_data()
        refused = path in ("/link", "/metrics", "/.well-known/security.txt")
        assert answer.status_code < 400 or refused, f"{path}: {answer.status_code} {said[-800:]!r}"


async def forget_redis(scene: Scene) -> None:
    assert scene.resources.redis
    async with scene.resources.redis.deadline() as commands:
        for key in await commands.keys(scene.resources.keys.name("s:*")):
            await commands.delete(key)


async def run_consumers(scene: Scene) -> None:
    resources = scene.resources
    async with resources.database.read() as db:
        events = list(await db.scalars(select(Event).order_by(Event.id)))
    for effect in EFFECTS.values():
        async with resources.database.write() as db:
            await db.execute(delete(UserNotice))
            await effect(db, events, resources.clock.now())
    await Probe(resources)._steady_for(resources.clock.now())


async def test_unknown_keys_in_whatever_is_stored_are_ignored(scene: Scene) -> None:
    await read_with_everything(scene)
    touched = await widen_everything(scene)
    expected = {"sessions.data", "events.payload", "imports.layout", "imports.found", "imports.counts", "user_notices.payload"}
    expected |= {"drafts.fields", "drafts.drawn", "places.listing", "revisions.before"}
    assert touched >= expected | {"job_runs.payload", "job_runs.counts", "job_runs.earlier_attempts", "dead_letters.content"}
    await forget_redis(scene)
    for _ in range(2):  # from SQL, then from the record that was made of it
        await read_with_everything(scene)
    assert (await scene.sessions("admin"))[0].data["user"]["from_another_version"]
    assert (await scene.current("admin"))["deal"]["name"] == "Mojang"
    for method, path in (("POST", "~/select"), ("DELETE", "/api/deals/current"), ("POST", "~/select"), ("PATCH", "/api/me")):
        status, _ = await scene.call("admin", method, path, **({"json": {"theme": "dark"}} if method == "PATCH" else {}))
        assert status < 300, path
    await scene.call("admin", "POST", "/api/ops/jobs/runs/1/retry", json={})
    await run_consumers(scene)


async def test_missing_keys_of_a_session_have_defaults(scene: Scene) -> None:
    await scene.call("admin", "POST", f"/api/deals/{scene.deal.id + 1}/select")  # so that there is a deal before this one
    await scene.select("admin")
    (session,) = await scene.sessions("admin")
    data = session.data | {"notice": {"code": "restored", "deal_id": scene.deal.id, "name": "Mojang", "last_seen": None}}
    required = {("user", "id"), ("user", "email"), ("user", "organisation_id")}
    nested = [(key, name) for key, value in data.items() if isinstance(value, dict) for name in value if (key, name) not in required]
    assert {"user", "deal", "notice", "previous_deal"} == {key for key, _ in nested}
    for key, name in [*nested, *((key, None) for key in data)]:
        less = {each: dict(value) if isinstance(value, dict) else value for each, value in data.items()}
        less.pop(key) if name is None else less[key].pop(name)
        async with scene.resources.database.write() as db:
            await db.execute(update(Session).where(Session.id == session.id).values(data=less))
        await forget_redis(scene)
        client = await scene.client("admin")
        for path in ("/deals", "/api/me", "/settings", "/api/deals/current", f"/deals/{scene.deal.id}/overview", "/login", "/ops"):
            expected = 403 if (key, name, path) == ("user", "is_operator", "/ops") else 303 if path == "/login" else 200
            assert (await client.get(path)).status_code == expected, (key, name, path)
        assert (await scene.current("admin"))["deal"]["name"] == "Mojang", "an incomplete card is looked up again, and no deal is lost"


async def test_missing_keys_elsewhere_have_defaults(scene: Scene) -> None:
    async with scene.resources.database.write() as db:
        for table in Base.metadata.sorted_tables:
            for column in (each for each in table.columns if isinstance(each.type, JSON)):
                kept = {"headings", "fields", "user", "deal"}
                for row in (await db.execute(select(table))).mappings().all():
                    less = narrow(row[column.name], kept)
                    if table.name == "events":
                        await db.execute(insert(table).values({name: row[name] for name in row if name != "id"} | {column.name: less}))
                    elif table.name != "sessions":
                        keys = [each == row[each.name] for each in table.primary_key]
                        await db.execute(update(table).where(*keys).values({column.name: less}))
    await read_with_everything(scene)
    await run_consumers(scene)


def narrow(value: Any, kept: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if name in kept}
    return [narrow(each, kept) for each in value] if isinstance(value, list) and value and isinstance(value[0], dict) else value


async def test_dead_letter_of_a_group_that_is_not_known_here_is_left_alone(scene: Scene) -> None:
    resources, now = scene.resources, scene.resources.clock.now()
    async with resources.database.write() as db:
        letter = {"consumer_group": "newer", "entry_id": "2-0", "event_id": 1, "content": {}, "error": "e", "deliveries": 3}
        db.add(DeadLetter(**letter, dead_at=now, requeued_at=now))
        await db.execute(update(DeadLetter).where(DeadLetter.consumer_group != "newer").values(requeued_at=now))
    assert await retry_requeued(resources.database, resources.clock) == 1
    async with resources.database.read() as db:
        untouched = await db.scalar(select(DeadLetter).where(DeadLetter.consumer_group == "newer"))
    assert untouched
    assert untouched.requeued_at is not None


async def test_tokens_of_another_version_may_say_more(scene: Scene) -> None:
    cursors = Cursors(scene.resources.settings, "a question")
    assert cursors.open(cursors.seal("a", 1, {"newer": True}), 2) == ("a", 1)
    client = await scene.client("admin")
    sessions: Any = scene.app.session_interface
    value = next(each.value for each in client.cookie_jar or () if each.name == "holdfast_session")
    bound_to, version = sessions._serializer.loads(value)
    wider = sessions._serializer.dumps([bound_to, version, {"newer": 1}])

    class Asked:
        cookies = {"holdfast_session": wider}

    async with scene.resources.database.read() as db:
        token_hashes = [row[0] for row in await db.execute(select(Base.metadata.tables["logins"].c.token_hash))]
    mine = next(each for each in token_hashes if each.startswith(bound_to))
    assert sessions._cookie_version(Asked(), mine) == version
