"""Findings and checklists over the API: what they are, who may change them, and that no change is lost."""

import asyncio
from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest

from app.checklist.store import MAX_ITEMS
from app.models import ChecklistItem, Finding
from tests.counting import Counted, counting
from tests.factories import make_deal, make_work
from tests.fakes import FakeClock
from tests.integration.scene import Scene

# Rules above SQL.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def make(scene: Scene, kind: str, **facts: Any) -> dict[str, Any]:
    given = {"title": "Churn"} if kind == "findings" else {"title": "Returns", "section": "Tax"}
    status, body = await scene.call("editor", "POST", f"~/{kind}", json=given | facts)
    assert status == 201, body
    (thing,) = body.values()
    assert isinstance(thing, dict)
    return thing


@pytest.mark.parametrize("kind", ["findings", "checklist"])
async def test_a_thing_is_made_changed_deleted_and_brought_back(scene: Scene, kind: str) -> None:
    thing = await make(scene, kind, owner_id=scene.id_of("viewer"))
    assert (thing["version"], thing["owner"]["id"], thing["updated_by"]["id"]) == (1, scene.id_of("viewer"), scene.id_of("editor"))
    path = f"~/{kind}/{thing['id']}"
    status, body = await scene.call("owner", "PATCH", path, json={"title": "Other"}, headers={"If-Match": '"1"'})
    (changed,) = body.values()
    assert (status, changed["title"], changed["version"], changed["owner"]) == (200, "Other", 2, thing["owner"])
    assert (await scene.call("owner", "PATCH", path, json={"title": "Other"}))[1].popitem()[1]["version"] == 2, "nothing changed"
    assert (await scene.call("editor", "DELETE", path, headers={"If-Match": '"1"'}))[0] == 409
    assert (await scene.call("editor", "DELETE", path, headers={"If-Match": '"2"'}))[0] == 204
    assert (await scene.call("owner", "GET", path))[0] == 404
    listed = (await scene.call("viewer", "GET", f"~/{kind}"))[1]
    assert (listed.get("findings") or listed.get("items") or [], listed["total"]) == ([], 0)
    assert (await scene.call("viewer", "POST", f"{path}/restore"))[0] == 403
    assert (await scene.call("editor", "POST", f"{path}/restore"))[0] == 200
    assert (await scene.call("viewer", "GET", path))[1].popitem()[1]["title"] == "Other"
    events = await scene.events(*(f"finding.{verb}" for verb in VERBS), *(f"checklist.item_{verb}" for verb in VERBS))
    assert [event.kind.rpartition(".")[2].removeprefix("item_") for event in events] == ["created", "updated", "deleted", "undeleted"]
    assert events[1].payload["fields"] == ["title"]
    assert "Other" not in str([event.payload for event in events]), "ids and codes, no text"


VERBS = ("created", "updated", "deleted", "undeleted")


@pytest.mark.parametrize("kind", ["findings", "checklist"])
async def test_the_second_of_two_changes_hears_of_the_first_and_both_versions_are_told(scene: Scene, kind: str) -> None:
    thing = await make(scene, kind)
    path = f"~/{kind}/{thing['id']}"
    for who in ("owner", "editor"):
        await scene.client(who)
    answers = await asyncio.gather(
        scene.call("owner", "PATCH", path, json={"title": "Theirs", "version": 1}),
        scene.call("editor", "PATCH", path, json={"title": "Mine", "version": 1}),
    )
    assert sorted(status for status, _ in answers) == [200, 409]
    won, lost = sorted(answers, key=lambda answer: answer[0])
    (now,) = won[1].values()
    assert (lost[1]["code"], lost[1]["current"]) == ("conflict", now)
    assert {lost[1]["yours"]["title"], now["title"]} == {"Theirs", "Mine"}
    for versions in ('"7"', '"1"'):
        assert (await scene.call("owner", "PATCH", path, json={"title": "X"}, headers={"If-Match": versions}))[0] == 409
    assert (await scene.call("owner", "PATCH", path, json={"title": "X"}, headers={"If-Match": "2"}))[0] == 400


@on_sqlite
@pytest.mark.parametrize("kind", ["findings", "checklist"])
async def test_the_things_of_another_deal_are_absent(scene: Scene, kind: str) -> None:
    """Even for somebody who sees both deals: the deal in the address is part of the question."""
    database = scene.resources.database
    other = await make_deal(database, scene.organisation, owner=scene.users["owner"])
    work = await make_work(database, other)
    path = f"~/{kind}/{work[kind == 'checklist'].id}"
    for method, options in (("GET", {}), ("PATCH", {"json": {"title": "X"}}), ("DELETE", {}), ("POST", {"json": {}})):
        target = f"{path}/restore" if method == "POST" else path
        assert (await scene.call("owner", method, target, **options))[0] == 404, method


@on_sqlite
async def test_what_is_wrong_is_said_and_an_archived_deal_is_read_only(scene: Scene) -> None:
    bad: list[tuple[str, dict[str, Any]]] = [
        ("findings", {"title": ""}),
        ("findings", {"title": "a\nb"}),
        ("findings", {"title": "a", "severity": "worst"}),
        ("findings", {"title": "a", "text": "x" * 20_001}),
        ("findings", {"title": "a", "number": 7}),
        ("findings", {"title": "a", "owner_id": scene.id_of("stranger")}),
        ("findings", {"title": "a", "owner_id": scene.id_of("outsider")}),
        ("checklist", {"title": "a"}),
        ("checklist", {"title": "a", "section": "b", "due_on": "soon"}),
        ("checklist", {"title": "a", "section": "b", "done": "yes please"}),
        ("checklist", {"title": "a", "section": "b", "owner_id": scene.id_of("stranger")}),
    ]
    for kind, body in bad:
        assert (await scene.call("editor", "POST", f"~/{kind}", json=body))[0] == 400, body
    for query in ("severity=worst", "owner=nobody", "owner=0", "sort=x", "limit=101", "cursor=abc", "status=closed"):
        assert (await scene.call("viewer", "GET", f"~/findings?{query}"))[0] == 400, query
    things = {kind: await make(scene, kind) for kind in ("findings", "checklist")}
    assert (await scene.call("owner", "POST", "~/archive"))[0] == 200
    for kind, thing in things.items():
        status, body = await scene.call("owner", "PATCH", f"~/{kind}/{thing['id']}", json={"title": "X"})
        assert (status, body["code"]) == (409, "deal_archived")
        assert (await scene.call("owner", "DELETE", f"~/{kind}/{thing['id']}"))[0] == 409
        assert (await scene.call("viewer", "GET", f"~/{kind}/{thing['id']}"))[0] == 200


async def test_findings_are_filtered_sorted_and_paged_without_gap_or_repetition(scene: Scene, clock: FakeClock) -> None:
    severities, statuses = ("low", "critical", "medium", "info", "high"), ("open", "resolved", "in_review")
    now = clock.now()
    async with scene.resources.database.write() as db:
        db.add_all(
            Finding(
                deal_id=scene.deal.id,
                number=number,
                title=f"Été {number % 4}",
                text="",
                severity=severities[number % 5],
                status=statuses[number % 3],
                owner_id=scene.id_of("editor") if number % 2 else None,
                created_at=now,
                updated_at=now + timedelta(seconds=number % 3),
            )
            for number in range(1, 24)
        )
    ranks = {"severity": lambda each: ("info", "low", "medium", "high", "critical").index(each["severity"])}
    for sort in ("severity", "-severity", "status", "updated", "-updated", "number", "title", "-title"):
        seen, cursor = [], ""
        while True:
            status, page = await scene.call("viewer", "GET", f"~/findings?sort={sort}&limit=5&cursor={cursor}")
            assert (status, page["total"]) == (200, 23)
            seen += page["findings"]
            if not (cursor := page["next_cursor"] or ""):
                break
        back, ids = [page], [each["id"] for each in seen]
        while cursor := back[0]["previous_cursor"] or "":
            back.insert(0, (await scene.call("viewer", "GET", f"~/findings?sort={sort}&limit=5&cursor={cursor}"))[1])
        assert [each["id"] for page in back for each in page["findings"]] == ids, "and back the same way"
        assert [page["first"] for page in back] == [1, 6, 11, 16, 21]
        assert sorted(each["number"] for each in seen) == list(range(1, 24)), sort
        if sort.strip("-") in ranks:
            order = [ranks[sort.strip("-")](each) for each in seen]
            assert order == sorted(order, reverse=sort[0] != "-")
    for query, expected in (
        ("severity=critical", 5),
        ("status=unsettled", 15),
        ("owner=none", 11),
        (f"owner={scene.id_of('editor')}", 12),
        ("q=%C3%89T%C3%89+3", 6),
        ("q=%25", 0),
    ):
        assert (await scene.call("viewer", "GET", f"~/findings?{query}"))[1]["total"] == expected, query
    assert (await scene.call("editor", "GET", "~/findings?owner=me"))[1]["total"] == 12
    cursor = (await scene.call("viewer", "GET", "~/findings?limit=5"))[1]["next_cursor"]
    sent = (await scene.call("editor", "GET", f"~/findings?limit=5&cursor={cursor}"))[1]
    assert (sent["first"], len(sent["findings"])) == (6, 5), "the address of a page may be sent to a colleague"


async def test_numbers_are_never_used_twice(scene: Scene) -> None:
    await scene.client("editor")
    made = await asyncio.gather(*(make(scene, "findings") for _ in range(5)))
    assert sorted(each["number"] for each in made) == [1, 2, 3, 4, 5]
    last = max(made, key=lambda each: each["number"])
    assert (await scene.call("editor", "DELETE", f"~/findings/{last['id']}"))[0] == 204
    assert (await make(scene, "findings"))["number"] == 6


async def test_the_checklist_is_shown_whole_by_section_and_filtered(scene: Scene, clock: FakeClock) -> None:
    today = clock.now().date()
    for section, title, due in (("Tax", "a", -1), ("Legal", "b", 1), ("Tax", "c", None), ("Legal", "d", -2)):
        await make(scene, "checklist", section=section, title=title, due_on=(today + timedelta(days=due)).isoformat() if due else None)
    body = (await scene.call("viewer", "GET", "~/checklist"))[1]
    assert [each["title"] for each in body["items"]] == ["a", "c", "b", "d"]
    first = body["items"][0]
    status, changed = await scene.call("editor", "PATCH", f"~/checklist/{first['id']}", json={"done": True, "version": 1})
    assert (status, changed["item"]["done"]) == (200, True)
    assert changed["item"]["done_at"] is not None
    overdue = (await scene.call("viewer", "GET", "~/checklist?state=overdue"))[1]
    assert ([each["title"] for each in overdue["items"]], overdue["total"], overdue["done"]) == (["d"], 4, 1)
    for words, titles in (("LEGAL", "bd"), ("tax c", "c"), ("tax b", ""), ("x", "ac")):
        found = (await scene.call("viewer", "GET", "~/checklist", query_string={"q": words}))[1]
        assert ("".join(each["title"] for each in found["items"]), found["total"]) == (titles, 4), words
    kinds = [event["kind"] for event in (await scene.call("viewer", "GET", "~/activity?kind=checklist"))[1]["events"]]
    assert kinds == ["checklist.item_done", *["checklist.item_created"] * 4]
    assert (await scene.call("viewer", "GET", f"~/activity?kind=checklist&person={scene.id_of('owner')}"))[1]["events"] == []


@on_sqlite
async def test_items_and_sections_let_each_other_pass_as_long_as_they_are_neighbours(scene: Scene) -> None:
    """Two who move at once do not undo each other; the same move twice is one; no move is in the way of who rewords."""
    for section, title in (("Tax", "a"), ("Legal", "b"), ("Tax", "c"), ("Tax", "d")):
        await make(scene, "checklist", section=section, title=title)
    a, b, c, d = range(1, 5)

    async def move(lower: int, upper: int, **how: Any) -> int | str:
        status, body = await scene.call("editor", "POST", f"~/checklist/{lower}/raise", json={"above": upper} | how)
        return "".join(each["title"] for each in body["items"]) if status == 200 else status

    assert await move(d, c) == "adcb"
    assert await move(d, c) == "adcb", "a double click"
    assert await move(c, a) == 409, "somebody put another between them"
    assert await move(b, c) == 409, "of another section"
    assert await move(b, a, section=True) == "badc"
    assert await move(b, d, section=True) == "badc", "any of a section's items stands for it"
    assert await move(b, b) == await move(b, 10**9) == 409
    assert await move(10**9, a) == 404
    status, body = await scene.call("owner", "PATCH", f"~/checklist/{d}", json={"title": "D", "version": 1})
    assert (status, body["item"]["version"]) == (200, 2)
    await asyncio.gather(move(c, d), move(d, a))
    assert "".join(each["title"] for each in (await scene.call("viewer", "GET", "~/checklist"))[1]["items"]) in ("bacD", "bDac")
    moved = await scene.events("checklist.item_moved", "checklist.section_moved")
    assert [event.payload for event in moved[:2]] == [{"item_id": d}, {"items": 1}]


async def fill(scene: Scene, **sections: str) -> dict[str, int]:
    """By its letter: an item of each of these sections. They were added in turns, so sections are mixed in the order of their positions."""
    wanted = sorted((index, section, title) for section, titles in sections.items() for index, title in enumerate(titles))
    return {title: (await make(scene, "checklist", section=section, title=title))["id"] for _, section, title in wanted}


async def order_of(scene: Scene) -> str:
    """The sections, each with the letters of its items."""
    items = (await scene.call("viewer", "GET", "~/checklist"))[1]["items"]
    return " ".join(f"{name}:{''.join(each['title'] for each in of)}" for name, of in groupby(items, key=lambda each: each["section"]))


@on_sqlite
async def test_an_item_goes_after_another_in_its_section_or_in_any(scene: Scene) -> None:
    ids = await fill(scene, Legal="abc", Tax="def")

    async def move(title: str, after: str | None, section: str) -> int | str:
        body = {"after": ids[after] if after else None, "section": section}
        status, said = await scene.call("editor", "POST", f"~/checklist/{ids[title]}/move", json=body)
        return f"{said['place']} of {said['of']}, version {said['item']['version']}" if status == 200 else said["code"]

    steps = [
        ("a", "c", "Legal", "3 of 3, version 1", "Legal:bca Tax:def"),
        ("a", "c", "Legal", "3 of 3, version 1", "Legal:bca Tax:def"),
        ("a", None, "Tax", "1 of 4, version 2", "Legal:bc Tax:adef"),  # the last of the list stays where it is
        ("f", "b", "Legal", "2 of 3, version 2", "Legal:bfc Tax:ade"),
        ("b", "e", "Tax", "4 of 4, version 2", "Legal:fc Tax:adeb"),
        ("c", "f", "Tax", "order_moved", "Legal:fc Tax:adeb"),  # it is of the other section
        ("c", "c", "Legal", "order_moved", "Legal:fc Tax:adeb"),
        ("c", "d", "Tax", "3 of 5, version 2", "Legal:f Tax:adceb"),
        ("f", None, "Legal", "1 of 1, version 2", "Legal:f Tax:adceb"),
        ("f", "b", "Tax", "6 of 6, version 3", "Tax:adcebf"),
        ("e", "d", "Legal", "1 of 1, version 2", "Tax:adcbf Legal:e"),  # a section that nothing is in comes after that of the other
        ("b", None, "HR", "1 of 1, version 3", "HR:b Tax:adcf Legal:e"),
        ("b", "a", "HR", "1 of 1, version 3", "Tax:adcf HR:b Legal:e"),
    ]
    for title, after, section, told, order in steps:
        assert (await move(title, after, section), await order_of(scene)) == (told, order), (title, after, section)
    assert (await scene.call("editor", "DELETE", f"~/checklist/{ids['d']}"))[0] == 204
    assert await move("f", "d", "Tax") == "order_moved", "what it was to follow is gone"
    assert await move("d", "a", "Tax") == "not_found"
    for wrong in ({"section": "Tax"}, {"after": None}, {"after": None, "section": " "}, {"after": "1", "section": "Tax"}):
        assert (await scene.call("editor", "POST", f"~/checklist/{ids['a']}/move", json=wrong))[0] == 400
    moves = sum(told[0].isdecimal() for *_, told, _ in steps) - 2
    assert len(await scene.events("checklist.item_moved")) == moves, "none of what changed nothing"


async def test_two_who_move_at_once_both_have_moved_and_one_row_is_written_where_that_is_enough(scene: Scene) -> None:
    ids = await fill(scene, Legal="abcdefgh")
    for who in ("owner", "editor"):
        await scene.client(who)

    async def move(who: str, title: str, after: str | None) -> int:
        body = {"after": ids[after] if after else None, "section": "Legal"}
        return (await scene.call(who, "POST", f"~/checklist/{ids[title]}/move", json=body))[0]

    async def positions() -> dict[str, int]:
        return {each["title"]: each["position"] for each in (await scene.call("viewer", "GET", "~/checklist"))[1]["items"]}

    # The first finds no room between positions that follow each other, so both would number everything anew.
    assert list(await asyncio.gather(move("owner", "a", "c"), move("editor", "h", None))) == [200, 200]
    assert await order_of(scene) == "Legal:hbcadefg"
    before = await positions()
    with counting(scene.resources.database, found := Counted()):
        assert await move("editor", "g", "b") == 200
    assert await order_of(scene) == "Legal:hbgcadef"
    assert [name for name, position in (await positions()).items() if before[name] != position] == ["g"]
    assert len([each for each in found.writing if "UPDATE checklist_items" in each]) == 1
    # In the end there is no room left; then it is made, in one statement too.
    with counting(scene.resources.database, found := Counted()):
        for title in "efaefaefaefaefaefa":
            assert await move("owner", title, "h") == 200
    assert await order_of(scene) == "Legal:hafebgcd"
    assert len([each for each in found.writing if "UPDATE checklist_items" in each]) == 18


@on_sqlite
async def test_a_full_checklist_takes_no_more_and_says_so(scene: Scene) -> None:
    async with scene.resources.database.write() as db:
        now = scene.resources.clock.now()
        row = {"deal_id": scene.deal.id, "section": "Tax", "created_at": now, "updated_at": now}
        db.add_all(ChecklistItem(title=f"{number}", position=number, **row) for number in range(MAX_ITEMS))
    status, body = await scene.call("editor", "POST", "~/checklist", json={"section": "Tax", "title": "one more"})
    assert (status, body["code"], body["room"]) == (409, "checklist_full", 0)
    client = await scene.client("editor")
    page = await (await client.get(f"/deals/{scene.deal.id}/checklist")).get_data(as_text=True)
    assert "This checklist is full: it has 500 items" in page
    assert "Add item" not in page
    assert (await scene.call("editor", "DELETE", "~/checklist/1"))[0] == 204
    answer = await client.post(f"/deals/{scene.deal.id}/checklist/templates", form={"deal": str(scene.deal.id), "template": "tax"})
    page = await (await client.get(answer.headers["Location"])).get_data(as_text=True)
    assert "there is room for 1 more" in page
    assert "Add item" in page
