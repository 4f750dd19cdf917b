"""The place inside a deal: what is kept of it, when it comes back, and when it does not."""

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select, update

from app.auth.personal_data import erase_person
from app.current_deal.places import LIFE
from app.current_deal.sweep import sweep_stale_deals
from app.models import Deal, Member, Place
from tests.counting import Counted, counting
from tests.factories import make_deal, make_work
from tests.fakes import FakeClock
from tests.integration.scene import Scene

# What is shown of a place is the same on every database; what is written is asked of both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HIGH = {"query": {"severity": "high", "sort": "-updated"}, "anchor": {"row": 7, "next": [8, 9], "out": 0.25}}


@pytest.fixture
async def scene(scene: Scene) -> Scene:
    await make_work(scene.resources.database, scene.deal)
    await scene.call("viewer", "POST", "~/select?page=findings")
    return scene


async def put(scene: Scene, who: str = "viewer", *, status: int = 204, **seen: Any) -> Any:
    said = {"page": "findings", "deal_id": scene.deal.id} | seen
    answer = await scene.call(who, "PUT", "/api/place", json={name: value for name, value in said.items() if value is not None})
    assert answer[0] == status, answer
    return answer[1]


async def places(scene: Scene) -> list[Place]:
    async with scene.resources.database.read() as db:
        return list(await db.scalars(select(Place).order_by(Place.id)))


async def leads(scene: Scene, path: str, who: str = "viewer") -> str:
    """Where an address of the deal, or a whole one, leads: below the deal's."""
    response = await (await scene.client(who)).get(path)
    return str(response.headers.get("Location", response.status_code)).removeprefix(f"/deals/{scene.deal.id}/")


async def page(scene: Scene, path: str, who: str = "viewer") -> tuple[str, dict[str, Any] | None]:
    """A page, and what its script is to come back to; None where nothing is kept of it."""
    text = str(
        await (await (await scene.client(who)).get(path if path.startswith("/") else f"/deals/{scene.deal.id}/{path}")).get_data(True)
    )
    return text, json.loads(text.split("data-left='")[1].split("'")[0]) if "data-left='" in text else None


async def test_a_list_comes_back_as_it_was_left_unless_the_address_says_more(scene: Scene) -> None:
    await put(scene, listing=HIGH)
    text, left = await page(scene, "findings")
    assert left == {"query": "severity=high&sort=-updated", "anchor": HIGH["anchor"]}
    assert "No finding of this deal fits these filters" in text, "the only one is of medium severity"
    # What was done says nothing of where.
    assert (await page(scene, "findings?done=finding_deleted"))[1] == left
    for address in ("findings?all", "findings?q=", "findings?status=open"):
        text, left = await page(scene, address)
        assert left == {}, address
        assert "/findings/1" in text, address
    assert f'href="/deals/{scene.deal.id}/findings?all"' in text, "the way to the whole list says that it is meant"
    assert (await page(scene, "findings", "owner"))[1] == {}, "it is nobody else's"


async def test_what_was_open_comes_back_from_everywhere_and_only_if_it_may(scene: Scene) -> None:
    await put(scene, listing=HIGH)
    await put(scene, item_id=1)
    ways = ("/", "/workspace", f"/deals/{scene.deal.id}")
    assert [await leads(scene, way) for way in ways] == ["findings/1"] * 3
    assert await leads(scene, "/workspace/findings") == "findings", "an address that names the page means its list"
    assert (await page(scene, "findings"))[1]["query"] == "severity=high&sort=-updated", "which an open item leaves alone"  # type: ignore[index]
    # A form is for who may write, and an item for as long as it is there.
    await put(scene, item_id=1, form="edit", focus={"name": "text", "start": 3, "end": 5})
    assert await leads(scene, "/workspace") == "findings/1"
    assert (await scene.call("owner", "PATCH", f"~/members/{scene.id_of('viewer')}", json={"role": "editor"}))[0] == 200
    assert await leads(scene, "/workspace") == "findings/1/edit"
    assert (await page(scene, "findings/1/edit"))[1] == {"focus": {"name": "text", "start": 3, "end": 5}}
    assert (await page(scene, "findings/1"))[1] == {}
    await put(scene, item_id=None, form="new")
    assert await leads(scene, "/workspace") == "findings/new"
    await put(scene, item_id=1)
    assert (await scene.call("owner", "DELETE", "~/findings/1", headers={"If-Match": '"1"'}))[0] == 204
    assert await leads(scene, "/workspace") == "findings"
    await put(scene, item_id=2**62)
    assert await leads(scene, "/workspace") == "findings"


async def test_the_place_seen_last_wins_and_a_get_writes_nothing(scene: Scene, clock: FakeClock) -> None:
    await page(scene, "findings?severity=high")
    assert await places(scene) == []
    await put(scene, item_id=1)
    clock.advance(timedelta(seconds=10))
    await put(scene, item_id=2, ago_ms=11_000)
    (place,) = await places(scene)
    assert place.item_id == 1
    await put(scene, item_id=3, ago_ms=9_000)
    (place,) = await places(scene)
    assert (place.item_id, place.seen_at, place.page) == (3, clock.now() - timedelta(seconds=9), "findings")
    assert len(await scene.events("deal.selected")) == 1, "and no event of it"


@on_sqlite
async def test_what_is_gone_is_left_out_and_said(scene: Scene) -> None:
    async def left(**query: str) -> tuple[str, str]:
        await put(scene, listing={"query": query})
        text, place = await page(scene, "findings")
        assert place is not None
        return place["query"], unescape(text)

    editor = scene.id_of("editor")
    assert (await left(owner=str(editor)))[0] == f"owner={editor}"
    assert (await scene.call("owner", "DELETE", f"~/members/{editor}"))[0] == 204
    query, text = await left(owner=str(editor), status="open")
    assert (query, "without the person you" in text) == ("status=open", True)
    query, text = await left(severity="appalling", status="open")
    assert (query, "without the severity you" in text) == ("status=open", True)
    query, text = await left(status="open", cursor="of-another-key")
    assert (query, "without the" in text) == ("status=open", False)
    assert (await left(password="x", done="saved"))[0] == "", "only what the page knows is kept"
    assert "password" not in json.dumps((await places(scene))[0].listing)


@on_sqlite
async def test_what_no_page_would_say_is_refused(scene: Scene) -> None:
    refused: list[dict[str, Any]] = [
        {"page": "settings"},
        {"page": "deals"},
        {"deal_id": None},
        {"deal_id": "1"},
        {"item_id": 0},
        {"page": "activity", "item_id": 1},
        {"form": "order"},
        {"form": "../x"},
        {"listing": {"query": {"q": 1}}},
        {"listing": {"query": {"q": "\0"}}},
        {"listing": {"anchor": {"row": 1, "out": 2}}},
        {"listing": {"anchor": {"row": 1, "next": list(range(1, 9))}}},
        {"listing": {"more": 1}},
        {"focus": {"name": "text", "start": -1}},
        {"focus": {"name": '"><script>'}},
        {"ago_ms": -1},
        {"typed": "a draft"},
    ]
    for seen in refused:
        await put(scene, status=400, **seen)
    await put(scene, status=413, listing={"query": {"q": "x" * 5000}})
    await put(scene, "stranger", status=404)
    await put(scene, status=404, deal_id=2**62)
    await put(scene, "outsider", status=404)
    assert await places(scene) == []


async def test_revoked_access_erases_it_and_the_switches_turn_it_off(scene: Scene) -> None:
    await put(scene, item_id=1)
    for switch in ("remember_last_deal", "remember_place"):
        assert (await scene.call("viewer", "PATCH", "/api/me", json={switch: False}))[0] == 200
        await put(scene, item_id=2)
        assert [place.item_id for place in await places(scene)] == ([1] if switch == "remember_last_deal" else []), switch
        assert (await leads(scene, "/workspace"), (await page(scene, "findings"))[1]) == ("findings", None), switch
        assert (await scene.call("viewer", "PATCH", "/api/me", json={switch: True}))[0] == 200
    await put(scene, item_id=1)
    assert await leads(scene, "/workspace") == "findings/1"
    await put(scene, "editor", item_id=1)
    assert (await scene.call("owner", "DELETE", f"~/members/{scene.id_of('viewer')}"))[0] == 204
    assert [place.user_id for place in await places(scene)] == [scene.id_of("editor")]


async def test_the_sweep_forgets_what_is_a_year_old_or_out_of_reach(scene: Scene, clock: FakeClock) -> None:
    database = scene.resources.database
    binned = await make_deal(database, scene.organisation, owner=scene.users["viewer"])
    for deal in (scene.deal, binned):
        await put(scene, deal_id=deal.id)
    await put(scene, "editor")
    await put(scene, page="deals", deal_id=None)
    async with database.write() as db:
        await db.execute(update(Member).where(Member.user_id == scene.id_of("editor")).values(expires_at=clock.now()))
        await db.execute(update(Deal).where(Deal.id == binned.id).values(deleted_at=clock.now()))
    assert (await sweep_stale_deals(database, clock)).places == 1
    assert {(place.user_id, place.deal_id) for place in await places(scene)} == {
        (scene.id_of("viewer"), each) for each in (scene.deal.id, binned.id, None)
    }
    async with database.write() as db:
        await db.execute(update(Place).where(Place.deal_id.is_(None)).values(seen_at=clock.now() - LIFE))
    assert (await sweep_stale_deals(database, clock)).places == 1


@on_sqlite
async def test_every_list_comes_back_and_costs_no_statement_more(scene: Scene) -> None:
    client = await scene.client("viewer")
    queries = {"findings": "status=open", "checklist": "state=done", "activity": "kind=findings", "deals": "q=Moj&sort=name"}
    for name, query in {**queries, "board": "status=Pending&signing=40"}.items():
        in_deal = name not in ("deals", "board")
        address = f"/deals/{scene.deal.id}/{name}" if in_deal else "/deals" if name == "deals" else "/deals/board"
        await client.get(address)
        with counting(scene.resources.database, before := Counted()):
            await client.get(f"{address}?{query}")
        asked = dict(pair.split("=") for pair in query.split("&"))
        await put(scene, page=name, deal_id=scene.deal.id if in_deal else None, listing={"query": asked})
        with counting(scene.resources.database, cost := Counted()):
            assert (await page(scene, address))[1] == {"query": query, "anchor": None}, name
        assert len(cost.statements) <= len(before.statements), (name, cost.statements)
    # Also one that has nothing to choose.
    await put(scene, page="team", listing={"anchor": HIGH["anchor"]})
    assert (await page(scene, "team"))[1] == {"query": "", "anchor": HIGH["anchor"]}


@on_sqlite
async def test_it_is_a_persons_data(scene: Scene) -> None:
    await put(scene, listing=HIGH)
    exported = json.loads(await (await (await scene.client("viewer")).get("/settings/export")).get_data())
    assert [place["listing"]["anchor"] for place in exported["places"]] == [HIGH["anchor"]]
    await erase_person(scene.resources, scene.users["viewer"].email)
    assert await places(scene) == []


async def test_previous_and_next_follow_the_list_as_it_was_left(scene: Scene) -> None:
    facts = [("b", "high", "open"), ("d", "high", "open"), ("C", "low", "open"), ("a", "high", "resolved"), ("e", "high", "open")]
    for title, severity, status in facts:  # numbered from 2
        said = {"title": title, "severity": severity, "status": status, "text": "word" if severity == "high" else ""}
        assert (await scene.call("owner", "POST", "~/findings", json=said))[0] == 201

    async def beside(item: int, page: str = "findings", who: str = "viewer") -> tuple[int | None, int | None, int]:
        with counting(scene.resources.database, cost := Counted()):
            text = await (await (await scene.client(who)).get(f"/deals/{scene.deal.id}/{page}/{item}")).get_data(True)
        found = {way: int(id_) for id_, way in re.findall(rf'/{page}/(\d+)" rel="(prev|next)"', text)}
        return found.get("prev"), found.get("next"), len(cost.statements)

    *_, plain = await beside(3)
    assert await beside(3) == (2, 4, plain), "by number, until the list was seen"
    await put(scene, listing={})
    assert [(await beside(item))[:2] for item in (6, 5, 3, 2, 1, 4)] == [(None, 5), (6, 3), (5, 2), (3, 1), (2, 4), (1, None)]
    await put(scene, listing={"query": {"severity": "high", "sort": "title", "q": "word", "cursor": "wherever it was"}})
    assert await beside(2) == (5, 3, plain), "no statement more"
    assert [(await beside(item))[:2] for item in (5, 6)] == [(None, 2), (3, None)]
    assert await beside(4) == (3, 5, plain + 1), "it is not in that list: by number, which is asked for then"
    await put(scene, listing={"query": {"owner": "none", "status": "unsettled", "sort": "-number"}})
    assert [(await beside(item))[:2] for item in (1, 4, 6)] == [(None, 2), (3, 6), (4, None)]
    for query in ({"severity": "appalling"}, {"status": "accepted"}):
        await put(scene, listing={"query": query})
        assert (await beside(3))[:2] == (2, 4)
    # And down a checklist, for those who may change it.
    for number in range(1, 4):
        assert (await scene.call("owner", "POST", "~/checklist", json={"section": "Tax", "title": f"Item {number}"}))[0] == 201
    assert (await scene.call("owner", "PATCH", "~/checklist/3", json={"done": True}))[0] == 200
    await scene.call("owner", "POST", "~/select?page=checklist")
    *_, plain = await beside(2, "checklist", "owner")
    await put(scene, "owner", page="checklist", listing={"query": {"state": "open"}})
    assert await beside(2, "checklist", "owner") == (1, 4, plain)
    assert await beside(3, "checklist", "owner") == (2, 4, plain)
