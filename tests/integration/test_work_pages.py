"""The pages inside a deal by their forms alone, as a browser without a script sends them."""

import csv
import io
import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from app.checklist.standard import TEMPLATES
from app.models import Deal, Finding, User
from tests.factories import PASSWORD, make_deal, make_member, make_work
from tests.fakes import FakeClock
from tests.integration.scene import Scene

# What a form says and keeps is the same on every database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# Where the pages offer to change what is in the deal.
CHANGES = re.compile(r'/deals/\d+/(edit|(findings|checklist|team)/([^"/]*/)?(edit|new|bulk|delete|tick|templates|transfer))"')
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    await make_work(scene.resources.database, scene.deal)
    return scene


async def get(scene: Scene, who: str, page: str) -> str:
    response = await (await scene.client(who)).get(f"/deals/{scene.deal.id}/{page}")
    assert response.status_code == 200, page
    return str(await response.get_data(as_text=True))


async def send(scene: Scene, who: str, page: str, **fields: Any) -> tuple[int, str, str]:
    """Status, where it leads, and the page; the form is one of the scene's deal unless it says otherwise."""
    form = {"deal": str(scene.deal.id)} | fields
    path = page if page.startswith("/") else f"/deals/{scene.deal.id}/{page}"
    body, headers = urlencode(form, doseq=True), {"Content-Type": "application/x-www-form-urlencoded"}
    response = await (await scene.client(who)).post(path, data=body, headers=headers)
    text = str(await response.get_data(as_text=True))
    return response.status_code, response.headers.get("Location", "").removeprefix(f"/deals/{scene.deal.id}/"), text


def hidden(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that is sent to `action`."""
    form = page[page.index(f'action="{action}"') :].split("</form>")[0]
    return {unescape(name): unescape(value) for name, value in HIDDEN.findall(form)}


async def finding(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = (await scene.call("owner", "GET", "~/findings/1"))[1]["finding"]
    return found


@on_sqlite
async def test_what_one_side_changed_merges_and_what_both_changed_waits_for_a_choice(scene: Scene) -> None:
    action, lead = f"/deals/{scene.deal.id}/findings/1", scene.users["owner"].name
    text = "First line\nSecond line\nThird line"
    assert (await scene.call("owner", "PATCH", "~/findings/1", json={"title": "Leak", "text": text}))[0] == 200
    drawn = hidden(await get(scene, "editor", "findings/1/edit"), action)
    theirs = {"title": "Their leak", "status": "accepted", "text": text.replace("First", "Their first").replace("Third", "Their third")}
    assert (await scene.call("owner", "PATCH", "~/findings/1", json=theirs))[0] == 200
    mine = {"title": "Leak", "text": "First line\r\nMy second line\r\nMy third line", "severity": "high", "status": "open", "owner_id": ""}
    mine["severity"] = drawn["was-severity"]
    status, _, page = await send(scene, "editor", "findings/1", **drawn | mine | {"look": "1"})
    assert (status, "you both changed it" in page) == (200, True), "who only looks saves nothing"
    status, _, page = await send(scene, "editor", "findings/1", **drawn | mine)
    assert status == 409
    for words in (f"{lead} changed this finding", "you both changed it", f"What {lead} changed", f"Take {lead}’s"):
        assert words in unescape(page), words
    assert "checked" not in page.partition("<form")[2], "nothing is chosen for anybody"
    assert (await finding(scene))["version"] == 3, "nothing is saved unasked"
    # Title and status, and the first line, merged by themselves; of the third line mine is in the form until a choice is made.
    again = hidden(page, action)
    assert (again["version"], again["was-title"], "conflict-title" in again) == ("3", "Their leak", False)
    assert 'value="Their leak"' in page
    assert '<option value="accepted" selected>' in page
    merged = "Their first line\nMy second line\nMy third line"
    assert merged in unescape(page)
    filled = {"title": "Their leak", "text": merged, "severity": mine["severity"], "status": "accepted", "owner_id": ""}
    status, _, page = await send(scene, "editor", "findings/1", **again | filled)
    assert (status, "Choose one of the two" in page, (await finding(scene))["version"]) == (409, True, 3)
    assert (await send(scene, "editor", "findings/1", **again | filled | {"look": "1"}))[0] == 409, "nor is the choice passed by"
    assert hidden(page, action)["conflict-text"] == again["conflict-text"]
    status, leads, _ = await send(scene, "editor", "findings/1", **again | filled | {"choice-text": "theirs"})
    assert (status, leads) == (303, "findings/1?done=edit_saved&saved=finding-1")
    now = await finding(scene)
    assert (now["title"], now["status"], now["version"]) == ("Their leak", "accepted", 4)
    assert now["text"] == "Their first line\nMy second line\nTheir third line"
    # An edit is a choice, too, and nobody's choice undoes it; likewise in a field of one line.
    assert (await send(scene, "editor", "findings/1", **mine))[0] == 409, "a form without a version overwrites nothing"
    status, _, page = await send(scene, "editor", "findings/1", **drawn | mine | {"title": "My leak"})
    again, edited = hidden(page, action), merged + ", edited"
    status, _, page = await send(scene, "editor", "findings/1", **again | filled | {"title": "My leak", "text": edited})
    assert (status, "conflict-text" in hidden(page, action), edited in page) == (409, False, True)
    chosen = hidden(page, action) | filled | {"title": "My leak", "text": edited, "choice-title": "mine"}
    assert (await send(scene, "editor", "findings/1", **chosen))[0] == 303
    now = await finding(scene)
    assert (now["title"], now["text"]) == ("My leak", edited)
    # The same form twice, as an impatient click sends it, is no conflict.
    assert (await send(scene, "editor", "findings/1", **chosen))[0] == 303
    assert (await finding(scene))["version"] == now["version"]


async def test_a_conflict_on_deal_access_and_item_keeps_what_was_typed(scene: Scene) -> None:
    drawn = hidden(await get(scene, "editor", "edit"), f"/deals/{scene.deal.id}/edit")
    typed = {name.removeprefix("was-"): value for name, value in drawn.items() if name.startswith("was-")}
    assert (await scene.call("owner", "PATCH", "~", json={"tagline": "Theirs"}))[0] == 200
    status, _, page = await send(scene, "editor", "edit", **drawn | typed | {"tagline": "Mine", "city": "Stockholm"})
    assert status == 409
    for words in (f"{scene.users['owner'].name} changed this deal", "Theirs", "Mine", "Stockholm"):
        assert words in unescape(page)

    viewer = scene.id_of("viewer")
    drawn = hidden(await get(scene, "owner", f"team/{viewer}"), f"/deals/{scene.deal.id}/team/{viewer}")
    assert (await scene.call("admin", "PATCH", f"~/members/{viewer}", json={"role": "editor"}))[0] == 200
    status, _, page = await send(scene, "owner", f"team/{viewer}", **drawn, role="viewer", expires_on="2040-01-31")
    assert status == 409
    assert scene.users["admin"].name in page
    assert 'value="2040-01-31"' in page
    grant = await scene.grant_of("viewer")
    assert grant is not None
    assert (grant.role, grant.expires_at) == ("editor", None)

    assert (await scene.call("owner", "PATCH", "~/checklist/1", json={"title": "Reworded"}))[0] == 200
    status, _, page = await send(scene, "editor", "checklist/1/tick", version="1", done="1")
    assert status == 409, "what one ticks is what one has read"
    assert "Reworded" in page
    status, leads, _ = await send(scene, "editor", "checklist/1/tick", version="2", done="1", state="open")
    assert (status, leads) == (303, "checklist?state=open#item-1")
    drawn = hidden(await get(scene, "editor", "checklist/1"), f"/deals/{scene.deal.id}/checklist/1/tick")
    assert (await send(scene, "editor", "checklist/1/tick", **drawn))[:2] == (303, "checklist/1"), "back to the page it was on"


@on_sqlite
async def test_what_moved_since_it_was_read_is_not_deleted(scene: Scene) -> None:
    for kind in ("findings", "checklist"):
        assert (await scene.call("owner", "PATCH", f"~/{kind}/1", json={"title": "Reworded"}))[0] == 200
        assert (await send(scene, "editor", f"{kind}/1/delete", version="1"))[:2] == (303, f"{kind}/1?done=read_again")
        assert (await send(scene, "editor", f"{kind}/1/delete", version="2"))[:2] == (
            303,
            f"{kind}?done={'finding' if kind == 'findings' else 'item'}_deleted&undo=1",
        )


@on_sqlite
async def test_what_was_deleted_meanwhile_can_be_saved_as_new(scene: Scene) -> None:
    drawn = hidden(await get(scene, "editor", "findings/1/edit"), f"/deals/{scene.deal.id}/findings/1")
    assert (await scene.call("owner", "DELETE", "~/findings/1"))[0] == 204
    mine = {"title": "My title", "text": "", "severity": "high", "status": "open", "owner_id": ""}
    status, _, page = await send(scene, "editor", "findings/1", **drawn | mine)
    assert (status, "deleted meanwhile" in page, 'value="My title"' in page) == (404, True, True)
    again = hidden(page, f"/deals/{scene.deal.id}/findings")
    assert (await send(scene, "editor", "findings", **again | mine))[:2] == (303, "findings/2?done=finding_created&saved=finding-new")


@on_sqlite
async def test_a_form_is_saved_in_the_deal_it_was_drawn_for_or_nowhere(scene: Scene) -> None:
    other = await make_deal(scene.resources.database, scene.organisation, owner=scene.users["owner"], name="Skype")
    mine = {"title": "Typed in one tab", "severity": "high", "status": "open", "text": "", "owner_id": ""}
    for stated in (str(other.id), "", "999999", "x"):
        status, _, page = await send(scene, "owner", "findings", **mine, deal=stated)
        assert status == 409, stated
        assert "Typed in one tab" in page
        assert ("Save it in Skype" in page) == (stated == str(other.id))
    assert (await scene.call("owner", "GET", "~/findings"))[1]["total"] == 1
    action = f"/deals/{other.id}/findings"
    status, _, page = await send(scene, "owner", "findings", **mine, deal=str(other.id))
    assert (await send(scene, "owner", action, **hidden(page, action)))[0] == 303
    assert (await scene.call("owner", "GET", f"/api/deals/{other.id}/findings"))[1]["findings"][0]["title"] == "Typed in one tab"
    # Who sees only one of the two is not told the other's name, and who sees neither is told nothing.
    assert "Skype" not in (await send(scene, "editor", "findings", **mine, deal=str(other.id)))[2]
    assert (await send(scene, "outsider", "findings", **mine, deal=str(other.id)))[0] == 404


@on_sqlite
async def test_what_was_typed_survives_the_end_of_the_login(scene: Scene, clock: FakeClock) -> None:
    """Without a script: the page that asks to sign in carries it, and so does the one after."""
    here = f"/deals/{scene.deal.id}/findings/new"
    client = await scene.client("editor")
    clock.advance(timedelta(days=2))
    typed = {"title": "Written all morning", "text": "First\r\nsecond <b>", "severity": "high", "status": "open", "owner_id": ""}
    typed |= {"here": here, "by": str(scene.id_of("editor"))}
    status, _, page = await send(scene, "editor", "findings", **typed)
    assert status == 401
    assert "Written all morning" in page
    form = hidden(page, "/login")
    assert form["next"] == here
    wrong = await client.post("/login", form=form | {"email": scene.users["editor"].email, "password": "wrong"})
    form = hidden(str(await wrong.get_data(as_text=True)), "/login")
    other = await scene.app.test_client().post("/login", form=form | {"email": scene.users["owner"].email, "password": PASSWORD})
    assert (other.status_code, other.headers["Location"]) == (303, here), "somebody else is not shown it"
    right = await client.post("/login", form=form | {"email": scene.users["editor"].email, "password": PASSWORD})
    page = str(await right.get_data(as_text=True))
    assert (right.status_code, "Written all morning" in page) == (200, True)
    action = f"/deals/{scene.deal.id}/findings"
    assert (await send(scene, "editor", "findings", **hidden(page, action)))[0] == 303
    assert (await scene.call("viewer", "GET", "~/findings?q=written"))[1]["findings"][0]["text"] == "First\nsecond <b>"
    # A form of any other kind carries nothing into the page of the sign-in.
    settings = await scene.app.test_client().post("/settings", form={"theme": "secret words", "deal": "1"})
    assert "secret words" not in await settings.get_data(as_text=True)


@on_sqlite
async def test_a_form_of_somebody_else_on_this_browser_is_not_sent_as_ones_own(scene: Scene) -> None:
    theirs = {"title": "Their words", "severity": "low", "status": "open", "by": str(scene.id_of("owner"))}
    status, _, page = await send(scene, "editor", "findings", **theirs)
    assert (status, "Their words" in page) == (409, False)
    assert (await scene.call("owner", "GET", "~/findings"))[1]["total"] == 1


@on_sqlite
async def test_a_viewer_sees_no_edit_until_the_role_is_raised(scene: Scene) -> None:
    for page in ("overview", "findings", "findings/1", "checklist", "checklist/1", "team", "activity"):
        text = await get(scene, "viewer", page)
        assert not CHANGES.search(text), page
    client = await scene.client("viewer")
    forms = ("edit", "findings/new", "findings/1/edit", "checklist/1/edit", f"team/{scene.id_of('editor')}")
    writes = ["edit", "findings", "findings/bulk", "findings/1", "findings/1/delete", "findings/1/restore", "checklist", "checklist/1/tick"]
    writes += ("checklist/templates", "checklist/untouched", "checklist/1", "checklist/1/delete", "team", "team/transfer", "team/1")
    extra = {"version": "1", "title": "Kept", "template": "tax", "first": "1", "last": "1", "user_id": "1", "item": "1:1", "status": "open"}
    for page in forms:
        assert (await client.get(f"/deals/{scene.deal.id}/{page}")).status_code == 403, page
    for page in writes:
        status, _, text = await send(scene, "viewer", page, **extra)
        assert (status, "Kept" in text) == (403, True), page
    assert (await scene.call("owner", "PATCH", f"~/members/{scene.id_of('viewer')}", json={"role": "editor"}))[0] == 200
    assert "/findings/1/edit" in await get(scene, "viewer", "findings/1")
    assert (await send(scene, "viewer", "checklist/1/tick", version="1", done="1"))[0] == 303
    # Somebody who sees no such deal hears the same of every form of it.
    for page in writes:
        assert (await send(scene, "stranger", page, **extra))[0] == 404, page


@on_sqlite
async def test_the_page_left_in_a_deal_comes_back_with_it(scene: Scene) -> None:
    client = await scene.client("viewer")

    async def leads(path: str) -> str:
        return str((await client.get(path)).headers["Location"])

    base = f"/deals/{scene.deal.id}"
    await scene.call("viewer", "POST", "~/select?page=findings")
    assert [await leads(path) for path in ("/", "/workspace", base)] == [f"{base}/findings"] * 3
    await get(scene, "viewer", "team")
    assert await leads("/workspace") == f"{base}/findings", "a GET notes nothing"
    assert (await scene.call("viewer", "POST", "~/visit?page=team"))[0] == 204
    assert [await leads(path) for path in ("/workspace", "/workspace/activity", base)] == [
        f"{base}/team",
        f"{base}/activity",
        f"{base}/team",
    ]
    for nonsense in ("", "?page=", "?page=settings", "?page=%00"):
        assert (await scene.call("viewer", "POST", f"~/select{nonsense}"))[0] == 200
    assert await leads(base) == f"{base}/team"
    assert (await scene.call("stranger", "POST", "~/visit?page=team"))[0] == 404
    assert len(await scene.events("deal.selected")) == 5, "a visit is not a selection"


async def test_what_others_did_since_the_last_look_is_counted(scene: Scene, clock: FakeClock) -> None:
    def news(page: str) -> dict[str, str]:
        rail = page[page.index('<nav class="rail"') :].split("</nav>")[0]
        found = [re.search(r'/(\w+)".*rail-new"[^>]*>(\d+\+?)<', item, re.DOTALL) for item in rail.split("<li")]
        return {match[1]: match[2] for match in found if match}

    assert news(await get(scene, "viewer", "overview")) == {}, "nothing is new before the first visit"
    clock.advance(timedelta(minutes=1))
    await scene.call("viewer", "POST", "~/select?page=overview")
    clock.advance(timedelta(minutes=1))
    for title in ("a", "b"):
        assert (await scene.call("owner", "POST", "~/findings", json={"title": title}))[0] == 201
    assert (await scene.call("owner", "PATCH", "~/checklist/1", json={"done": True}))[0] == 200
    assert news(await get(scene, "viewer", "overview")) == {"findings": "2", "checklist": "1", "activity": "3"}
    assert news(await get(scene, "owner", "overview")) == {}, "one's own doing is no news"
    clock.advance(timedelta(minutes=1))
    await scene.call("viewer", "POST", "~/visit?page=findings")
    assert news(await get(scene, "viewer", "overview")) == {"checklist": "1", "activity": "3"}
    async with scene.resources.database.write() as db:
        facts = {"deal_id": scene.deal.id, "created_at": clock.now(), "updated_at": clock.now() + timedelta(seconds=1)}
        db.add_all(Finding(number=number, title="x", **facts) for number in range(10, 130))
    assert news(await get(scene, "viewer", "overview"))["findings"] == "99+"


async def test_many_findings_are_changed_at_once_but_for_those_that_moved(scene: Scene) -> None:
    ids = [(await scene.call("editor", "POST", "~/findings", json={"title": title}))[1]["finding"]["id"] for title in "abc"]
    await scene.call("owner", "PATCH", f"~/findings/{ids[1]}", json={"text": "moved"})
    ticked = {"item": [f"{id_}:1" for id_ in ids], "status": "resolved", "severity": "keep", "owner_id": str(scene.id_of("viewer"))}
    status, leads, _ = await send(scene, "editor", "findings/bulk", **ticked, query="status=open&evil=1&done=x")
    assert (status, leads) == (303, "findings?done=findings_changed&number=2&moved=3&status=open")
    assert "#3 was changed by somebody else" in unescape(await get(scene, "editor", leads))
    listed = (await scene.call("owner", "GET", "~/findings?status=resolved&sort=number"))[1]["findings"]
    assert [(each["title"], each["owner"]["id"]) for each in listed] == [("c", scene.id_of("viewer")), ("a", scene.id_of("viewer"))]
    for wrong in ({"status": "closed"}, {"owner_id": str(scene.id_of("outsider"))}):
        assert (await send(scene, "editor", "findings/bulk", **ticked | wrong))[0] == 400


async def test_a_standard_list_is_added_once_and_taken_back_but_for_what_was_worked_on(scene: Scene) -> None:
    tax = TEMPLATES["tax"]
    status, leads, _ = await send(scene, "editor", "checklist/templates", template="tax")
    assert (status, len(tax.items)) == (303, 15)
    assert leads == "checklist?done=template_added&number=15&first=2&last=16"
    assert (await send(scene, "editor", "checklist/templates", template="tax"))[1] == "checklist?done=template_known"
    await scene.call("editor", "PATCH", "~/checklist/3", json={"done": True})
    page = await get(scene, "editor", leads)
    undo = hidden(page, f"/deals/{scene.deal.id}/checklist/untouched")
    assert (await send(scene, "editor", "checklist/untouched", **undo))[1] == "checklist?done=template_removed&number=14"
    left = (await scene.call("viewer", "GET", "~/checklist"))[1]["items"]
    assert [each["id"] for each in left] == [1, 3]
    assert (await send(scene, "editor", "checklist/templates", template="nothing"))[0] == 404


@on_sqlite
async def test_the_checklist_is_put_in_order_by_its_buttons(scene: Scene) -> None:
    for section, title in (("Tax", "Second"), ("Legal", "Third")):
        await scene.call("editor", "POST", "~/checklist", json={"section": section, "title": title})
    buttons = dict(re.findall(r'name="([a-z-]+)" value="(\d+:\d+)"', await get(scene, "editor", "checklist/order")))
    assert buttons == {"up": "2:1", "down": "2:1", "section-up": "3:1", "section-down": "3:1"}
    assert (await send(scene, "editor", "checklist/order", up="2:1"))[:2] == (303, "checklist/order?moved=up-2")
    page = await get(scene, "editor", "checklist/order?moved=up-2")
    assert re.search(r'value="1:2" aria-label="Move down: Second" autofocus', page), "at the top, the way down has the focus"
    assert (await send(scene, "editor", "checklist/order", **{"section-down": "3:1"}))[1] == "checklist/order?moved=section-down-1"
    assert [each["id"] for each in (await scene.call("owner", "GET", "~/checklist"))[1]["items"]] == [3, 2, 1]
    leads = (await send(scene, "editor", "checklist/order", up="3:1"))[1]
    assert "Somebody changed the order meanwhile" in await get(scene, "editor", leads)
    assert (await send(scene, "viewer", "checklist/order", up="1:2"))[0] == 403
    assert (await send(scene, "editor", "checklist/order"))[0] == 400


@on_sqlite
async def test_access_is_given_changed_withdrawn_given_back_and_handed_over(scene: Scene) -> None:
    stranger = scene.users["stranger"]
    new = {"email": stranger.email, "role": "viewer", "expires_on": "2040-02-29"}
    assert (await send(scene, "owner", "team", **new))[:2] == (303, "team?done=member_added&saved=member-new")
    page = unescape(await get(scene, "owner", "team"))
    for words in ("Owns this deal", f"Admin of {scene.organisation.name}: sees all of its deals", "Shared by you"):
        assert words in page
    assert scene.users["outsider"].email not in page
    status, _, page = await send(scene, "owner", "team", email="nobody@test.example", role="viewer", expires_on="")
    assert (status, 'value="nobody@test.example"' in page) == (400, True)
    status, leads, _ = await send(scene, "owner", f"team/{stranger.id}/withdraw")
    assert leads == f"team?done=member_withdrawn&undo={stranger.id}&role=viewer&until=2040-02-29"
    assert (await scene.call("stranger", "GET", "~"))[0] == 404
    undo = hidden(await get(scene, "owner", leads), f"/deals/{scene.deal.id}/team/{stranger.id}/restore")
    assert (await send(scene, "owner", f"team/{stranger.id}/restore", **undo))[0] == 303
    member = (await scene.call("stranger", "GET", "~"))[1]["deal"]
    assert (member["role"], member["access_until"]) == ("viewer", "2040-03-01T00:00:00Z")
    # Who changes what somebody else has just withdrawn is told, and can give it anew as they chose it; likewise once it is over.
    drawn = hidden(await get(scene, "owner", f"team/{stranger.id}"), f"/deals/{scene.deal.id}/team/{stranger.id}")
    assert (await scene.call("admin", "DELETE", f"~/members/{stranger.id}"))[0] == 204
    mine = drawn | {"role": "editor", "expires_on": "2041-05-01"}
    status, _, page = await send(scene, "owner", f"team/{stranger.id}", **mine)
    assert (status, f"ended meanwhile: {scene.users['admin'].name} withdrew it" in unescape(page)) == (404, True)
    for kept in (f'value="{stranger.email}"', '<option value="editor" selected>', 'value="2041-05-01"'):
        assert kept in page
    await make_member(
        scene.resources.database, scene.deal, stranger, role="viewer", expires_at=scene.resources.clock.now() - timedelta(days=1)
    )
    assert "ended meanwhile: its last day is over" in (await send(scene, "owner", f"team/{stranger.id}", **mine))[2]
    assert (await send(scene, "owner", "team", email=stranger.email, role="editor", expires_on="2041-05-01"))[0] == 303
    assert (await send(scene, "owner", "team/999999", **mine))[0] == 404
    await scene.select("stranger")
    assert (await send(scene, "stranger", f"team/{stranger.id}/withdraw"))[:2] == (303, "/deals?done=left")
    page = str(await (await (await scene.client("stranger")).get("/deals?done=left")).get_data(as_text=True))
    assert "You have left that deal" in page
    assert "no longer available to you" not in page
    assert (await send(scene, "owner", "team/transfer", user_id=str(scene.id_of("editor"))))[0] == 303
    assert (await scene.call("editor", "GET", "~"))[1]["deal"]["role"] == "owner"


@on_sqlite
async def test_activity_is_exported_in_cells_that_run_nothing(scene: Scene) -> None:
    async with scene.resources.database.write() as db:
        await db.execute(update(User).where(User.id == scene.id_of("owner")).values(name='=cmd|"/c calc"!A1'))
    assert (await scene.call("owner", "PATCH", "~", json={"tagline": "x"}))[0] == 200
    assert (await scene.call("editor", "PATCH", "~/findings/1", json={"title": "y"}))[0] == 200
    client = await scene.client("viewer")
    response = await client.get(f"/deals/{scene.deal.id}/activity.csv?kind=deal")
    assert response.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in response.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO((await response.get_data(as_text=True)).removeprefix("\ufeff"))))
    assert {row["kind"] for row in rows} <= {"deal.updated", "deal.restored", "deal.selected"}
    changed = next(row for row in rows if row["kind"] == "deal.updated")
    assert changed["by"] == '\'=cmd|"/c calc"!A1'
    assert changed["what"].startswith("'=cmd")
    assert (await (await scene.client("stranger")).get(f"/deals/{scene.deal.id}/activity.csv")).status_code == 404


@on_sqlite
async def test_staying_signed_in_begins_the_idle_clock_anew(scene: Scene, clock: FakeClock) -> None:
    client = await scene.client("viewer")
    # Shorter than the interval in which a request by itself notes that somebody was here.
    clock.advance(timedelta(minutes=4))
    said = await (await client.post("/api/auth/stay")).get_json()
    until, now = (datetime.fromisoformat(said[name]) for name in ("signed_in_until", "now"))
    assert until - now == timedelta(hours=24)
    clock.advance(timedelta(hours=23))
    assert (await client.get("/api/me")).status_code == 200
    page = str(await (await client.get(f"/deals/{scene.deal.id}/overview")).get_data(as_text=True))
    assert re.search(r'data-timeout="\d+"', page)


@on_sqlite
async def test_archived_deals_are_read_only_on_every_page(scene: Scene, clock: FakeClock) -> None:
    async with scene.resources.database.write() as db:
        await db.execute(update(Deal).where(Deal.id == scene.deal.id).values(archived_at=clock.now()))
    # Who sees it can still be changed.
    for page in ("overview", "findings", "findings/1", "checklist", "checklist/1", "activity"):
        assert not CHANGES.search(await get(scene, "owner", page)), page
    for page in ("edit", "findings/new", "checklist/1/edit"):
        assert (await (await scene.client("owner")).get(f"/deals/{scene.deal.id}/{page}")).status_code == 409, page
    status, _, text = await send(scene, "owner", "findings", title="Kept words", severity="low", status="open")
    assert (status, "Kept words" in text) == (409, True)
    assert "Somebody else changed this first" not in text
    assert "Back to the deal" in text


@on_sqlite
async def test_refusals_are_told_in_words_for_people(scene: Scene) -> None:
    client = await scene.client("viewer")
    for path, title in (("/nothing", "There is nothing here"), ("/deals?sort=sideways", "The request cannot be understood")):
        page = str(await (await client.get(path)).get_data(as_text=True))
        assert title in page
        assert "Input should be" not in page
    status, _, page = await send(scene, "editor", "findings", title="Long", text="x" * 600_000)
    assert (status, "That is too much at once" in page) == (413, True)
