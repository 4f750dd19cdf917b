"""Reads an Excel workbook as people have them, and writes one sheet of it down as `reader.SheetTable` reads it.

Runs in a process of its own (`survey_process.py`): a workbook is a program's output for the one who made it, and an attack for us.
"""

import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from openpyxl import load_workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from openpyxl.utils.exceptions import InvalidFileException

from app.exports.protection import unprotect
from app.imports.foreign import about_other_zip
from app.imports.headings import best_row, clean_heading
from app.imports.mapping import recognise
from app.imports.unreadable import UnreadableFile

# An archive of 64 MB may claim to hold gigabytes; no list of deals does. Strings that cells share are held in memory.
MOST_ENTRIES = 5_000
LARGEST_SHEET, LARGEST_PART, LARGEST_WHOLE = 800 << 20, 200 << 20, 1200 << 20
# Tables compress by ten or thirty times.
HIGHEST_RATIO, SMALL_PART = 250, 16 << 20
LAST_ROW, LAST_COLUMN = 1_048_576, 16_384
# More columns than this have no meaning, but cost memory for each row.
MOST_COLUMNS = 500
MOST_SHEETS, MOST_MERGED = 100, 20_000
LONGEST_CELL = 32_767
HEAD_ROWS = 60

_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})([0-9]{1,7}):([A-Z]{1,3})([0-9]{1,7})"')
# What a number's format shows beside it: the value alone would be taken for dollars.
_CURRENCIES = {"€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "zł": "PLN", "R$": "BRL"}
_CURRENCIES |= {code: code for code in ["EUR", "CHF", "GBP", "JPY", "CNY", "INR", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN", "BRL"]}
_DAMAGED = "This is not a text file. If it is a workbook, it is damaged: save it again as .xlsx or as CSV and upload that."
_TOO_MUCH = "This workbook unpacks to more than a list of deals can be. Save the sheet with the deals as CSV and upload that."


@dataclass(frozen=True, slots=True)
class Sheet:
    name: str
    is_hidden: bool
    is_empty: bool
    score: int


@dataclass(slots=True)
class Workbook:
    """A workbook that was opened; `sheets` in their order, none of charts."""

    sheets: list[Sheet]
    is_1904: bool
    _book: Any
    _stream: BinaryIO
    _merged: dict[str, dict[int, list[tuple[int, int]]]] = field(default_factory=dict)

    def choose(self, name: str | None) -> Sheet:
        """The sheet of that name, or else the one that looks most like a list of deals. Raises `UnreadableFile`."""
        if name is not None:
            wanted = [sheet for sheet in self.sheets if sheet.name == name]
            if not wanted:
                raise UnreadableFile(f'There is no sheet "{name}". The sheets are: {", ".join(each.name for each in self.sheets)}.')
            return wanted[0]
        filled = [sheet for sheet in self.sheets if not sheet.is_empty]
        if not filled:
            raise UnreadableFile("The workbook is empty.")
        return max(filled, key=lambda sheet: (sheet.score, not sheet.is_hidden))

    def rows(self, sheet: Sheet, *, fill_merged: bool = True) -> Iterator[tuple[int, list[str]]]:
        """Row numbers as the program shows them, and cells as text without what is empty at the end."""
        worksheet = self._book[sheet.name]
        # What a file says of its own size is a claim, as often A1:XFD1048576.
        worksheet.reset_dimensions()
        spans = merged_columns(self._stream, worksheet) if fill_merged else {}
        kept: dict[int, tuple[int, str]] = {}
        for number, row in enumerate(worksheet.iter_rows(max_row=LAST_ROW, max_col=None), start=1):
            cells = [_text(cell) for cell in row[:MOST_COLUMNS]]
            if spans:
                _fill_down(number, cells, spans, kept)
            while cells and not cells[-1]:
                cells.pop()
            yield number, cells


@contextmanager
def open_workbook(stream: BinaryIO) -> Iterator[Workbook]:
    """Raises `UnreadableFile`, also for what is found out while its rows are read."""
    try:
        check_archive(stream)
        stream.seek(0)
        book = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        found = Workbook([], book.epoch == CALENDAR_MAC_1904, book, stream)
        for worksheet in book.worksheets[:MOST_SHEETS]:
            state = worksheet.sheet_state != "visible"
            found.sheets.append(_look(found, Sheet(worksheet.title, state, False, 0)))
        yield found
    except UnreadableFile:
        raise
    except MemoryError as error:
        raise UnreadableFile(_TOO_MUCH) from error
    except (
        zipfile.BadZipFile, ParseError, DefusedXmlException, InvalidFileException, NotImplementedError,
        ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, EOFError, RuntimeError, OverflowError,
    ) as error:  # fmt: skip
        # The reader trusts what it reads: a hostile or broken file makes it stumble anywhere.
        raise UnreadableFile(_DAMAGED) from error


def check_archive(stream: BinaryIO) -> None:
    """Before anything is unpacked. Raises `UnreadableFile`."""
    stream.seek(0)
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        names = frozenset(entry.filename for entry in entries)
        if len(entries) > MOST_ENTRIES or len(names) != len(entries):
            raise UnreadableFile(_TOO_MUCH)
        if ("xl/workbook.xml" not in names and "[Content_Types].xml" not in names) or "xl/workbook.bin" in names:
            is_short = "mimetype" in names and archive.getinfo("mimetype").file_size < 200
            raise UnreadableFile(about_other_zip(names, archive.read("mimetype") if is_short else b""))
        if not any(name.startswith("xl/") for name in names):
            raise UnreadableFile(about_other_zip(names, b""))
        for entry in entries:
            limit = LARGEST_SHEET if _SHEET.fullmatch(entry.filename) else LARGEST_PART
            swollen = entry.file_size > SMALL_PART and entry.file_size > HIGHEST_RATIO * max(1, entry.compress_size)
            if entry.file_size > limit or swollen or entry.flag_bits & 1:
                raise UnreadableFile(_TOO_MUCH)
        if sum(entry.file_size for entry in entries) > LARGEST_WHOLE:
            raise UnreadableFile(_TOO_MUCH)


def merged_columns(stream: BinaryIO, worksheet: Any) -> dict[int, list[tuple[int, int]]]:
    """By column, the rows that are one cell to the eye: what stands in the first of them is meant for all."""
    found: dict[int, list[tuple[int, int]]] = {}
    with zipfile.ZipFile(stream) as archive, archive.open(worksheet._worksheet_path) as part:
        rest, count = b"", 0
        while chunk := part.read(1 << 20):
            block = rest + chunk
            for match in _MERGED.finditer(block):
                left, top, right, bottom = match[1], int(match[2]), match[3], int(match[4])
                count += 1
                if left == right and top < bottom <= LAST_ROW and count <= MOST_MERGED:
                    found.setdefault(_column(left), []).append((top, bottom))
            rest = block[-200:] if b"mergeCell" not in block[-200:] else block[block.rfind(b"<", 0, len(block)) :][-200:]
    return {column: sorted(set(spans), reverse=True) for column, spans in found.items()}


def _fill_down(number: int, cells: list[str], spans: dict[int, list[tuple[int, int]]], kept: dict[int, tuple[int, str]]) -> None:
    for column, waiting in spans.items():
        if column >= MOST_COLUMNS:
            continue
        while waiting and waiting[-1][0] <= number:
            _, bottom = waiting.pop()
            kept[column] = (bottom, cells[column] if column < len(cells) else "")
        bottom, text = kept.get(column, (0, ""))
        # An empty row stays empty: it ends where its table does.
        if number <= bottom and text and any(cells) and not (cells + [""] * (column + 1))[column]:
            cells.extend([""] * (column + 1 - len(cells)))
            cells[column] = text


def _look(book: Workbook, sheet: Sheet) -> Sheet:
    """How much of it looks like a list of deals."""
    head = first_rows(book.rows(sheet, fill_merged=False))
    if not head:
        return Sheet(sheet.name, sheet.is_hidden, True, 0)
    known = recognise(head[best_row([cells for _, cells in head])][1])
    return Sheet(sheet.name, sheet.is_hidden, False, len(known) + 10 * ("name" in known))


def first_rows(rows: Iterator[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """The first rows that are not empty."""
    head: list[tuple[int, list[str]]] = []
    for number, cells in rows:
        if cells:
            head.append((number, cells))
        if len(head) >= HEAD_ROWS:
            break
    return head


def table_of(rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """First the headings with their row, then the rows below them, each as wide as the headings; empty ones left out."""
    head = first_rows(rows)
    if not head:
        raise UnreadableFile("The sheet is empty.")
    start = best_row([cells for _, cells in head])
    headings = [clean_heading(cell) for cell in head[start][1]]
    width = len(headings)
    yield head[start][0], headings
    for number, cells in _chain(head[start + 1 :], rows):
        fitted = [*cells[:width], *[""] * (width - len(cells))]
        if any(cell.strip() for cell in fitted):
            yield number, [unprotect(cell) for cell in fitted]


def _chain(head: Sequence[tuple[int, list[str]]], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield from head
    yield from rows


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1


def _text(cell: Any) -> str:
    """As it would stand in a text file, and never so that it could be read in two ways."""
    value = cell.value
    if value is None or cell.data_type == "e":
        return ""
    if isinstance(value, str):
        return value[:LONGEST_CELL]
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, cell.number_format)
    return _moment(value)


def _moment(value: datetime | date | time | timedelta) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _number(value: float, number_format: str) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**15:
        value = int(value)
    if isinstance(value, int):
        shown = re.fullmatch(r"0{2,40}", number_format or "")
        text = str(value).zfill(len(shown[0])) if shown and value >= 0 else str(value)
    else:
        text = format(Decimal(repr(value)), "f")
        # Three decimals could be taken for thousands.
        if re.search(r"\.[0-9]{3}$", text):
            text += "0"
    if not number_format or number_format == "General":
        return text
    currency = next((code for sign, code in _CURRENCIES.items() if sign in number_format), "")
    return f"{text} {currency}" if currency else text
