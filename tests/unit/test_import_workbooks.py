"""Workbooks: which sheet, which rows, what a cell is; and the ones that are made to hurt."""

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
import pytest
from openpyxl.chart import BarChart
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from app.core.errors import PayloadTooLarge
from app.imports import sheet_scan, survey_process, workbook_cells, workbooks
from app.imports import survey as surveys
from app.imports.layout import layout_of
from app.imports.mapping import guess_fields
from app.imports.presentation import columns_of
from app.imports.reader import Record, SheetTable
from app.imports.sheet_scan import scan_sheet
from app.imports.survey import Survey, survey_file
from app.imports.unreadable import UnreadableFile
from app.imports.workbook_cells import Cells
from tests.servers.web import ROOT

HEADINGS = ["Target", "Buyer", "Date", "Price"]


def saved(book: Any) -> io.BytesIO:
    file = io.BytesIO()
    book.save(file)
    return file


def book_of(*rows: list[Any], title: str = "Deals") -> Any:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    return book


def read(book: Any, sheet: str | None = None) -> tuple[Survey, list[Record]]:
    written = io.BytesIO()
    found = survey_file(saved(book) if not isinstance(book, io.BytesIO) else book, written, sheet=sheet)
    table = SheetTable(written)
    assert table.headings == found.headings
    return found, [record for batch in table.batches() for record in batch.records]


def test_cells_are_told_so_that_nobody_can_misread_them() -> None:
    row = ["A", "B", datetime(2014, 9, 15), 1234.567]  # noqa: DTZ001  # a cell knows no zone
    book = book_of(HEADINGS, row, ["'=x", True, datetime(2014, 9, 15, 10, 30), 12_500_000], ["C", "#REF!", time(9, 5), 1e21])  # noqa: DTZ001
    book.active.append([123, "=1/0", date(2014, 9, 15), 0.5])
    book.active["A5"].number_format = "00000"
    book.active["D5"].number_format = "#,##0.00 [$€-407]"
    book.active.append(["D", "x", "15/09/2014", -5])
    _, records = read(book)
    assert [record.cells for record in records] == [
        ["A", "B", "2014-09-15", "1234.5670"],
        ["=x", "TRUE", "2014-09-15 10:30:00", "12500000"],
        ["C", "", "09:05:00", "1000000000000000000000"],
        ["00123", "", "2014-09-15", "0.5 EUR"],
        ["D", "x", "15/09/2014", "-5"],
    ]
    assert [record.line for record in records] == [2, 3, 4, 5, 6]


def test_sheet_that_looks_like_deals_is_taken_unless_one_is_named() -> None:
    book = book_of(["Read", "me"], ["first", "please"], title="Notes")
    deals = book.create_sheet("Deals")
    for row in (["Report of 2014"], [], HEADINGS, ["Nest", "Google"], [], ["Waze", "Google", None, 5], [None, " "]):
        deals.append(row)
    book.create_sheet("Empty")
    old = book.create_sheet("Old")
    old.append(HEADINGS)
    old.append(["Palm", "HP"])
    old.sheet_state = "hidden"
    book.create_chartsheet("Chart").add_chart(BarChart())
    found, records = read(book)
    assert found.sheet == "Deals"
    assert [(each["name"], each["hidden"], each["empty"]) for each in found.sheets] == [
        ("Notes", False, False),
        ("Deals", False, False),
        ("Empty", False, True),
        ("Old", True, False),
    ]
    assert [(record.line, record.cells) for record in records] == [(4, ["Nest", "Google", "", ""]), (6, ["Waze", "Google", "", "5"])]
    assert read(book, "Old")[1][0].cells[0] == "Palm"
    with pytest.raises(UnreadableFile, match=r'no sheet "Nope"\. The sheets are: Notes, Deals, Empty, Old'):
        read(book, "Nope")
    with pytest.raises(UnreadableFile, match="The sheet is empty"):
        read(book, "Empty")
    with pytest.raises(UnreadableFile, match="The workbook is empty"):
        read(openpyxl.Workbook())
    with pytest.raises(UnreadableFile, match="no rows below"):
        read(book_of(HEADINGS))


def test_what_a_sheet_claims_of_its_size_is_not_believed() -> None:
    book = book_of(HEADINGS, ["Nest", "Google"])
    book.active["XFD1048576"].number_format = "0.00"
    file = saved(book)
    found, records = read(file)
    assert (found.headings, len(records)) == (HEADINGS, 1)


def test_merged_cells_say_the_same_for_every_row_they_cover() -> None:
    book = book_of(["Our deals"], HEADINGS, ["A", "Google"], ["B"], ["C"], ["D", "HP"])
    book.active.merge_cells("A1:D1")
    book.active.merge_cells("B3:B5")
    book.active.row_dimensions[4].hidden = True
    assert [record.cells[:2] for record in read(book)[1]] == [["A", "Google"], ["B", "Google"], ["C", "Google"], ["D", "HP"]]


def test_evidence_is_gathered_over_all_rows_and_serials_count_from_the_books_year() -> None:
    rows = [[f"T{n}", "B", "3/4/2014", 1] for n in range(700)]
    found, _ = read(book_of(HEADINGS, *rows, ["Last", "B", "9/15/2014", 1]))
    assert found.evidence[2]["orders"] == {"month_first": (702, "9/15/2014")}
    assert found.is_1904 is False
    json.dumps(found.as_dict())


def rewritten(file: io.BytesIO, change: Callable[[dict[str, bytes]], None]) -> io.BytesIO:
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out


SHEET = "xl/worksheets/sheet1.xml"
ENTITIES = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def hostile(name: str, data: bytes) -> io.BytesIO:
    return rewritten(saved(book_of(HEADINGS, ["Nest", "Google"])), lambda parts: parts.update({name: data}))


def with_strings(data: bytes) -> io.BytesIO:
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    part = b'<Override PartName="/xl/sharedStrings.xml" ContentType="%s"/>' % kind

    def change(parts: dict[str, bytes]) -> None:
        parts["xl/sharedStrings.xml"] = data
        parts["[Content_Types].xml"] = re.sub(rb"<Override[^>]*sharedStrings[^>]*/>", b"", parts["[Content_Types].xml"]).replace(
            b"</Types>", part + b"</Types>"
        )

    return rewritten(saved(book_of(HEADINGS, ["Nest", "Google"])), change)


def sheet_xml(inside: str) -> bytes:
    return (
        f'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{inside}</sheetData></worksheet>'.encode()
    )


@pytest.mark.parametrize(
    "file",
    [
        lambda: hostile(SHEET, ENTITIES + sheet_xml('<row r="1"><c r="A1" t="str"><v>&b;</v></c></row>')),
        lambda: with_strings(b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><sst>&a;</sst>'),
        lambda: with_strings(ENTITIES + b"<sst>&b;</sst>"),
        lambda: hostile("xl/workbook.xml", ENTITIES + b"<workbook>&b;</workbook>"),
        lambda: hostile(SHEET, b"<worksheet><sheetData><row"),
        lambda: hostile(SHEET, sheet_xml('<row r="1"><c r="A1" t="s"><v>999999</v></c></row>')),
        lambda: hostile(SHEET, sheet_xml('<row r="x"><c r="A1"><v>1</v></c></row>')),
        lambda: hostile(SHEET, sheet_xml('<row r="1"><c r="ZZZZ1"><v>1</v></c></row>')),
        lambda: hostile("xl/styles.xml", b"\x00\x01"),
        lambda: hostile("[Content_Types].xml", b"<Types/>"),
        lambda: hostile("xl/bomb.bin", bytes(60 << 20)),
        lambda: io.BytesIO(saved(book_of(HEADINGS)).getvalue()[:2000]),
        lambda: io.BytesIO(b"PK\x03\x04" + bytes(100)),
        lambda: io.BytesIO(b"PK\x05\x06" + bytes(18)),
    ],
)
def test_workbook_that_is_broken_or_made_to_hurt_is_refused_in_a_sentence(file: Callable[[], io.BytesIO]) -> None:
    with pytest.raises(UnreadableFile) as refused:
        read(file())
    assert refused.value.detail.endswith(".")
    assert "save" in refused.value.detail.lower()


def test_row_number_of_a_liar_is_no_endless_loop() -> None:
    inside = '<row r="1"><c r="A1" t="str"><v>Target</v></c></row><row r="2"><c r="A2" t="str"><v>A</v></c></row>'
    _, records = read(hostile(SHEET, sheet_xml(inside + '<row r="99999999999"><c r="A99999999999" t="str"><v>B</v></c></row>')))
    assert [record.cells for record in records] == [["A"]]


def test_archive_says_how_much_it_holds_and_is_held_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    many = rewritten(saved(book_of(HEADINGS, ["A"])), lambda parts: parts.update({f"xl/x{n}": b"" for n in range(workbooks.MAX_ENTRIES)}))
    with pytest.raises(UnreadableFile, match="unpacks to more"):
        read(many)
    bounds = {"MAX_SHEET_SIZE": 100}, {"MAX_PART_SIZE": 100}, {"MAX_TOTAL_SIZE": 2000}, {"SMALL_PART": 9, "MAX_RATIO": 1}
    for each in bounds:
        with monkeypatch.context() as patch:
            for name, value in each.items():
                patch.setattr(workbooks, name, value)
            with pytest.raises(UnreadableFile, match="unpacks to more"):
                read(book_of(HEADINGS, ["A"]))


def test_archive_with_a_name_twice_or_a_password_is_refused() -> None:
    """Two readers could see two different files in it."""
    twice = saved(book_of(HEADINGS, ["A"]))
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(SHEET, b"<worksheet/>")
    locked = bytearray(saved(book_of(HEADINGS, ["A"])).getvalue())
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    for file in (twice, io.BytesIO(locked)):
        with pytest.raises(UnreadableFile, match="unpacks to more"):
            read(file)


def test_sheet_has_as_many_rows_as_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "MAX_LINES", 3)
    assert len(read(book_of(HEADINGS, *[["A"]] * 3))[1]) == 3
    with pytest.raises(PayloadTooLarge):
        read(book_of(HEADINGS, *[["A"]] * 4))
    monkeypatch.setattr(surveys, "MAX_SHEET_SIZE", 30)
    with pytest.raises(PayloadTooLarge, match="more text"):
        read(book_of(HEADINGS, ["A" * 30]))
    monkeypatch.setattr(surveys, "MAX_COLUMNS", 3)
    for file in (saved(book_of(HEADINGS, ["A"])), io.BytesIO(b"Target,Buyer,City,Price\nA,B,C,1\n")):
        with pytest.raises(PayloadTooLarge, match="columns"):
            survey_file(file, io.BytesIO())


def test_survey_has_limits_of_memory_and_time() -> None:
    asked = "print(r.getrlimit(r.RLIMIT_AS), r.getrlimit(r.RLIMIT_CPU))"
    code = f"from app.imports import survey_process as s; import resource as r; s._limit(); {asked}"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    most = (survey_process.MEMORY_BYTES,) * 2, (survey_process.CPU_SECONDS,) * 2
    assert found.split() == f"{most[0]} {most[1]}".split()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet"}, "OpenDocument spreadsheet"),
        ({"mimetype": b"application/vnd.oasis.opendocument.text"}, "no spreadsheet"),
        ({"Index/Document.iwa": b""}, "Numbers spreadsheet"),
        ({"xl/workbook.bin": b"", "[Content_Types].xml": b""}, "binary Excel workbook"),
        ({"word/document.xml": b"", "[Content_Types].xml": b""}, "Word document"),
        ({"deals.csv": b"Target"}, "ZIP archive"),
    ],
)
def test_archive_of_something_else_is_called_by_its_name(parts: dict[str, bytes], said: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(UnreadableFile, match=said) as refused:
        read(file)
    assert ".xlsx" in refused.value.detail


def test_reader_of_workbooks_takes_no_entities() -> None:
    assert openpyxl.DEFUSEDXML, "install defusedxml: without it openpyxl expands entities, and a small file fills the memory"


def mixed() -> io.BytesIO:
    """Cells of every kind, and numbers in francs among dollars."""
    noon = datetime(2014, 9, 15)  # noqa: DTZ001  # a cell knows no zone
    book = book_of(HEADINGS, ["A", True, noon, 1234.5], ["B", "#N/A", time(9, 5), 7], [], ["C", None, timedelta(hours=30), 8])
    for row in range(1, 40):
        book.active.append([f"T{row}", "x" * row, date(2014, 1, 1 + row % 28), row * 1.5])
    for row in (3, 20, 21):
        book.active[f"D{row}"].number_format = '#,##0.00 "CHF"'
    book.active["A30"], book.active["A30"].number_format = 42, "00000"
    book.active["B31"] = " '=x "
    return saved(book)


@pytest.mark.parametrize("is_1904", [False, True])
def test_both_readers_of_cells_say_the_same(is_1904: bool) -> None:
    file = mixed()
    if is_1904:
        book = openpyxl.load_workbook(file)
        book.epoch = CALENDAR_MAC_1904
        file = saved(book)
    cells = Cells(file)
    quick, slow = list(cells.rows("Deals")), list(cells._row_by_row("Deals"))
    trimmed = [["\0".join(row).rstrip("\0") for row in rows] for rows in (quick, slow)]
    assert trimmed[0] == trimmed[1]
    assert cells._loaded, "the quick one was used"
    assert [quick[row - 1][3] for row in (3, 19, 20, 21, 22)] == ["7 CHF", "21", "22.5 CHF", "24 CHF", "25.5"]
    assert quick[29][0] == "00042"
    assert cells.is_1904 is is_1904


def test_cell_at_the_end_of_the_world_costs_neither_memory_nor_time() -> None:
    book = book_of(HEADINGS, ["Nest", "Google"])
    book.active["XFD1048576"] = "oops"
    cells = Cells(saved(book))
    rows = cells.rows("Deals")
    assert [next(rows)[:2], next(rows)[:2]] == [["Target", "Buyer"], ["Nest", "Google"]]
    assert cells._loaded is None, "a table of seventeen thousand million cells was to be held"


def test_sheet_of_too_many_cells_is_refused_and_not_in_the_way_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_cells, "MAX_CELLS", 50)
    book = book_of(HEADINGS, *[["A", "B", "C", "D"]] * 20, title="Much")
    with pytest.raises(UnreadableFile, match="as CSV"):
        read(saved(book))
    deals = book.create_sheet("Few")
    deals.append(["Target"])
    deals.append(["Nest"])
    assert read(book)[0].sheet == "Few"


def test_cells_that_do_not_say_where_they_are_follow_each_other() -> None:
    row = "<row>" + "".join(f'<c t="str"><v>{text}</v></c>' for text in ("Target", "Buyer")) + "</row>"
    _, records = read(hostile(SHEET, sheet_xml(row + row.replace("Target", "Nest") + "<row/>" + row.replace("Target", "Waze"))))
    assert [(record.line, record.cells) for record in records] == [(2, ["Nest", "Buyer"]), (4, ["Waze", "Buyer"])]


def test_look_at_a_sheet_is_the_same_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = '<c r="A1" s="1"><v>1</v></c><c r="B1" s="2"/><c s="1" r="C7" t="n"><v>1</v></c><c r="C8"><v>1</v></c>'
    part = sheet_xml(cells).replace(
        b"</worksheet>", b'<mergeCells><mergeCell ref="B3:B5"/><mergeCell ref="B8:C9"/></mergeCells></worksheet>'
    )
    whole = scan_sheet(io.BytesIO(part), {1: "€"})
    assert (whole.rows, whole.columns, whole.filled, whole.merged) == (8, 3, 3, {1: [(3, 5)]})
    assert whole.formats == {0: [(1, "€")], 2: [(7, "€"), (8, "")]}
    assert (whole.has_unplaced, whole.has_misplaced) == (False, False)
    for size in (1, 7, 30, 61):
        monkeypatch.setattr(sheet_scan, "CHUNK", size)
        assert scan_sheet(io.BytesIO(part), {1: "€"}) == whole


def test_definitions_are_refused_in_any_part() -> None:
    part = b'<?xml version="1.0"?>' + ENTITIES + b"<x/>"
    with pytest.raises(UnreadableFile, match="damaged"):
        read(hostile("xl/theme/theme9.xml", part))


def test_dates_of_which_a_program_understood_only_some_are_pointed_out() -> None:
    """An American Excel takes 03/04/2014 for the 4th of March, where the 3rd of April was meant, and leaves 15/04/2014 as text."""
    book = book_of(HEADINGS, ["A", "B", date(2014, 3, 4), 1], ["C", "D", "15/04/2014", 2])
    found, _ = read(book)
    layout = layout_of(found, guess_fields(found.headings), [""] * 4)
    notes = [column["date_note"] for column in columns_of(layout)]
    assert [bool(note) for note in notes] == [False, False, True, False]
    assert '("2014-03-04", line 2)' in notes[2]
    assert '("15/04/2014" (line 3))' in notes[2]
    plain, _ = read(book_of(HEADINGS, ["A", "B", date(2014, 3, 4), 1], ["C", "D", date(2014, 4, 15), 2]))
    assert not any(column["date_note"] for column in columns_of(layout_of(plain, guess_fields(plain.headings), [""] * 4)))
