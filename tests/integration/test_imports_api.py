"""Imports over the API: what is checked, what gets in and exactly once, who may, and what a long file costs the others."""

import asyncio
import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from quart.datastructures import FileStorage
from sqlalchemy import select, update

from app.imports.incoming import ABANDONED_AFTER, delete_abandoned
from app.imports.run import run_import
from app.jobs.run import RunCancelled
from app.models import Deal, Import, ImportPiece, JobRun, User
from tests.fakes import FakeClock
from tests.integration.importing import CSV, GOOD, HEADING, count, deals_of, look, quiet, send
from tests.integration.scene import Scene
from tests.servers.web import ROOT
from worker.jobs import import_file

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

REAL = (ROOT / "app/demo/data/acquisitions.csv").read_bytes()

BAD = (
    HEADING
    + "Nest,Google,2014,$3.2bn,13/01/2014,=1+1\n,Google,2013,$5m,,no target\nPalm,HP,2010,cheap,13/32/2010,x\n"
    + "Onavo,Facebook,2013,,,,,too many\n"
)


async def test_real_export_is_checked_then_imported_once_with_its_rows_to_look_at(scene: Scene) -> None:
    draft = await send(scene, REAL, start=False, name="..%2F..%2Facquisitions.csv")
    assert (draft["state"], draft["filename"], draft["by"]["id"]) == ("draft", "acquisitions.csv", scene.id_of("admin"))
    assert draft["checked"] | {"warnings": 0} == {
        **dict.fromkeys(("updated", "unchanged", "skipped", "refused", "warnings"), 0),
        "rows": 1643,
        "imported": 1643,
        "complete": True,
    }
    assert [column["field"] for column in draft["columns"]][:4] == ["external_ref", "name", "acquirer", "announced_year"]
    assert draft["columns"][1]["samples"] == ["Tellme", "Palm", "Accelio Corporation"]
    assert {"line": 56, "code": "malformed_date", "cells": None}.items() <= draft["warnings"][3].items()
    assert '"4//17/2013" is not a date' in draft["warnings"][3]["message"]
    assert await count(scene.resources.database, *deals_of(scene)) == 0, "a check writes no deal"

    assert (await scene.call("admin", "POST", f"/api/imports/{draft['id']}/start"))[0] == 202
    assert (await scene.call("admin", "POST", f"/api/imports/{draft['id']}/start"))[0] == 409
    told: list[int] = []

    async def progress(done: int, total: int, **_: Any) -> None:
        told.append(done * 100 // total)

    await run_import(scene.resources, draft["id"], progress=progress)
    done = await look(scene, draft["id"])
    assert (done["state"], done["percent"], done["error"]) == ("done", 100, "")
    assert done["counts"] | {"warnings": 17} == {**done["counts"], "rows": 1643, "imported": 1643, "refused": 0, "warnings": 17}
    assert len(told) > 3
    assert told == sorted(told)
    owned = (Deal.import_id == draft["id"], Deal.owner_id == scene.id_of("admin"))
    assert await count(scene.resources.database, *deals_of(scene), *owned) == 1643
    assert await count(scene.resources.database, of=ImportPiece) == 0, "the file is gone after use"
    assert [event.payload["import_id"] for event in await scene.events("import.started", "import.finished")] == [draft["id"]] * 2

    again = await send(scene, REAL, start=False)
    assert (again["checked"]["unchanged"], again["checked"]["imported"]) == (1643, 0)


@sqlite_only
async def test_rows_that_cannot_be_deals_are_left_out_told_and_handed_back(scene: Scene) -> None:
    found = await send(scene, BAD)
    await run_import(scene.resources, found["id"], progress=quiet)
    found = await look(scene, found["id"])
    assert {"imported": 2, "refused": 2, "warnings": 2}.items() <= found["counts"].items()
    assert [(row["line"], row["cells"]) for row in found["refused"]] == [
        (3, ["", "Google", "2013", "$5m", "", "no target"]),
        (5, ["Onavo", "Facebook", "2013", "", "", "", "", "too many"]),
    ]
    assert ["13/32/2010" in row["message"] for row in found["warnings"]] == [False, True]
    client = await scene.client("admin")
    response = await client.get(f"/imports/{found['id']}/problems.csv")
    assert "attachment" in response.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO((await response.get_data(as_text=True)).removeprefix("\ufeff"))))
    assert rows[0] == ["Line", "Problem", "Target", "Acquirer", "Year", "Price", "Date", "Remark"]
    assert [row[0] for row in rows[1:]] == ["3", "5"]
    text = await (await client.get(f"/imports/{found['id']}/problems.csv?kind=warning")).get_data(as_text=True)
    assert '"Price"' in text.replace('""', '"')


@sqlite_only
async def test_cell_that_a_spreadsheet_would_run_is_quoted_in_the_download(scene: Scene) -> None:
    found = await send(scene, HEADING + ',=HYPERLINK("x"),-2,@x,+1,ok\n', start=False)
    text = await (await (await scene.client("admin")).get(f"/imports/{found['id']}/problems.csv")).get_data(as_text=True)
    assert list(csv.reader(io.StringIO(text)))[1][3:] == ['\'=HYPERLINK("x")', "'-2", "'@x", "'+1", "ok"]


@sqlite_only
async def test_columns_are_placed_by_hand(scene: Scene) -> None:
    odd = await send(scene, "Wer,Wen,Wann,Wer\nNest,Google,2014,x\n", start=False)
    assert ([column["field"] for column in odd["columns"]], odd["checked"]) == (["", "", "", ""], None)
    path = f"/api/imports/{odd['id']}"
    assert (await scene.call("admin", "POST", f"{path}/start"))[1]["code"] == "bad_mapping"
    for fields in (["", "", "", ""], ["name", "name", "", ""], ["name"], ["name", "owner_id", "", ""], ["name"] * 4):
        status, problem = await scene.call("admin", "POST", f"{path}/columns", json={"fields": fields})
        assert (status, problem["code"]) == (400, "bad_mapping"), fields
    status, body = await scene.call("admin", "POST", f"{path}/columns", json={"fields": ["name", "acquirer", "announced_year", ""]})
    assert (status, body["import"]["checked"]["imported"]) == (200, 1)
    assert (await scene.call("admin", "POST", f"{path}/start"))[0] == 202
    await run_import(scene.resources, odd["id"], progress=quiet)
    async with scene.resources.database.read() as db:
        deal = await db.scalar(select(Deal).where(Deal.import_id == odd["id"]))
    assert deal is not None
    assert (deal.name, deal.acquirer, deal.announced_year, deal.external_ref) == ("Nest", "Google", 2014, "Google|Nest|2014")
    assert (await scene.call("admin", "POST", f"{path}/columns", json={"fields": ["name", "", "", ""]}))[1]["code"] == "not_a_draft"


async def test_import_that_is_cancelled_keeps_what_is_in_and_goes_on_later_without_doubling(scene: Scene) -> None:
    found = await send(scene, REAL)

    async def cancel_soon(**_: Any) -> None:
        if await count(scene.resources.database, *deals_of(scene)) > 300:
            await scene.call("admin", "POST", f"/api/imports/{found['id']}/cancel")

    async def cancel(done: int, total: int, **counts: Any) -> None:
        await cancel_soon()

    await run_import(scene.resources, found["id"], progress=cancel)
    cancelled = await look(scene, found["id"])
    kept = await count(scene.resources.database, *deals_of(scene))
    assert (cancelled["state"], cancelled["counts"]["imported"]) == ("cancelled", kept)
    assert 300 < kept < 1643
    assert await count(scene.resources.database, of=ImportPiece) == 0
    assert (await scene.call("admin", "POST", f"/api/imports/{found['id']}/cancel"))[1]["code"] == "import_over"
    rest = await send(scene, REAL)
    await run_import(scene.resources, rest["id"], progress=quiet)
    assert (await look(scene, rest["id"]))["counts"]["imported"] == 1643 - kept
    assert await count(scene.resources.database, *deals_of(scene)) == 1643


async def test_run_that_lost_its_import_writes_nothing_more(scene: Scene) -> None:
    """Two workers at one import, as after a silence that was taken for a death: what each wrote is there once."""
    found = await send(scene, REAL)
    other: list[asyncio.Task[Any]] = []

    async def begin_another(done: int, total: int, **_: Any) -> None:
        if not other:
            other.append(asyncio.create_task(run_import(scene.resources, found["id"], progress=quiet)))
        await asyncio.sleep(0)

    await run_import(scene.resources, found["id"], progress=begin_another)
    await asyncio.gather(*other)
    done = await look(scene, found["id"])
    assert (done["state"], done["counts"]["rows"], done["counts"]["imported"]) == ("done", 1643, 1643)
    assert await count(scene.resources.database, *deals_of(scene)) == 1643
    assert len(await scene.events("import.finished")) == 1


@sqlite_only
async def test_operator_who_cancels_the_job_cancels_the_import(scene: Scene) -> None:
    found = await send(scene, REAL)

    class Cancelled:
        payload = {"import_id": found["id"]}

        async def progress(self, *_: Any, **__: Any) -> None:
            raise RunCancelled

    with pytest.raises(RunCancelled):
        await import_file(scene.resources, Cancelled())  # type: ignore[arg-type]
    assert (await look(scene, found["id"]))["state"] == "cancelled"


@sqlite_only
async def test_import_of_somebody_demoted_meanwhile_stops(scene: Scene) -> None:
    """A right that was taken away makes no deals, and owns none."""
    found = await send(scene, REAL)

    async def demote(done: int, total: int, **_: Any) -> None:
        async with scene.resources.database.write() as db:
            await db.execute(update(User).where(User.id == scene.id_of("admin")).values(role="member"))

    await run_import(scene.resources, found["id"], progress=demote)
    async with scene.resources.database.read() as db:
        ended = await db.get_one(Import, found["id"])
    assert (ended.state, ended.error, ended.rows_done) == ("failed", "not_an_administrator", ended.counts["imported"])
    assert await count(scene.resources.database, *deals_of(scene)) == ended.rows_done < 1643


async def test_imports_are_for_administrators_of_their_organisation(scene: Scene) -> None:
    found = await send(scene, BAD, start=False)
    paths = [
        ("GET", "", {}),
        ("POST", "/columns", {"json": {"fields": ["name", "", "", "", "", ""]}}),
        ("POST", "/start", {}),
        ("POST", "/cancel", {}),
        ("GET", "/progress", {}),
    ]
    for who, status, code in (("foreign_admin", 404, "not_found"), ("outsider", 404, "not_found"), ("owner", 403, "forbidden")):
        for method, part, options in paths:
            answer, problem = await scene.call(who, method, f"/api/imports/{found['id']}{part}", **options)
            assert (answer, problem["code"]) == (status, code), (who, part)
            if status == 404:
                missing = (await scene.call(who, method, f"/api/imports/999999{part}", **options))[1]
                assert problem | {"request_id": ""} == missing | {"request_id": ""}, "as one that is not there"
        client = await scene.client(who)
        for part in ("", "/problems.csv"):
            assert (await client.get(f"/imports/{found['id']}{part}")).status_code == status, (who, part)
    for who in ("owner", "editor", "viewer", "stranger"):
        for method in ("GET", "POST"):
            assert (await scene.call(who, method, "/api/imports", headers=CSV))[0] == 403
            assert (await getattr(await scene.client(who), method.lower())("/imports")).status_code == 403
    assert (await scene.call("nobody", "POST", "/api/imports", data=b"x", headers=CSV))[0] == 401
    assert (await scene.call("foreign_admin", "GET", "/api/imports"))[1] == {"imports": [], "next_cursor": None}
    mine = (await scene.call("admin", "GET", "/api/imports"))[1]["imports"]
    assert [each["id"] for each in mine] == [found["id"]]
    assert (await look(scene, found["id"]))["state"] == "draft", "nobody of them changed anything"


@sqlite_only
async def test_what_is_no_file_of_deals_is_refused_in_its_own_words(scene: Scene) -> None:
    for content, headers, status, code in (
        (b"", CSV, 400, "unreadable_file"),
        (b"Target\n", CSV, 400, "unreadable_file"),
        (b"PK\x03\x04\x00\x00\x00\x01", CSV, 400, "unreadable_file"),
        (b"{}", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        (b"x=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "no_file"),
        (b"Target\n" + b"a\n" * 500_001, CSV, 413, "payload_too_large"),
    ):
        answer, problem = await scene.call("admin", "POST", "/api/imports", data=content, headers=headers)
        assert (answer, problem["code"]) == (status, code), content[:20]
    assert await count(scene.resources.database, Import.state != "cancelled", of=Import) == 0
    assert await count(scene.resources.database, of=ImportPiece) == 0
    for each in range(5):
        await send(scene, GOOD, start=False, name=f"{each}.csv")
    answer, problem = await scene.call("admin", "POST", "/api/imports", data=GOOD.encode(), headers=CSV)
    assert (answer, problem["code"]) == (409, "too_many_imports")


@sqlite_only
async def test_form_without_a_script_leads_through_the_whole_import(scene: Scene) -> None:
    client = await scene.client("admin")
    file = FileStorage(io.BytesIO(BAD.encode()), filename="C:\\temp\\<b>deals.csv", name="file")
    response = await client.post("/imports", files={"file": file})
    address = response.headers["Location"]
    page = await (await client.get(address)).get_data(as_text=True)
    assert "&lt;b&gt;deals.csv" in page
    assert 'value="name" selected' in page
    # Other columns than those that were shown are shown first.
    fields = dict(zip([f"field-{n}" for n in range(6)], ["name", "acquirer", "", "", "", ""], strict=True))
    response = await client.post(f"{address}/start", form=fields)
    assert response.headers["Location"] == f"{address}?done=changed"
    response = await client.post(f"{address}/start", form=fields)
    assert response.headers["Location"] == address
    page = await (await client.get(address)).get_data(as_text=True)
    assert "Waiting to begin" in page
    await run_import(scene.resources, int(address.rpartition("/")[2]), progress=quiet)
    page = await (await client.get(address)).get_data(as_text=True)
    assert "Show the 2 imported deals" in " ".join(page.split())
    # Its deals are the list, filtered; what is not of it, and what one may not see, is not in it.
    number = int(address.rpartition("/")[2])
    for path in (f"/deals?import={number}", f"/deals/board?import={number}"):
        shown = await (await client.get(path)).get_data(as_text=True)
        assert sorted(re.findall(r'class="(?:row-link truncate|card-name)" href="[^"]*"[^>]*>([^<]*)', shown)) == ["Nest", "Palm"]
        assert "From C:temp&lt;b&gt;deals.csv" in shown, "it can be taken off again"
        assert f'href="{path.partition("?")[0]}?all" aria-label="Deals of C:temp&lt;b&gt;deals.csv alone: show all"' in shown
    assert (await scene.call("admin", "GET", f"/api/deals?import={number}"))[1]["total"] == 2
    for who in ("owner", "foreign_admin"):
        assert (await scene.call(who, "GET", f"/api/deals?import={number}"))[1]["total"] == 0
        assert "deals.csv" not in await (await (await scene.client(who)).get(f"/deals?import={number}")).get_data(as_text=True)
    assert (await scene.call("admin", "GET", "/api/deals?import=x"))[0] == 400


@sqlite_only
async def test_files_nobody_came_back_to_are_deleted_after_a_day(scene: Scene, clock: FakeClock) -> None:
    draft, started = await send(scene, GOOD, start=False), await send(scene, GOOD)
    clock.advance(ABANDONED_AFTER - timedelta(minutes=1))
    assert await delete_abandoned(scene.resources) == 0
    clock.advance(timedelta(minutes=2))
    assert await delete_abandoned(scene.resources) == 1
    async with scene.resources.database.read() as db:
        states = {each.id: each.state for each in await db.scalars(select(Import))}
        pieces = set(await db.scalars(select(ImportPiece.import_id)))
    assert states == {draft["id"]: "cancelled", started["id"]: "queued"}
    assert pieces == {started["id"]}


@sqlite_only
async def test_import_that_stands_still_is_continued_by_hand(scene: Scene, clock: FakeClock) -> None:
    found = await send(scene, GOOD)
    path = f"/api/imports/{found['id']}/start"
    assert (await scene.call("admin", "POST", path))[0] == 409
    clock.advance(timedelta(minutes=3))
    await scene.clients.pop("admin").post("/api/auth/logout")
    assert (await scene.call("admin", "POST", path))[0] == 202
    assert await count(scene.resources.database, JobRun.name == "import_file", of=JobRun) == 2
