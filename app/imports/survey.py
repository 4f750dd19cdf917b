"""Surveys a whole file: its headings, what the columns prove about how to read them, and the first rows."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from app.imports.conventions import Evidence
from app.imports.foreign import is_zip
from app.imports.limits import MAX_COLUMNS, MAX_LINES, MAX_SHEET_SIZE, too_large_a_sheet, too_many_columns, too_many_lines
from app.imports.reader import SheetTable, TableLike, TextTable
from app.imports.unreadable import UnreadableFile
from app.imports.workbooks import open_workbook, table_of

SAMPLES, SAMPLED_ROWS = 3, 500
MAX_SAMPLE = 120


@dataclass(slots=True)
class Survey:
    """`sheets` is empty for a text file. `evidence` is as `conventions.Evidence.as_dict` has it, by column. `rows`: how many there are."""

    headings: list[str]
    encoding: str
    samples: list[list[str]]
    evidence: list[dict[str, Any]]
    sheet: str = ""
    sheets: list[dict[str, Any]] = field(default_factory=list)
    is_1904: bool = False
    rows: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def survey_file(file: BinaryIO, written: BinaryIO, *, sheet: str | None = None) -> Survey:
    """`written` takes the sheet of a workbook, as `open_survey` reads it. Raises `UnreadableFile`, `PayloadTooLarge`."""
    if is_zip(file):
        return _survey_workbook(file, written, sheet)
    table = TextTable(file)
    _check_width(table.headings)
    rows = ((record.line, record.cells) for batch in table.batches() for record in batch.records if not record.problem)
    count, samples, evidence = _sample(len(table.headings), rows)
    return Survey(table.headings, table.encoding, samples, [each.as_dict() for each in evidence], rows=count)


def open_table(file: BinaryIO, *, is_sheet: bool) -> TableLike:
    """Raises `UnreadableFile`. `is_sheet`: it was written by `survey_file`."""
    return SheetTable(file) if is_sheet else TextTable(file)


def _survey_workbook(file: BinaryIO, written: BinaryIO, name: str | None) -> Survey:
    with open_workbook(file) as book:
        chosen = book.choose(name)
        rows = table_of(book.rows(chosen))
        _, headings = next(rows)
        _check_width(headings)
        _write(written, headings)

        def write() -> Iterator[tuple[int, list[str]]]:
            for count, (line, cells) in enumerate(rows):
                if count >= MAX_LINES:
                    raise too_many_lines()
                if _write(written, [line, *cells]) > MAX_SHEET_SIZE:
                    raise too_large_a_sheet()
                yield line, cells

        count, samples, evidence = _sample(len(headings), write())
        if not any(samples):
            raise UnreadableFile("There are no rows below the heading line.")
        written.flush()
        sheets = [{"name": each.name, "hidden": each.is_hidden, "empty": each.is_empty} for each in book.sheets]
        kept = [each.as_dict() for each in evidence]
        return Survey(headings, "xlsx", samples, kept, chosen.name, sheets, book.is_1904, count)


def _check_width(headings: Sequence[str]) -> None:
    if len(headings) > MAX_COLUMNS:
        raise too_many_columns()


def _sample(width: int, rows: Iterator[tuple[int, Sequence[str]]]) -> tuple[int, list[list[str]], list[Evidence]]:
    """The number of rows, and for each column some shortened samples and what all its cells prove."""
    samples: list[list[str]] = [[] for _ in range(width)]
    evidence = [Evidence() for _ in range(width)]
    count = 0
    for count, (line, cells) in enumerate(rows, start=1):
        for index, cell in enumerate(cells):
            if not cell:
                continue
            evidence[index].add(line, cell)
            seen = samples[index]
            if count <= SAMPLED_ROWS and len(seen) < SAMPLES and (text := cell.strip()[:MAX_SAMPLE]) and text not in seen:
                seen.append(text)
    return count, samples, evidence


def _write(file: BinaryIO, row: list[Any]) -> int:
    """How far the file is written."""
    file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n")
    return file.tell()
