"""What a cell of a file we write can do to the one who opens it."""

import io
import json
from collections.abc import AsyncIterator

import openpyxl
import pytest

from app.exports import workbook
from app.exports.protection import protect, protect_in_workbook, unprotect
from app.exports.table import Column, Table
from app.exports.text_file import write_csv


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_what_a_spreadsheet_would_run_is_text_and_comes_back(sign: str) -> None:
    for text in (f"{sign}cmd", f"'{sign}cmd", f"''{sign}"):
        assert protect(text) == f"'{text}"
        assert unprotect(protect(text)) == unprotect(protect_in_workbook(text)) == text
    assert protect_in_workbook(f"{sign}cmd") == f"{sign}cmd", "a cell of a workbook says itself that it is text"
    assert protect(f"a{sign}b") == unprotect(f"a{sign}b") == f"a{sign}b"


async def test_headings_are_protected_like_cells() -> None:
    """Those of an imported file are a stranger's words."""

    async def rows() -> AsyncIterator[list[list[str]]]:
        yield [["@y"]]

    written = b"".join([part async for part in write_csv(Table("x", [Column("=x")], rows()))])
    assert written.decode("utf-8-sig") == "'=x\r\n'@y\r\n"


def book_of(*rows: list[str]) -> openpyxl.Workbook:
    file = io.BytesIO()
    head = {"name": "x", "columns": [["Text", "text", 10]]}
    workbook.write_workbook([json.dumps(each).encode() for each in (head, *rows)], file)
    return openpyxl.load_workbook(file)


def test_cell_of_a_workbook_is_text_that_it_may_hold() -> None:
    [_, [cell]] = book_of(["=a\x00\x1b\ufffe" + "b" * 40_000]).active.iter_rows()
    assert (cell.value, cell.data_type) == ("=a" + "b" * (workbook.MAX_CELL - 2), "s")
