"""What a finding, an item and a deal said before: kept with every change, shown to who sees the deal, brought back as a new version."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import delete, func, insert, select

from app.auth.personal_data import erase_person, export_person
from app.history.store import MAX_KEPT, delete_old_revisions, revision_of
from app.imports.commands import import_deals
from app.models import Deal, Revision
from tests.counting import Counted, counting
from tests.factories import make_work
from tests.integration.scene import Scene
from tests.integration.test_work_pages import get, hidden, send

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    await make_work(scene.resources.database, scene.deal)
    return scene


async def steps(scene: Scene, path: str, who: str = "viewer") -> list[tuple[int, str, str | None, dict[str, Any]]]:
    """Version, verb, by whom, and what was replaced by what."""
    status, said = await scene.call(who, "GET", f"{path}/history")
    assert status == 200
    return [
        (
            each["version"],
            each["verb"],
            each["by"] and each["by"]["name"],
            {one["field"]: (one["before"], one["after"]) for one in each["changes"]},
        )
        for each in said["steps"]
    ]


async def test_every_way_to_change_something_keeps_what_it_replaced(scene: Scene, environ: dict[str, str], tmp_path: Path) -> None:
    lead, editor = (scene.users[who].name for who in ("owner", "editor"))
    new = {"title": "Leak", "text": "One", "owner_id": scene.id_of("viewer")}
    found = (await scene.call("owner", "POST", "~/findings", json=new))[1]["finding"]
    path = f"~/findings/{found['id']}"
    await scene.call("editor", "PATCH", path, json={"text": "Two", "severity": "high"})
    assert (await send(scene, "owner", "findings/bulk", item=f"{found['id']}:2", status="resolved", severity="keep", owner_id=""))[0] == 303
    assert await steps(scene, path) == [
        (3, "updated", lead, {"owner_id": (scene.id_of("viewer"), None), "status": ("open", "resolved")}),
        (2, "updated", editor, {"severity": ("medium", "high"), "text": ("One", "Two")}),
        (1, "created", lead, {}),
    ]
    await scene.call("editor", "DELETE", path)
    assert (await scene.call("owner", "GET", f"{path}/history"))[0] == 404, "what is deleted has no history until it is back"
    await scene.call("editor", "POST", f"{path}/restore", json={})
    assert [each[:3] for each in await steps(scene, path)][:2] == [(5, "undeleted", editor), (4, "deleted", editor)]

    await scene.call("owner", "PATCH", "~/checklist/1", json={"due_on": "2030-01-31"})
    assert (await send(scene, "editor", "checklist/1/tick", version="2", done="1"))[0] == 303
    ticked, dated = await steps(scene, "~/checklist/1")
    assert (ticked, dated[3]) == ((3, "done", editor, {"done": (False, True)}), {"due_on": (None, "2030-01-31")})
    assert (await scene.call("owner", "POST", "~/checklist/1/move", json={"after": None, "section": "Legal"}))[0] == 200
    assert (await steps(scene, "~/checklist/1"))[0] == (4, "updated", lead, {"section": ("Tax", "Legal")})
    await send(scene, "owner", "checklist/templates", template="tax")
    assert await steps(scene, "~/checklist/2") == [(1, "created", lead, {})]
    await send(scene, "owner", "checklist/untouched", first="2", last="16")
    async with scene.resources.database.read() as db:
        removed = select(func.count()).where(Revision.kind == "item", Revision.verb == "deleted")
        assert await db.scalar(removed) == 15

    drawn = hidden(await get(scene, "editor", "edit"), f"/deals/{scene.deal.id}/edit")
    typed = {name.removeprefix("was-"): value for name, value in drawn.items() if name.startswith("was-")}
    assert (await send(scene, "editor", "edit", **drawn | typed | {"announced_on": "2014-09-15", "external_ref": "R1"}))[0] == 303
    assert (await steps(scene, "~"))[0] == (
        2,
        "updated",
        editor,
        {"announced_on": (None, "2014-09-15"), "announced_year": (None, 2014), "external_ref": (None, "R1")},
    )
    file = tmp_path / "deals.csv"
    file.write_text("Ref,Target,City\nR1,Mojang,Stockholm\nR2,Other,\n")
    cli = CliRunner(env=environ)
    await asyncio.to_thread(cli.invoke, import_deals, [str(file), "--organisation", scene.organisation.name, "--skip-bad"])
    assert (await steps(scene, "~"))[0][1:] == ("imported", None, {"city": ("", "Stockholm")})


@on_sqlite
async def test_what_was_is_brought_back_as_a_new_version_and_that_is_undone(scene: Scene) -> None:
    here, action = "findings/1/history", f"/deals/{scene.deal.id}/findings/1/history"
    before = (await scene.call("owner", "GET", "~/findings/1"))[1]["finding"]
    for text in ("One line", "One line\nand <b>another</b>"):
        await scene.call("owner", "PATCH", "~/findings/1", json={"text": text, "owner_id": scene.id_of("viewer")})
    await scene.call("editor", "PATCH", "~/findings/1", json={"title": "Renamed", "owner_id": None})
    page = await get(scene, "editor", here)
    for words in (scene.users["owner"].name, "Renamed", "&lt;b&gt;", "This is how it is now", "Before that", scene.users["viewer"].name):
        assert words in page, words
    assert "Bring this back" not in await get(scene, "viewer", here)
    assert (await send(scene, "viewer", here, version="4", to="2"))[0] == 403
    assert (await send(scene, "stranger", here, version="4", to="2"))[0] == 404
    # Whose owner no longer sees the deal keeps the one it has.
    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}"))[0] == 204
    assert (await send(scene, "editor", here, version="3", to="2"))[1] == f"{here}?done=history_moved"
    status, leads, _ = await send(scene, "editor", here, **hidden(page, action) | {"to": "2"})
    assert (status, leads) == (303, "findings/1?done=finding_brought_back&owner=kept&undo=1&to=4&version=5")
    now = (await scene.call("owner", "GET", "~/findings/1"))[1]["finding"]
    assert (now["title"], now["text"], now["owner"], now["version"]) == (before["title"], "One line", None, 5)
    assert [each[0] for each in await steps(scene, "~/findings/1", "owner")] == [5, 4, 3, 2], "nothing is taken away"
    page = await get(scene, "editor", leads)
    assert "no longer sees this deal" in page
    assert (await send(scene, "editor", here, **hidden(page, action)))[0] == 303
    now = (await scene.call("owner", "GET", "~/findings/1"))[1]["finding"]
    assert (now["title"], now["text"], now["version"]) == ("Renamed", "One line\nand <b>another</b>", 6)
    await send(scene, "editor", here, version="6", to="1")
    assert (await scene.call("owner", "GET", "~/findings/1"))[1]["finding"]["text"] == before["text"]
    # A deal's facts, with the year that goes with the day, and an item with its day.
    await scene.call("owner", "PATCH", "~", json={"announced_on": "2014-09-15", "name": "Minecraft"})
    assert (await send(scene, "editor", "history", version="2", to="1"))[:2] == (
        303,
        f"overview?done=deal_brought_back&undo={scene.deal.id}&to=2&version=3",
    )
    deal = (await scene.call("owner", "GET", "~"))[1]["deal"]
    assert (deal["name"], deal["announced_on"], deal["announced_year"]) == (scene.deal.name, None, None)
    await scene.call("owner", "PATCH", "~/checklist/1", json={"due_on": "2030-01-31", "done": True})
    await scene.call("owner", "PATCH", "~/checklist/1", json={"due_on": None, "done": False})
    assert (await send(scene, "editor", "checklist/1/history", version="3", to="2"))[0] == 303
    item = (await scene.call("owner", "GET", "~/checklist/1"))[1]["item"]
    assert (item["due_on"], item["done"]) == ("2030-01-31", True)


async def test_it_ends_with_the_deal_forgets_the_name_of_who_is_erased_and_does_not_grow_for_ever(scene: Scene) -> None:
    database = scene.resources.database
    await scene.call("editor", "PATCH", "~/findings/1", json={"text": "Two"})
    told = "".join([piece async for piece in export_person(scene.resources, scene.id_of("editor"))])
    assert '"revisions.by_id"' in told
    assert "Two" not in told, "what a deal says is the deal's"
    with counting(database, counted := Counted()):
        await scene.call("owner", "PATCH", "~/findings/1", json={"text": "Three"})
    assert sum("INSERT INTO revisions" in each for each in counted.statements) == 1
    await erase_person(scene.resources, scene.users["editor"].email)
    assert [(by, changes["text"]) for _, _, by, changes in await steps(scene, "~/findings/1")] == [
        (scene.users["owner"].name, ("Two", "Three")),
        (None, ("", "Two")),
    ]
    assert "Somebody changed it" in " ".join((await get(scene, "viewer", "findings/1/history")).split())
    now, key = scene.resources.clock.now(), ("finding", scene.deal.id, 1)
    async with database.write() as db:
        await db.execute(delete(Revision))
        many = [revision_of(*key, version, "updated", None, now, {"text": str(version)}) for version in range(1, MAX_KEPT + 4)]  # type: ignore[arg-type]
        await db.execute(insert(Revision), many)
    for path in ("/api/deals/{}/findings/1/history?older=3", "/deals/{}/findings/1/history?older=3"):
        answer = await (await scene.client("viewer")).get(path.format(scene.deal.id))
        assert answer.status_code == 200, path
    assert (await delete_old_revisions(database), await delete_old_revisions(database)) == (3, 0)
    async with database.write() as db:
        assert await db.scalar(select(func.min(Revision.version))) == 4
        await db.execute(delete(Deal))
        assert await db.scalar(select(func.count()).select_from(Revision)) == 0
