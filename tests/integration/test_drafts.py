"""What is typed and not saved: its writer's alone, never over another text, never more than is allowed, gone once it is saved."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import delete, insert, select, update

from app.drafts.retention import delete_old_drafts
from app.drafts.schemas import MAX_DRAFTS, MAX_TEXT_BYTES, parse_name, parse_saved
from app.drafts.store import find_draft
from app.models import Deal, Draft, Event, Finding, Member, Outbox
from tests.factories import make_work
from tests.fakes import FakeClock
from tests.integration.scene import Scene

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NEW = "~/drafts/finding-new.tab1"


def text(title: str = "A secret", *, version: int = 1, follows: int = 0, writer: str = "tab1", **more: Any) -> dict[str, Any]:
    return {"json": {"fields": {"title": title}, "version": version, "follows": follows, "writer": writer} | more}


async def titles(scene: Scene, who: str = "editor") -> list[str]:
    return [each["first_words"] for each in (await scene.call(who, "GET", "/api/drafts"))[1]["drafts"]]


async def read(scene: Scene, name: str = "finding-new.tab1") -> dict[str, Any]:
    """One of the editor's, with its text."""
    found = (await scene.call("editor", "GET", "/api/drafts"))[1]["drafts"]
    (summary,) = [each for each in found if each["name"] == name]
    draft: dict[str, Any] = (await scene.call("editor", "GET", f"/api/drafts/{summary['id']}"))[1]["draft"]
    return draft


async def test_text_is_kept_in_its_order_and_never_over_another(scene: Scene) -> None:
    assert await scene.call("editor", "PUT", NEW, **text()) == (200, {"version": 1})
    assert await scene.call("editor", "PUT", NEW, **text("More", version=3, follows=1)) == (200, {"version": 3})
    # What the same tab sent before and comes late is answered with what is kept.
    assert await scene.call("editor", "PUT", NEW, **text("Mor", version=2, follows=1)) == (200, {"version": 3})
    assert await titles(scene) == ["More"]
    # A phone that goes on from it; the first tab has not seen that.
    assert (await scene.call("editor", "PUT", NEW, **text("On the phone", version=4, follows=3, writer="phone")))[0] == 200
    status, problem = await scene.call("editor", "PUT", NEW, **text("At the desk", version=4, follows=3))
    assert (status, problem["code"], problem["current"]["fields"]) == (409, "draft_moved", {"title": "On the phone"})
    assert (await scene.call("editor", "PUT", NEW, **text("Both", version=5, follows=4)))[0] == 200
    assert (await read(scene))["fields"] == {"title": "Both"}
    # Discarded is discarded: what was on its way does not bring it back, what is begun anew does.
    assert (await scene.call("editor", "DELETE", f"{NEW}?writer=phone&version=4"))[0] == 204
    assert await titles(scene) == ["Both"], "it is neither that tab's any more nor at that version"
    assert (await scene.call("editor", "DELETE", NEW))[0] == 204
    assert (await scene.call("editor", "PUT", NEW, **text("Late", version=6, follows=5)))[1]["code"] == "draft_gone"
    assert await titles(scene) == []
    assert (await scene.call("editor", "PUT", NEW, **text("Anew")))[0] == 200
    assert await titles(scene) == ["Anew"]


async def test_draft_is_its_writers_alone_and_stays_readable_for_a_month(scene: Scene, clock: FakeClock) -> None:
    await make_work(scene.resources.database, scene.deal)
    drawn = {"title": "What it said", "text": "Known to the deal alone"}
    sent = text("Mine", drawn=drawn, item_version=1)
    for who, status in (("stranger", 404), ("outsider", 404), ("foreign_admin", 404), ("viewer", 200), ("editor", 200)):
        assert (await scene.call(who, "PUT", "~/drafts/finding-1", **sent))[0] == status, who
    mine = await read(scene, "finding-1")
    assert (mine["deal"], mine["item_number"], mine["can_continue"], mine["drawn"]) == ("Mojang", 1, True, drawn)
    assert [each["can_continue"] for each in (await scene.call("viewer", "GET", "/api/drafts"))[1]["drafts"]] == [False]
    for who in ("owner", "admin", "viewer", "stranger", "foreign_admin"):
        assert (await scene.call(who, "GET", f"/api/drafts/{mine['id']}"))[0] == 404, who
    assert await titles(scene, "owner") == []
    assert (await scene.call("editor", "DELETE", "~/findings/1"))[0] == 204
    assert not (await read(scene, "finding-1"))["can_continue"], "what it was typed for is gone"
    assert (await scene.call("editor", "POST", "~/findings/1/restore"))[0] == 200

    # Access withdrawn: what was typed, and nothing else of the deal; nothing more is taken.
    async with scene.resources.database.write() as db:
        await db.execute(delete(Member).where(Member.user_id == scene.id_of("editor")))
    status, body = await scene.call("editor", "GET", f"/api/drafts/{mine['id']}")
    assert (status, body["draft"]["fields"]) == (200, {"title": "Mine"})
    told = json.dumps(body)
    assert not [each for each in ("Mojang", "What it said", "Known to the deal alone") if each in told]
    assert (body["draft"]["can_continue"], body["draft"]["item_number"]) == (False, None)
    exported = await (await (await scene.client("editor")).get("/settings/export")).get_data(as_text=True)
    assert "Mine" in exported
    assert "Known to the deal alone" not in exported
    assert (await scene.call("editor", "PUT", "~/drafts/finding-1", **text("More", version=2, follows=1)))[0] == 404
    for days, left in ((0, 1), (29, 1), (2, 0)):
        clock.advance(timedelta(days=days))
        async with scene.resources.database.read() as db:
            shown = await find_draft(db, scene.id_of("editor"), id=mine["id"], now=clock.now())
        assert bool(shown) == bool(left), "also where nothing has swept yet"
        await delete_old_drafts(scene.resources.database, clock)
        async with scene.resources.database.read() as db:
            kept = (await db.scalars(select(Draft).where(Draft.user_id == scene.id_of("editor")))).all()
        assert len(kept) == left, days


@on_sqlite
async def test_draft_goes_a_day_after_it_is_discarded_and_a_year_after_it_was_touched(scene: Scene, clock: FakeClock) -> None:
    for name in ("~/drafts/finding-new.a", "~/drafts/finding-new.b"):
        assert (await scene.call("editor", "PUT", name, **text("Mine")))[0] == 200
    assert (await scene.call("editor", "DELETE", "~/drafts/finding-new.a"))[0] == 204
    for passed, deleted in ((timedelta(hours=23), 0), (timedelta(hours=1), 1), (timedelta(days=363), 0), (timedelta(days=1), 1)):
        clock.advance(passed)
        assert await delete_old_drafts(scene.resources.database, clock) == deleted, passed


@on_sqlite
async def test_nothing_typed_is_logged_recorded_or_sent(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    await scene.call("editor", "PUT", NEW, **text("Utterly private"))
    await scene.call("editor", "PUT", NEW, **text("Utterly private too", version=2, writer="other"))
    async with scene.resources.database.read() as db:
        told = [each.payload for each in await db.scalars(select(Event))]
        sent = (await db.execute(select(Outbox.__table__))).all()
    output = capsys.readouterr()
    assert "Utterly private" not in str(told) + str(sent) + output.out + output.err


@on_sqlite
async def test_what_is_too_large_or_too_many_is_said(scene: Scene) -> None:
    fits = text("x" * (MAX_TEXT_BYTES - len('[{"title":""},{}]')))
    assert (await scene.call("editor", "PUT", NEW, **fits))[0] == 200
    fits["json"]["fields"]["title"] += "x"
    assert (await scene.call("editor", "PUT", NEW, **fits))[0] == 413
    async with scene.resources.database.write() as db:
        now, common = scene.resources.clock.now(), {"user_id": scene.id_of("editor"), "deal_id": scene.deal.id, "form": "finding"}
        rows = [
            common | {"tab": f"t{n}", "fields": {}, "drawn": {}, "version": 1, "writer": "t", "created_at": now, "updated_at": now}
            for n in range(MAX_DRAFTS - 1)
        ]
        await db.execute(insert(Draft), rows)
    status, problem = await scene.call("editor", "PUT", "~/drafts/item-new.tab2", **text())
    assert (status, problem["code"]) == (409, "drafts_full")
    assert (await scene.call("editor", "PUT", NEW, **text("Goes on", version=2, follows=1)))[0] == 200
    assert (await scene.call("viewer", "PUT", NEW, **text()))[0] == 200, "everybody has their own number"


@on_sqlite
async def test_saving_ends_the_draft_it_was_written_from_and_no_other(scene: Scene) -> None:
    finding, item = await make_work(scene.resources.database, scene.deal)
    client = await scene.client("editor")

    async def save(page: str, draft: str, **fields: Any) -> int:
        body = urlencode({"deal": scene.deal.id, "draft": draft} | fields)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return (await client.post(f"/deals/{scene.deal.id}/{page}", data=body, headers=headers)).status_code

    await scene.call("editor", "PUT", NEW, **text())
    await scene.call("editor", "PUT", "~/drafts/finding-new.tab2", **text("Of another tab", writer="tab2"))
    common = {"severity": "low", "status": "open", "owner_id": "", "text": ""}
    assert await save("findings", "finding-new.tab1:1:tab1", title="", **common) == 400
    assert await titles(scene) == ["Of another tab", "A secret"], "it was refused, so it stays"
    assert await save("findings", "finding-new.tab1:1:tab1", title="A secret", **common) == 303
    assert await titles(scene) == ["Of another tab"]

    async def edit(path: str, draft: str, version: str, facts: dict[str, str]) -> int:
        return await save(path, draft, version=version, **facts, **{f"was-{each}": "" for each in facts})

    forms = {
        f"findings/{finding.id}": (f"finding-{finding.id}", {"title": "Changed", "severity": "low", "status": "open"}),
        f"checklist/{item.id}": (f"item-{item.id}", {"title": "Changed", "section": "Any"}),
        "edit": ("deal", {"name": "Changed", "stage": "closed"}),
    }
    for path, (name, facts) in forms.items():
        # Another device has gone on with it since: that text was not saved, and stays.
        assert (await scene.call("editor", "PUT", f"~/drafts/{name}", **text("Desk")))[0] == 200
        assert (await scene.call("editor", "PUT", f"~/drafts/{name}", **text("Phone", version=2, follows=1, writer="phone")))[0] == 200
        assert await edit(path, f"{name}:1:tab1", "1", facts) == 303, path
        assert "Phone" in await titles(scene), path
        again = {each: f"{value}" if each != "title" and each != "name" else "Once more" for each, value in facts.items()}
        assert await edit(path, f"{name}:2:tab1", "2", again) == 303, path
        assert await titles(scene) == ["Of another tab"], path
    async with scene.resources.database.read() as db:
        assert await db.scalar(select(Finding.title).where(Finding.id == finding.id)) == "Once more"


@on_sqlite
async def test_sharing_a_deal_ends_the_draft_it_was_written_from(scene: Scene) -> None:
    client = await scene.client("owner")
    stranger, viewer = scene.users["stranger"], scene.users["viewer"]
    forms = {
        "team": ("member-new.tab1", {"email": stranger.email, "role": "viewer"}),
        f"team/{viewer.id}": (f"member-{viewer.id}", {"role": "editor", "was-role": "viewer", "was-expires_on": ""}),
    }
    for path, (name, fields) in forms.items():
        assert (await scene.call("owner", "PUT", f"~/drafts/{name}", **text("Shared")))[0] == 200
        body = urlencode({"deal": scene.deal.id, "draft": f"{name}:1:tab1", "expires_on": ""} | fields)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await client.post(f"/deals/{scene.deal.id}/{path}", data=body, headers=headers)).status_code == 303, path
        assert await titles(scene, "owner") == [], path


def test_names_of_drafts_are_read_as_they_are_written() -> None:
    for name in ("deal", "finding-7", "item-new.a1", "member-new.x", f"finding-{2**63 - 1}"):
        assert str(parse_name(name)) == name
    for wrong in ("", "1", "deal-1", "finding", "finding-0", "finding-07", "finding-new", "item-new.A", f"item-{2**63}", "finding-٣"):
        assert parse_name(wrong) is None, wrong
    assert parse_saved("finding-7:3:tab") is not None
    for wrong in ("", "finding-7", "finding-7:x:tab", "nothing:1:tab", "finding-7:1:"):
        assert parse_saved(wrong) is None, wrong


@on_sqlite
async def test_every_answer_to_a_form_holds_what_was_typed(scene: Scene, clock: FakeClock) -> None:
    """Without a script, in a field to copy from; and of a deal that is lost nothing but that."""
    finding, _ = await make_work(scene.resources.database, scene.deal)
    drawn = {"was-title": "Known to the deal alone", "was-text": "Old", "title": "Known to the deal alone"}
    typed = {"text": "Line one\r\n</textarea><b>two", "version": "1", "severity": "low", "status": "open", **drawn}
    shown = "Line one\n&lt;/textarea&gt;&lt;b&gt;two</textarea>"

    async def answer(who: str, page: str, **more: str) -> tuple[int, str]:
        body = urlencode({"deal": scene.deal.id, "by": scene.id_of(who)} | typed | more)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"Sec-Fetch-Site": "cross-site"} if page == "edit" else {})
        response = await (await scene.client(who)).post(f"/deals/{scene.deal.id}/{page}", data=body, headers=headers)
        return response.status_code, await response.get_data(as_text=True)

    edit = f"findings/{finding.id}"
    assert (await answer("viewer", edit))[0] == 403
    assert shown in (await answer("viewer", edit))[1]
    status, page = await answer("editor", "checklist/4711/tick")
    assert (status, shown in page) == (404, True), "what it was about is gone"
    status, page = await answer("editor", "edit")
    assert (status, shown in page) == (403, False), "another site's words are not the person's"
    # The longest text, in a script that takes twelve bytes a character, is refused by no limit on bodies.
    long = "\U0001f600" * 20_000
    assert (await answer("editor", edit, **{"text": long, "was-text": long[:-1]}))[0] in (303, 409)
    status, page = await answer("editor", "findings", text="x" * 140_000)
    assert (status, "x" * 140_000 in page) == (400, True)
    assert (await answer("editor", "findings", text="x" * 600_000))[0] == 413

    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('editor')}"))[0] == 204
    status, page = await answer("editor", edit)
    assert (status, shown in page) == (404, True), "access withdrawn"
    assert "Known to the deal alone" not in page
    assert "Mojang" not in page
    async with scene.resources.database.write() as db:
        await db.execute(update(Deal).values(archived_at=clock.now()))
    status, page = await answer("owner", edit)
    assert (status, shown in page, "Send it again" in page) == (409, True, True)
