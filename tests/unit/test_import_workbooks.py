"""Workbooks: which sheet, which rows, what a cell is; and the ones that are made to hurt."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import openpyxl
import pytest
from openpyxl.chart import BarChart

from app.errors import PayloadTooLarge
from app.imports import survey as surveys
from app.imports import workbooks
from app.imports.reader import Record, SheetTable
from app.imports.survey import Survey, survey_file
from app.imports.unreadable import UnreadableFile

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
    many = rewritten(saved(book_of(HEADINGS, ["A"])), lambda parts: parts.update({f"xl/x{n}": b"" for n in range(workbooks.MOST_ENTRIES)}))
    with pytest.raises(UnreadableFile, match="unpacks to more"):
        read(many)
    monkeypatch.setattr(workbooks, "LARGEST_SHEET", 100)
    with pytest.raises(UnreadableFile, match="unpacks to more"):
        read(book_of(HEADINGS, ["A"]))


def test_sheet_has_as_many_rows_as_any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "MOST_LINES", 3)
    assert len(read(book_of(HEADINGS, *[["A"]] * 3))[1]) == 3
    with pytest.raises(PayloadTooLarge):
        read(book_of(HEADINGS, *[["A"]] * 4))


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
