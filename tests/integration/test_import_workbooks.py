"""A workbook over the API: its sheets, its dates that are asked about, and what a long one costs the others."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import openpyxl
import psutil
import pytest
from quart.datastructures import FileStorage
from sqlalchemy import select, update

from app.core import subprocesses
from app.core.database import Contended
from app.core.time_budget import set_time_budget
from app.imports import files, survey_process
from app.imports.files import WORKBOOK, spool
from app.imports.run import run_import
from app.models import Deal, Import, ImportPiece
from tests.integration.importing import count, look, quiet, send
from tests.integration.scene import Scene
from tests.waiting import until

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HEADINGS = ["Target", "Buyer", "Announced", "Price"]


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


TWO = workbook(
    Notes=[["hello"]],
    Open=[["Our deals"], [], HEADINGS, ["Nest", "Google", "3/4/2014", 3_200_000_000], ["", "Google", "5/6/2014", 1]],
    Proven=[HEADINGS, ["Waze", "Google", "6/11/2013", 966_000_000], ["Palm", "HP", "4/28/2010", 1_200_000_000]],
)


async def deals_of(scene: Scene, import_id: int) -> list[tuple[Any, ...]]:
    async with scene.resources.database.read() as db:
        deals = await db.scalars(select(Deal).where(Deal.import_id == import_id).order_by(Deal.id))
        return [(deal.name, deal.acquirer, deal.announced_on, deal.price_usd) for deal in deals]


async def test_workbook_is_looked_at_asked_about_and_imported(scene: Scene) -> None:
    draft = await send(scene, TWO, start=False, name="deals.csv")
    assert (draft["sheet"], draft["encoding"], draft["size"]) == ("Open", "xlsx", len(TWO)), "what it is, its content says"
    assert [(each["name"], each["empty"]) for each in draft["sheets"]] == [("Notes", False), ("Open", False), ("Proven", False)]
    assert [(row["line"], row["message"]) for row in draft["refused"]] == [(5, '"Target" is empty: the target is missing')]
    [question] = draft["date_questions"]
    assert (question["column"], question["kind"], question["chosen"]) == (2, "open", "")
    assert question["examples"][0] == {"text": "3/4/2014", "day_first": "3 April 2014", "month_first": "4 March 2014"}
    path = f"/api/imports/{draft['id']}"
    status, problem = await scene.call("admin", "POST", f"{path}/start")
    assert (status, problem["code"]) == (400, "date_order_needed")
    assert "date_order=day_first or date_order=month_first" in problem["detail"]
    assert [each["heading"] for each in problem["columns"]] == ["Announced"]
    fields = [column["field"] for column in draft["columns"]]
    for orders in (["", "", "dmy", ""], ["", "", "day_first"]):
        assert (await scene.call("admin", "POST", f"{path}/columns", json={"fields": fields, "date_orders": orders}))[0] == 400
    status, body = await scene.call("admin", "POST", f"{path}/columns", json={"fields": fields, "date_orders": ["", "", "month_first", ""]})
    assert (status, body["import"]["date_questions"][0]["chosen"]) == (200, "month_first")
    assert (await scene.call("admin", "POST", f"{path}/columns", json={"fields": fields}))[1]["import"]["date_questions"][0]["chosen"]
    assert (await scene.call("admin", "POST", f"{path}/start"))[0] == 202
    await run_import(scene.resources, draft["id"], progress=quiet)
    done = await look(scene, draft["id"])
    assert (done["state"], done["percent"], done["counts"]["imported"], done["counts"]["refused"]) == ("done", 100, 1, 1)
    assert await deals_of(scene, draft["id"]) == [("Nest", "Google", date(2014, 3, 4), 3_200_000_000)]
    assert await count(scene.resources.database, of=ImportPiece) == 0, "neither the workbook nor its sheet stays"


async def test_another_sheet_is_chosen(scene: Scene) -> None:
    draft = await send(scene, TWO, start=False)
    path = f"/api/imports/{draft['id']}"
    status, problem = await scene.call("admin", "POST", f"{path}/sheet", json={"sheet": "Nope"})
    assert (status, problem["code"]) == (400, "bad_mapping")
    status, problem = await scene.call("admin", "POST", f"{path}/sheet", json={"sheet": "Notes"})
    assert (status, problem["code"]) == (400, "unreadable_file"), "it has no rows; the draft stays"
    assert (await scene.call("foreign_admin", "POST", f"{path}/sheet", json={"sheet": "Proven"}))[0] == 404
    assert (await scene.call("owner", "POST", f"{path}/sheet", json={"sheet": "Proven"}))[0] == 403
    status, body = await scene.call("admin", "POST", f"{path}/sheet", json={"sheet": "Proven"})
    assert (status, body["import"]["sheet"], body["import"]["date_questions"]) == (200, "Proven", [])
    assert body["import"]["columns"][2]["date_order"] == "month_first"
    assert (await scene.call("admin", "POST", f"{path}/start"))[0] == 202
    assert (await scene.call("admin", "POST", f"{path}/sheet", json={"sheet": "Open"}))[0] == 409
    await run_import(scene.resources, draft["id"], progress=quiet)
    assert [row[:3] for row in await deals_of(scene, draft["id"])] == [
        ("Waze", "Google", date(2013, 6, 11)),
        ("Palm", "HP", date(2010, 4, 28)),
    ]


async def test_sheet_and_order_are_said_with_the_file(scene: Scene) -> None:
    headers = {"Content-Type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}

    async def post(query: str) -> tuple[int, Any]:
        return await scene.call("admin", "POST", f"/api/imports?{query}", data=TWO, headers=headers)

    status, problem = await post("sheet=Open")
    assert (status, problem["code"]) == (400, "date_order_needed")
    assert (await post("sheet=Open&date_order=dmy"))[1]["code"] == "bad_date_order"
    assert (await post("sheet=Proven&date_order=day_first"))[1]["code"] == "bad_date_order"
    assert (await post("sheet=Gone"))[1]["code"] == "unreadable_file"
    status, body = await post("sheet=Open&date_order=announced=day_first")
    assert (status, body["import"]["state"]) == (202, "queued")
    await run_import(scene.resources, body["import"]["id"], progress=quiet)
    assert (await deals_of(scene, body["import"]["id"]))[0][2] == date(2014, 4, 3)
    assert await count(scene.resources.database, Import.state.in_(("draft", "arriving")), of=Import) == 0, "what was refused left nothing"


async def test_run_that_was_cut_off_goes_on_in_the_sheet(scene: Scene) -> None:
    rows = [[f"T{n}", "B", "9/15/2014", n] for n in range(1_200)]
    found = await send(scene, workbook(Deals=[HEADINGS, *rows]))

    async def die(done: int, total: int, **_: Any) -> None:
        assert 0 < done <= total
        raise Contended

    with pytest.raises(Contended):
        await run_import(scene.resources, found["id"], progress=die)
    async with scene.resources.database.write() as db:
        await db.execute(update(Import).values(state="running", error=""))
    # Its pieces go with its end; here the process died instead.
    if not await count(scene.resources.database, of=ImportPiece):
        pytest.fail("the file went with an error that another run can mend")
    await run_import(scene.resources, found["id"], progress=quiet)
    assert [row[0] for row in await deals_of(scene, found["id"])] == [f"T{n}" for n in range(1_200)]


async def test_form_without_a_script_asks_for_sheet_and_order(scene: Scene) -> None:
    client = await scene.client("admin")
    file = FileStorage(io.BytesIO(TWO), filename="deals.xlsx", name="file")
    address = (await client.post("/imports", files={"file": file})).headers["Location"]
    page = await (await client.get(address)).get_data(as_text=True)
    assert "Day or month first?" in page
    assert '<option value="Open" selected>' in page
    fields = dict(zip([f"field-{n}" for n in range(4)], ["name", "acquirer", "announced_on", "price_usd"], strict=True))
    response = await client.post(f"{address}/start", form=fields)
    assert response.status_code == 400
    assert "Day or month first?" in await response.get_data(as_text=True)
    response = await client.post(f"{address}/start", form=fields | {"order-2": "day_first"})
    assert response.headers["Location"] == f"{address}?done=changed"
    response = await client.post(f"{address}/sheet", form={"sheet": "Proven"})
    assert response.headers["Location"] == f"{address}?done=sheet"
    page = await (await client.get(address)).get_data(as_text=True)
    assert "Day or month first?" not in page
    assert "month/day/year" in page
    response = await client.post(f"{address}/sheet", form={"sheet": "Notes"})
    assert response.status_code == 400


async def test_survey_that_takes_too_long_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocesses, "TIMEOUT_SECONDS", 0)
    status, problem = await scene.call("admin", "POST", "/api/imports", data=TWO, headers={"Content-Type": "text/csv"})
    assert (status, problem["code"]) == (400, "unreadable_file")
    assert "too much memory or time" in problem["detail"]
    assert await count(scene.resources.database, of=ImportPiece) == 0


async def test_survey_has_none_of_our_secrets_and_ends_with_its_request(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hostile workbook does, it does in a process that knows nothing and outlives nobody."""
    monkeypatch.setenv("SECRET_KEY", "a secret of the web process")

    async def chunks() -> AsyncIterator[bytes]:
        yield workbook(Deals=[HEADINGS, *[[f"T{n}", "B", "9/15/2014", n] for n in range(5_000)]])

    me, found = psutil.Process(), list[psutil.Process]()

    async def is_there() -> bool:
        found.extend(each for each in me.children() if "app.imports.survey_process" in each.cmdline())
        return bool(found)

    async def is_gone() -> bool:
        return not found[0].is_running()

    with await spool(chunks()) as file:
        upload = asyncio.create_task(survey_process.survey(file))
        await until(is_there, within=20)
        assert set(found[0].environ()) <= {"PYTHONPATH", "PATH", "PYTHONIOENCODING", "PYTHONDONTWRITEBYTECODE", "LC_CTYPE"}
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        await until(is_gone, within=20)


async def test_workbook_is_kept_beside_its_sheet_until_the_end(scene: Scene) -> None:
    draft = await send(scene, TWO, start=False)
    assert await count(scene.resources.database, ImportPiece.number >= WORKBOOK, of=ImportPiece) == 1
    assert await count(scene.resources.database, ImportPiece.number < WORKBOOK, of=ImportPiece) == 1
    assert (await scene.call("admin", "POST", f"/api/imports/{draft['id']}/cancel"))[0] == 200
    assert await count(scene.resources.database, of=ImportPiece) == 0


async def test_file_of_many_pieces_has_time_for_each_of_them(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request may wait for the database in all is used up long before a large file is stored on a busy machine."""
    draft = await send(scene, TWO, start=False)
    monkeypatch.setattr(files, "PIECE", 64)
    async with files.local_copy(scene.resources.database, draft["id"], first=WORKBOOK) as file:
        set_time_budget(0.0)
        try:
            await files.delete_file(scene.resources.database, draft["id"])
            await files.store_file(scene.resources.database, draft["id"], file, first=WORKBOOK)
            async with files.local_copy(scene.resources.database, draft["id"], first=WORKBOOK) as copy:
                assert copy.read() == TWO
        finally:
            set_time_budget(None)
