"""What is kept of a person: handed to them, and erased, wherever it lies."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.commands import user
from app.auth.personal_data import SECRET, references_to_people
from app.core.config import load_settings
from app.factory import create_app
from app.models import Deal, Event, Login, Member, OneTimeLink, Session, User
from tests.factories import PASSWORD
from tests.integration.scene import Scene


def test_every_table_says_what_becomes_of_a_person_who_goes() -> None:
    """A reference without a rule would make erasure fail, one day, for somebody."""
    keys = [key for each in references_to_people() for key in each.table.c[each.column].foreign_keys]
    assert {str(key.parent): key.ondelete for key in keys if key.ondelete not in ("CASCADE", "SET NULL")} == {}


async def test_person_takes_their_data_along(scene: Scene) -> None:
    await scene.select("viewer")
    await scene.call("admin", "POST", "/api/admin/invitations", json={"email": "third@test.example"})
    response = await (await scene.client("viewer")).get("/settings/export")
    assert "attachment" in response.headers["Content-Disposition"]
    text = await response.get_data(as_text=True)
    data = json.loads(text)
    assert (data["user"]["email"], data["organisation"]) == (scene.users["viewer"].email, scene.organisation.name)
    assert [grant["deal_id"] for grant in data["members"]] == [scene.deal.id]
    assert len(data["logins"]) == len(data["sessions"]) == 1
    assert "deal.selected" in {event["kind"] for event in data["events"]}
    assert {event["user_id"] for event in data["events"]} | {event["actor_id"] for event in data["events"]} <= {scene.id_of("viewer"), None}
    async with scene.resources.database.read() as db:
        secrets = [login.token_hash for login in await db.scalars(select(Login))]
    assert not any(secret in text for secret in [*secrets, *(f'"{name}"' for name in SECRET)])
    admins = json.loads(await (await (await scene.client("admin")).get("/settings/export")).get_data())
    assert "third@test.example" not in json.dumps(admins), "not the data of others, who are but named beside them"
    assert len(admins["one_time_links.created_by_id"]) == 1
    assert (await scene.app.test_client().get("/settings/export")).status_code == 302


async def test_taking_it_along_may_take_longer_than_a_request(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    app, execute = create_app(load_settings(environ | {"DATABASE_TIMEOUT_SECONDS": "0.5"})), AsyncSession.execute

    async def slow(self: AsyncSession, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.06)
        return await execute(self, *arguments, **options)

    async with app.test_app():
        scene = await Scene.set(app)
        client = await scene.client("viewer")
        monkeypatch.setattr(AsyncSession, "execute", slow)
        began = time.monotonic()
        told = json.loads(await (await client.get("/settings/export")).get_data())
        assert time.monotonic() - began > 0.5
        assert told["user"]["id"] == scene.id_of("viewer")


async def test_erased_person_leaves_a_number_and_their_deals(scene: Scene, environ: dict[str, str], tmp_path: Path) -> None:
    owner = scene.users["owner"]
    await scene.select("owner")
    browser = await scene.client("owner")
    cli = CliRunner(env=environ)
    output = tmp_path / "owner.json"

    async def call(*arguments: str) -> str:
        done = await asyncio.to_thread(cli.invoke, user, [*arguments])
        assert done.exit_code == 0, done.output
        return done.output

    await call("export", owner.email, "-o", str(output))
    assert json.loads(output.read_text())["user"]["id"] == owner.id
    assert str(owner.id) in await call("erase", owner.email, "--yes")
    assert (await browser.get("/api/me")).status_code == 401
    assert (await scene.app.test_client().post("/api/auth/login", json={"email": owner.email, "password": PASSWORD})).status_code == 401
    async with scene.resources.database.read() as db:
        assert await db.get(User, owner.id) is None
        for table in (Login, Session, Member):
            assert await db.scalar(select(table.id).where(table.user_id == owner.id)) is None
        deal = await db.get_one(Deal, scene.deal.id)
        events = (await db.scalars(select(Event).where((Event.user_id == owner.id) | (Event.actor_id == owner.id)))).all()
        assert await db.scalar(select(OneTimeLink.id).where(OneTimeLink.user_id == owner.id)) is None
    assert deal.owner_id is None
    assert {"deal.selected", "login.ended", "user.erased"} <= {event.kind for event in events}
    told = json.dumps([event.payload for event in events])
    assert owner.email not in told
    assert owner.name not in told
    status, body = await scene.call("admin", "GET", "~")
    assert (status, body["deal"]["owner"], body["deal"]["can_manage"]) == (200, None, True), "its administrators go on"
    missing = await _fails(cli, "erase", owner.email, "--yes")
    assert "There is no user" in missing


async def _fails(cli: CliRunner, *arguments: str) -> str:
    done = await asyncio.to_thread(cli.invoke, user, [*arguments])
    assert done.exit_code == 1
    return done.output
