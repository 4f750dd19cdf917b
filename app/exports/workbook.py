"""Writes a workbook from rows that come as JSON by the line, in a process of its own: `python -m app.exports.workbook`.

The first line has the name of the sheet and its columns. Rows are written as they come, so memory does not grow with them.
"""

import json
import os
import re
import sys
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, BinaryIO

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter

from app.core.subprocesses import be_nice
from app.exports.protection import protect_in_workbook

# One row fewer than a sheet has, for the headings.
MAX_ROWS = 1_048_575
MAX_CELL = 32_767
# No workbook may hold these.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# A sheet's name may hold none of these, nor be longer than this.
_NOT_IN_NAMES, _MAX_NAME = re.compile(r"[\[\]:*?/\\]"), 31
_FORMATS = {"date": "yyyy-mm-dd", "moment": "yyyy-mm-dd hh:mm:ss", "number": "#,##0"}
# Years and numbers of things are no amounts.
_PLAIN_UP_TO = 9_999
_HEAD = {"font": Font(bold=True), "fill": PatternFill("solid", fgColor="FFE8ECF4"), "alignment": Alignment(vertical="top")}
_TOP, _WRAPPED = Alignment(vertical="top"), Alignment(vertical="top", wrap_text=True)
# Columns of prose: what is wider is shown in several lines.
_PROSE = 50


def write_workbook(lines: Iterable[bytes], file: BinaryIO) -> None:
    rows = iter(lines)
    head = json.loads(next(rows))
    columns: list[tuple[str, str, int]] = [tuple(column) for column in head["columns"]]
    book = Workbook(write_only=True)
    sheet: Any = book.create_sheet(_NOT_IN_NAMES.sub(" ", head["name"])[:_MAX_NAME].strip("' ") or "Sheet1")
    for number, (_, _, width) in enumerate(columns, start=1):
        sheet.column_dimensions[get_column_letter(number)].width = width
    sheet.freeze_panes = "A2"
    sheet.append([_heading(sheet, heading) for heading, _, _ in columns])
    count = 0
    for count, line in enumerate(rows, start=1):
        if count > MAX_ROWS:
            raise ValueError("There are more rows than a sheet can have.")
        row = json.loads(line)
        # A row that was left out of an import for having too many cells keeps them.
        wide = columns + [("", "text", 0)] * (len(row) - len(columns))
        sheet.append([_cell(sheet, value, kind, width) for value, (_, kind, width) in zip(row, wide, strict=True)])
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{count + 1}"
    book.save(file)


def _heading(sheet: Any, text: str) -> Any:
    cell = _text(sheet, text)
    for name, value in _HEAD.items():
        setattr(cell, name, value)
    return cell


def _cell(sheet: Any, value: Any, kind: str, width: int) -> Any:
    if value is None or value == "":
        return None
    if kind == "text" or (isinstance(value, str) and kind == "number"):
        cell = _text(sheet, protect_in_workbook(str(value)))
        cell.alignment = _WRAPPED if width >= _PROSE else _TOP
        return cell
    parsed = date.fromisoformat(value) if kind == "date" else datetime.fromisoformat(value) if kind == "moment" else value
    cell = WriteOnlyCell(sheet, parsed)
    if kind != "number" or abs(value) > _PLAIN_UP_TO:
        cell.number_format = _FORMATS[kind]
    cell.alignment = _TOP
    return cell


def _text(sheet: Any, text: str) -> Any:
    cell = WriteOnlyCell(sheet, _FORBIDDEN.sub("", text)[:MAX_CELL])
    # Whatever it looks like: no formula, no error.
    cell.data_type = "s"
    return cell


if __name__ == "__main__":
    be_nice()
    with os.fdopen(int(sys.argv[1]), "w+b", closefd=False) as target:
        write_workbook(sys.stdin.buffer, target)
