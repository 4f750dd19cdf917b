"""What a list shows, as a file: the same rows, real dates and numbers, cells that run nothing; and back in, nothing changes."""

import csv
import io
import re
from datetime import UTC, date, datetime
from typing import Any

import openpyxl
import pytest
from sqlalchemy import select, update

from app.core.database import Database
from app.imports.mapping import LABELS, LIST_HEADINGS
from app.imports.run import run_import
from app.models import Deal, User
from tests.factories import make_deal
from tests.integration.importing import look, quiet, send
from tests.integration.scene import Scene

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

FORMULA = '=HYPERLINK("http://evil.example","x")'


async def fetch(scene: Scene, path: str, who: str = "owner") -> tuple[Any, bytes]:
    response = await (await scene.client(who)).get(path)
    assert response.status_code == 200, await response.get_data(as_text=True)
    return response, bytes(await response.get_data(as_text=False))


def text_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode().removeprefix("\ufeff"), newline="")))


def sheet_of(data: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data)).active


async def test_findings_are_exported_as_the_page_filters_them(scene: Scene) -> None:
    for title, severity, text in (("=1+1", "high", FORMULA), ("#N/A", "low", "two\nlines \x1b"), ("Third", "low", "'=quoted")):
        body = {"title": title, "severity": severity, "text": text.replace("\x1b", "")}
        assert (await scene.call("editor", "POST", "~/findings", json=body))[0] == 201
    path = f"/deals/{scene.deal.id}/findings"
    response, data = await fetch(scene, f"{path}.xlsx?sort=-number", "viewer")
    assert response.headers["Content-Type"] == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert response.headers["Content-Disposition"] == (
        f"attachment; filename=\"deal-{scene.deal.id}-findings.xlsx\"; filename*=UTF-8''Mojang%20findings.xlsx"
    )
    sheet = sheet_of(data)
    rows = list(sheet.iter_rows())
    assert [cell.value for cell in rows[0]][:6] == ["Number", "Title", "Severity", "Status", "Owner", "Text"]
    assert [[cell.value for cell in row[:3]] for row in rows[1:]] == [[1, "=1+1", "high"], [2, "#N/A", "low"], [3, "Third", "low"]]
    assert {(cell.data_type, cell.value is None) for row in rows for cell in (row[1], row[5])} == {("s", False)}, (
        "text, whatever it looks like"
    )
    assert (rows[1][5].value, rows[2][5].value, rows[3][5].value) == (FORMULA, "two\nlines ", "''=quoted")
    assert isinstance(rows[1][7].value, datetime)
    assert (sheet.title, sheet.freeze_panes, sheet.auto_filter.ref) == ("Findings", "A2", "A1:J4")
    assert sheet.column_dimensions["F"].width == 80
    _, data = await fetch(scene, f"{path}.csv?severity=low&q=Third")
    assert [row[:3] for row in text_rows(data)] == [["Number", "Title", "Severity"], ["3", "Third", "low"]]
    assert text_rows(data)[1][5] == "''=quoted"
    page = await (await (await scene.client("viewer")).get(f"{path}?severity=low")).get_data(as_text=True)
    assert f'href="{path}.xlsx?severity=low"' in page
    assert f'href="{path}.csv?severity=low"' in page


async def test_checklist_and_activity_are_workbooks_too(scene: Scene) -> None:
    body = {"section": "Legal", "title": "@import", "due_on": "2026-12-01", "owner_id": scene.id_of("owner")}
    assert (await scene.call("editor", "POST", "~/checklist", json=body))[0] == 201
    path = f"/deals/{scene.deal.id}"
    sheet = sheet_of((await fetch(scene, f"{path}/checklist.xlsx"))[1])
    assert [cell.value for cell in sheet[2]][:3] == ["Legal", "@import", "no"]
    assert sheet["E2"].value == datetime(2026, 12, 1)  # noqa: DTZ001  # a cell knows no zone
    assert sheet["E2"].number_format == "yyyy-mm-dd"
    assert text_rows((await fetch(scene, f"{path}/checklist.csv?state=open"))[1])[1][1:5] == ["'@import", "no", "", "2026-12-01"]
    assert len(text_rows((await fetch(scene, f"{path}/checklist.csv?state=done"))[1])) == 1
    sheet = sheet_of((await fetch(scene, f"{path}/activity.xlsx?kind=checklist"))[1])
    assert [cell.value for cell in sheet[1]] == ["id", "at", "kind", "what", "by", "by_id", "about", "about_id"]
    assert (sheet["C2"].value, isinstance(sheet["B2"].value, datetime), sheet["F2"].value) == (
        "checklist.item_created",
        True,
        scene.id_of("editor"),
    )


async def test_only_who_sees_it_exports_it(scene: Scene) -> None:
    for page in ("findings", "checklist", "activity"):
        for ending in ("csv", "xlsx"):
            path = f"/deals/{scene.deal.id}/{page}.{ending}"
            for who, status in (("stranger", 404), ("outsider", 404), ("viewer", 200), ("nobody", 302)):
                assert (await (await scene.client(who)).get(path)).status_code in ((status,) if status != 302 else (302, 303)), (who, path)
    for who, count in (("stranger", 0), ("outsider", 0), ("viewer", 1), ("admin", 1)):
        assert len(text_rows((await fetch(scene, "/deals.csv", who))[1])) == 1 + count, who
        assert sheet_of((await fetch(scene, "/deals.xlsx", who))[1]).max_row == 1 + count, who


async def fill(scene: Scene) -> None:
    """Deals of every kind, also those an import would never make."""
    database: Database = scene.resources.database
    every: list[dict[str, Any]] = [
        {
            "name": "=Formula",
            "acquirer": "@Buyer",
            "external_ref": "-7",
            "price_usd": 1_234,
            "announced_on": date(2014, 4, 3),
            "announced_year": 2014,
        },
        {
            "name": "'=Quoted twice",
            "acquirer": "  ",
            "tagline": "+1",
            "city": "São Paulo",
            "homepage": "http://a.example, http://b.example",
        },
        {"name": "Two  spaces\u200b", "acquirer": "", "external_ref": "two  spaces", "price_usd": 12_500_000},
        {"name": "#N/A", "acquirer": "-", "terms": "n/a", "announced_on": date(1999, 12, 31), "founded_year": 1985},
        {"name": "Zahl", "acquirer": "00123", "external_ref": "00123", "categories": "a, b", "price_usd": 0},
        {"name": "Same", "acquirer": "Same", "announced_year": 2014},
        {"name": "Same", "acquirer": "Same", "announced_year": 2014},
    ]
    for facts in every:
        deal = await make_deal(database, scene.organisation, owner=scene.users["owner"], name=str(facts["name"]))
        async with database.write() as db:
            await db.execute(update(Deal).where(Deal.id == deal.id).values(**facts))


async def state_of(scene: Scene) -> list[Any]:
    async with scene.resources.database.read() as db:
        deals = await db.scalars(select(Deal).where(Deal.organisation_id == scene.organisation.id).order_by(Deal.id))
        return [{column.name: getattr(deal, column.name) for column in Deal.__table__.columns} for deal in deals]


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
async def test_list_of_deals_that_is_imported_again_changes_nothing(scene: Scene, ending: str) -> None:
    await fill(scene)
    before = await state_of(scene)
    _, data = await fetch(scene, f"/deals.{ending}?archived=all&sort=name", "admin")
    if ending == "csv":
        assert text_rows(data)[0] == list(LIST_HEADINGS)
    else:
        sheet = sheet_of(data)
        assert [cell.value for cell in sheet[1]] == list(LIST_HEADINGS)
        column = {cell.value: cell.column for cell in sheet[1]}
        row = next(row for row in sheet.iter_rows(min_row=2) if row[0].value == "=Formula")
        assert row[0].data_type == "s"
        assert row[column[LABELS["announced_on"]] - 1].value == datetime(2014, 4, 3)  # noqa: DTZ001  # a cell knows no zone
        assert row[column[LABELS["price_usd"]] - 1].value == 1_234
    found = await send(scene, data, name=f"deals.{ending}")
    await run_import(scene.resources, found["id"], progress=quiet)
    found = await look(scene, found["id"])
    assert {"imported": 0, "updated": 0, "refused": 0, "unchanged": len(before)}.items() <= found["counts"].items(), found["refused"]
    assert await state_of(scene) == before


async def test_our_references_name_deals_of_this_organisation_alone(scene: Scene) -> None:
    elsewhere = await make_deal(scene.resources.database, scene.elsewhere, owner=scene.users["outsider"], name="Theirs")
    found = await send(scene, f"Target,Reference\nMine,holdfast:{scene.deal.id}\nStolen,holdfast:{elsewhere.id}\n")
    await run_import(scene.resources, found["id"], progress=quiet)
    async with scene.resources.database.read() as db:
        names = {deal.id: (deal.name, deal.organisation_id) for deal in await db.scalars(select(Deal))}
    assert names[scene.deal.id][0] == "Mine"
    assert names[elsewhere.id] == ("Theirs", scene.elsewhere.id)
    assert ("Stolen", scene.organisation.id) in names.values()


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
async def test_rows_left_out_come_back_as_they_were_meant(scene: Scene, ending: str) -> None:
    """Corrected by hand and nothing else: formulas, quotes, dates and prices whose meaning only the whole column told."""
    content = (
        "Target;Buyer;Date;Price;Description\n"
        "Good;Acme;9/15/2014;12,5 Mio;fine\n"
        ";=Acme;3/4/2014;1,234;=1+1\n"
        ";'=Acme;03/04/14;1.234;'=2\n"
        ";''+Acme;12/11/2014;1.234.567;'plain\n"
    )
    found = await send(scene, content)
    await run_import(scene.resources, found["id"], progress=quiet)
    assert (await look(scene, found["id"]))["counts"]["refused"] == 3
    response, data = await fetch(scene, f"/imports/{found['id']}/problems.{ending}", "admin")
    assert re.search(r"filename\*=UTF-8''deals%20rows%20left%20out\." + ending, response.headers["Content-Disposition"])
    if ending == "csv":
        rows = text_rows(data)
        for number, row in enumerate(rows[1:], start=1):
            row[2] = f"T{number}"
        written = io.StringIO()
        csv.writer(written).writerows(rows)
        corrected = written.getvalue().encode()
    else:
        book = openpyxl.load_workbook(io.BytesIO(data))
        for number in range(1, 4):
            book.active.cell(number + 1, 3, f"T{number}")
        out = io.BytesIO()
        book.save(out)
        corrected = out.getvalue()
    again = await send(scene, corrected, start=False)
    assert [column["field"] for column in again["columns"]] == ["", "", "name", "acquirer", "announced_on", "price_usd", "tagline"]
    assert again["date_questions"] == []
    assert (await scene.call("admin", "POST", f"/api/imports/{again['id']}/start"))[0] == 202
    await run_import(scene.resources, again["id"], progress=quiet)
    async with scene.resources.database.read() as db:
        deals = await db.scalars(select(Deal).where(Deal.import_id == again["id"]).order_by(Deal.name))
        facts = [(deal.name, deal.acquirer, deal.announced_on, deal.price_usd, deal.tagline) for deal in deals]
    # An apostrophe before a formula is what protects it, in any file, and is taken off once; every other one stays.
    assert facts == [
        ("T1", "=Acme", date(2014, 3, 4), 1, "=1+1"),
        ("T2", "=Acme", date(2014, 3, 4), 1_234, "=2"),
        ("T3", "'+Acme", date(2014, 12, 11), 1_234_567, "'plain"),
    ]


async def test_long_list_is_exported_whole(scene: Scene) -> None:
    async with scene.resources.database.write() as db:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        common = {
            "organisation_id": scene.organisation.id,
            "owner_id": scene.id_of("owner"),
            "created_at": now,
            "updated_at": now,
            "version": 1,
        }
        db.add_all([Deal(name=f"Deal {number:04}", **common) for number in range(1203)])
    names = [row[0] for row in text_rows((await fetch(scene, "/deals.csv?sort=name&q=Deal"))[1])[1:]]
    assert names == [f"Deal {number:04}" for number in range(1203)]
    assert sheet_of((await fetch(scene, "/deals.xlsx?q=Deal"))[1]).max_row == 1204


async def test_name_of_a_file_is_one(scene: Scene) -> None:
    async with scene.resources.database.write() as db:
        await db.execute(update(Deal).where(Deal.id == scene.deal.id).values(name='../a"b\\c\r\n: Zoë; x' + "y" * 190))
        await db.execute(update(User).values(name="x"))
    disposition = (await fetch(scene, f"/deals/{scene.deal.id}/findings.csv"))[0].headers["Content-Disposition"]
    assert re.fullmatch(
        r"attachment; filename=\"deal-\d+-findings\.csv\"; filename\*=UTF-8''a%20b%20c%20Zo%C3%AB%3B%20xy+\.csv", disposition
    )
