"""`holdfast explain` and the decision it tells: what it says would happen is what then happens."""

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner
from quart import Quart
from sqlalchemy import update

from app.core.statements import upsert
from app.models import Deal, Member, Organisation, Switch, User
from app.ops.console.schemas import Explanation
from app.ops.explain.command import explain as explain_command
from app.ops.explain.explain import explain
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.servers.blocking import blocking


async def told(scene: Scene, who: str = "viewer") -> Explanation:
    resources = scene.resources
    async with resources.database.read() as db:
        found = await explain(db, resources.settings, scene.users[who].email, now=resources.clock.now())
    assert found is not None
    return found


async def comes_true(scene: Scene, who: str = "viewer") -> tuple[str, str]:
    """(outcome, reason) as told for a new sign-in, after seeing that a new browser really is given that."""
    said = (await told(scene, who)).next_sign_in
    client = await scene.client(who, again=True)
    current = await (await client.get("/api/deals/current")).get_json()
    shown = current["deal"]["id"] if current["deal"] else None
    opens = said.outcome in ("restored", "only_deal")
    assert shown == (said.deal_id if opens else None), (said, current)
    assert current["source"] == (said.outcome if opens else "none")
    refused = said.outcome.startswith("refused")
    assert (current["notice"] or {}).get("code") == ("deal_unavailable" if refused else "restored" if said.outcome == "restored" else None)
    return said.outcome, said.reason


async def change(scene: Scene, *statements: object) -> None:
    async with scene.resources.database.write() as db:
        for statement in statements:
            await db.execute(statement)  # type: ignore[call-overload]
    await scene.resources.backend.refresh()


async def test_what_is_told_of_the_next_request_comes_true(app: Quart, clock: FakeClock) -> None:
    scene = await Scene.set(app)
    resources, viewer, deal = scene.resources, scene.id_of("viewer"), scene.deal.id
    pointer = update(User).where(User.id == viewer)

    assert await comes_true(scene, "stranger") == ("none", "sees_none")
    assert await comes_true(scene) == ("only_deal", "only_deal")
    await scene.select("viewer")
    found = await told(scene)
    assert (found.outcome, found.reason) == ("keeps", "selected")
    assert await comes_true(scene) == ("restored", "restored")

    await change(scene, pointer.values(remember_last_deal=False))
    assert await comes_true(scene) == ("only_deal", "only_deal"), "not the remembered one, though it is the same"
    await change(scene, pointer.values(remember_last_deal=True))

    off = {"name": "auto_restore_deal", "enabled": False, "changed_at": clock.now(), "changed_by": "operator@test.example"}
    async with resources.database.write() as db:
        await db.execute(upsert(db, Switch, off, key=["name"]))
    await resources.backend.refresh()
    assert await comes_true(scene) == ("none", "switched_off_by_operator")
    assert "operator@test.example" in (await told(scene)).next_sign_in.words
    await change(scene, update(Switch).values(enabled=True))
    await change(scene, update(Organisation).where(Organisation.id == scene.organisation.id).values(auto_restore_deal=False))
    assert await comes_true(scene) == ("none", "switched_off_by_organisation")
    await change(scene, update(Organisation).values(auto_restore_deal=True))

    await change(scene, update(Deal).where(Deal.id == deal).values(deleted_at=clock.now()))
    assert await comes_true(scene) == ("refused_deleted", "refused_deleted")
    assert await comes_true(scene) == ("refused_deleted", "refused_deleted"), "the pointer stays"
    await change(scene, update(Deal).where(Deal.id == deal).values(deleted_at=None))
    assert await comes_true(scene) == ("restored", "restored")

    await change(scene, update(Member).where(Member.user_id == viewer).values(expires_at=clock.now() - timedelta(hours=1)))
    said = (await told(scene)).next_sign_in
    assert "the grant to deal" in said.words
    assert await comes_true(scene) == ("refused_revoked", "refused_revoked")
    assert await comes_true(scene) == ("none", "withdrawn"), "the pointer was cleared"
    await change(scene, update(Member).where(Member.user_id == viewer).values(expires_at=None))
    assert (await told(scene)).next_sign_in.outcome == "only_deal"

    await scene.select("viewer")
    assert (await scene.call("viewer", "DELETE", "/api/deals/current"))[0] == 204
    assert await comes_true(scene) == ("none", "cleared")
    await change(scene, pointer.values(disabled_at=clock.now()))
    assert (await told(scene)).next_sign_in.outcome == "cannot_sign_in"


async def test_a_withdrawn_access_is_named_with_who_when_and_the_fix(app: Quart) -> None:
    """The five-minute question: "I was in a deal this morning and now it is gone"."""
    scene = await Scene.set(app)
    await scene.select("viewer")
    await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}")
    found = await told(scene)
    assert (found.outcome, found.reason) == ("none", "withdrawn")
    assert f"access to deal {scene.deal.id} was withdrawn" in found.answer
    assert scene.users["owner"].email in found.answer
    assert "give access again" in found.fix
    assert [each.step for each in found.steps] == ["url", "session", "last_deal", "only_deal", "list"]
    changed = next(each for each in found.steps if each.step == "last_deal").last_change
    assert changed is not None
    assert changed.kind == "member.revoked"
    assert found.browsers[0].notice == "deal_unavailable"
    assert scene.deal.name not in found.model_dump_json(), "operators are told no contents"
    await scene.call("owner", "POST", "~/members", json={"user_id": scene.id_of("viewer"), "role": "viewer"})
    assert (await told(scene)).reason == "granted_again"


async def test_a_person_signed_in_twice_is_told_browser_by_browser(app: Quart, clock: FakeClock) -> None:
    scene = await Scene.set(app)
    await scene.client("viewer")
    clock.advance(timedelta(minutes=2))
    second = await scene.client("viewer", again=True)
    await second.post(f"{scene.path}/select")
    found = await told(scene)
    assert [each.next.outcome for each in found.browsers] == ["keeps", "keeps"]
    assert [each.source for each in found.browsers] == ["selected", "only_deal"]
    assert "2 browsers are signed in" in found.steps[1].found


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_command_needs_no_redis_and_knows_who_it_does_not_know(
    app: Quart, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await Scene.set(app)
    await scene.select("viewer")
    for name, value in (environ | {"REDIS_URL": "redis://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(explain_command, [*arguments])
        return done.exit_code, done.output

    status, output = blocking(run, scene.users["viewer"].email.upper())
    assert (status, f"stays on deal {scene.deal.id}" in output) == (0, True), output
    status, output = blocking(run, scene.users["viewer"].email, "--json")
    assert (status, json.loads(output)["outcome"]) == (0, "keeps")
    assert blocking(run, "nobody@test.example")[0] == 1
    assert blocking(run)[0] == 2
