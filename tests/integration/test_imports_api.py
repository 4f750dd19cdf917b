"""Imports over the API: what is checked, what gets in and exactly once, who may, and what a long file costs the others."""

import asyncio
import csv
import io
import re
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import psutil
import pytest
from quart.datastructures import FileStorage
from sqlalchemy import func, select, update

from app.core.database import Database
from app.imports.incoming import ABANDONED_AFTER, delete_abandoned
from app.imports.run import run_import
from app.jobs.run import RunCancelled
from app.models import Deal, Event, Import, ImportPiece, JobRun, User
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_organisation, make_user
from tests.fakes import FakeClock
from tests.integration.scene import Scene
from tests.servers.process import AppProcess, held_directory, remove_directory
from tests.servers.web import ROOT
from tests.waiting import until
from worker.jobs import import_file

REAL = (ROOT / "app/demo/data/acquisitions.csv").read_bytes()
CSV = {"Content-Type": "text/csv"}
HEADING = "Target,Acquirer,Year,Price,Date,Remark\n"
GOOD = HEADING + "Nest,Google,2014,$3.2bn,13/01/2014,home\nWaze,Google,2013,$966m,11/06/2013,maps\n"
BAD = (
    HEADING
    + "Nest,Google,2014,$3.2bn,13/01/2014,=1+1\n,Google,2013,$5m,,no target\nPalm,HP,2010,cheap,13/32/2010,x\n"
    + "Onavo,Facebook,2013,,,,,too many\n"
)
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def send(scene: Scene, content: str | bytes, *, start: bool = True, who: str = "admin", name: str = "deals.csv") -> dict[str, Any]:
    path = f"/api/imports?filename={name}&start={str(start).lower()}"
    status, body = await scene.call(who, "POST", path, data=content if isinstance(content, bytes) else content.encode(), headers=CSV)
    assert status == 202, body
    found: dict[str, Any] = body["import"]
    return found


async def look(scene: Scene, import_id: int, who: str = "admin") -> dict[str, Any]:
    status, body = await scene.call(who, "GET", f"/api/imports/{import_id}")
    assert status == 200, body
    found: dict[str, Any] = body["import"]
    return found


async def quiet(*_: Any, **__: Any) -> None:
    """Nobody is told how far it is."""


async def count(database: Database, *which: Any, of: Any = Deal) -> int:
    async with database.read() as db:
        return await db.scalar(select(func.count()).select_from(of).where(*which)) or 0


def deals_of(scene: Scene) -> Any:
    return Deal.organisation_id == scene.organisation.id, Deal.id != scene.deal.id


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


@sqlite_only
async def test_fifty_megabytes_neither_fill_the_memory_nor_stop_the_others(database: Database, start_web: StartWeb) -> None:
    organisation = await make_organisation(database)
    admin = await make_user(database, organisation, role="admin")
    server = await start_web()
    line = b"%05d,Google," + b"a long story " * 150 + b"\n"

    async def file(megabytes: int) -> AsyncIterator[bytes]:
        yield b"Target,Acquirer,Description\n"
        for start in range(0, megabytes * 500, 100):
            yield b"".join(line % number for number in range(start, start + 100))

    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        await client.post("/api/auth/login", json={"email": admin.email, "password": PASSWORD})
        await client.post("/api/imports?start=false", content=file(1), headers=CSV)
        process = psutil.Process(server.pid)
        before, most, served = process.memory_info().rss, 0, 0
        upload = asyncio.create_task(client.post("/api/imports?start=false", content=file(50), headers=CSV))
        while not upload.done():
            assert (await client.get("/api/me")).status_code == 200
            served += 1
            most = max(most, process.memory_info().rss)
        found = (await upload).json()["import"]
        assert (found["size"] > 48_000_000, found["checked"]["complete"], found["checked"]["rows"]) == (True, False, 5000)
        assert served > 10
        assert most - before < 40_000_000, "less than the file"
        too_large = await client.post("/api/imports", content=file(70), headers=CSV)
        assert (too_large.status_code, too_large.json().get("code")) == (413, "payload_too_large")
        assert "64 MB" in too_large.json()["detail"]


@sqlite_only
@pytest.mark.slow
async def test_import_goes_on_where_a_killed_worker_left_it(database: Database, start_web: StartWeb, environ: dict[str, str]) -> None:
    """Rows with a reference of their own and rows without: each is there once."""
    organisation = await make_organisation(database)
    admin = await make_user(database, organisation, role="admin")
    rows = 6_000
    content = "Target,Acquirer,Reference\n" + "".join(f"T{n},Google,{f'ref {n}' if n % 2 else ''}\n" for n in range(rows))
    server = await start_web()
    directory = held_directory("worker")
    settings = environ | {"PYTHONPATH": str(ROOT)}
    workers = [AppProcess("worker", log=directory / f"log{n}", cwd=directory, env=settings) for n in range(2)]

    async def imported() -> int:
        return await count(database, Deal.organisation_id == organisation.id)

    try:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
            await client.post("/api/auth/login", json={"email": admin.email, "password": PASSWORD})
            answer = await client.post("/api/imports?filename=many.csv", content=content.encode(), headers=CSV)
            assert answer.status_code == 202, answer.text
            path = answer.headers["Location"]
            workers[0].start()

            async def is_under_way() -> bool:
                return await imported() > 500

            await until(is_under_way, within=20)
            assert workers[0].process is not None
            workers[0].process.send_signal(signal.SIGKILL)
            workers[0].process.wait()
            left_at = await imported()
            assert 500 < left_at < rows
            workers[1].start()

            async def is_over() -> bool:
                state: str = (await client.get(path)).json()["import"]["state"]
                return state not in ("queued", "running")

            await until(is_over, within=60)
            found = (await client.get(path)).json()["import"]
    finally:
        for worker in workers:
            worker.kill()
        remove_directory(directory)
    assert (found["state"], found["counts"]["rows"], found["counts"]["imported"]) == ("done", rows, rows)
    assert await imported() == rows
    assert await count(database, Event.kind == "import.finished", of=Event) == 1
