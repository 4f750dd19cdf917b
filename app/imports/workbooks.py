"""Reads an Excel workbook, and writes one sheet of it for `reader.SheetTable`.

Runs in a process of its own (`survey_process.py`): a workbook is a program's output for the one who made it, and an attack for us.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from openpyxl.utils.exceptions import InvalidFileException
from python_calamine import CalamineError

from app.exports.protection import unprotect
from app.imports.foreign import about_other_zip
from app.imports.headings import best_row, clean_heading
from app.imports.mapping import recognise
from app.imports.unreadable import UnreadableFile
from app.imports.workbook_cells import MAX_COLUMNS, TOO_MUCH, Cells, TooManyCells

# An archive of 64 MB may claim to hold gigabytes; no list of deals does. Strings that cells share are held in memory.
MAX_ENTRIES = 5_000
MAX_SHEET_SIZE, MAX_PART_SIZE, MAX_TOTAL_SIZE = 800 << 20, 200 << 20, 1200 << 20
# Tables compress by ten or thirty times.
MAX_RATIO, SMALL_PART = 250, 16 << 20
MAX_SHEETS = 100
HEAD_ROWS = 60

_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
# No program writes definitions into a workbook. What comes later than this no reader here expands.
_DEFINES = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_DAMAGED = "This is not a text file. If it is a workbook, it is damaged: save it again as .xlsx or as CSV and upload that."


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
    _cells: Cells

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
        spans = {column: list(rows) for column, rows in self._cells.scan(sheet.name).merged.items()} if fill_merged else {}
        kept: dict[int, tuple[int, str]] = {}
        for number, cells in enumerate(self._cells.rows(sheet.name), start=1):
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
        cells = Cells(stream)
        found = Workbook([], cells.is_1904, cells)
        for name, is_hidden in list(cells.sheets())[:MAX_SHEETS]:
            found.sheets.append(_examine(found, Sheet(name, is_hidden, False, 0)))
        yield found
    except UnreadableFile:
        raise
    except MemoryError as error:
        raise UnreadableFile(TOO_MUCH) from error
    except (
        zipfile.BadZipFile, zlib.error, ParseError, DefusedXmlException, InvalidFileException, CalamineError, NotImplementedError,
        ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, EOFError, RuntimeError, OverflowError,
    ) as error:  # fmt: skip
        # The reader trusts its input: a hostile or broken file can make it fail anywhere.
        raise UnreadableFile(_DAMAGED) from error
    except BaseException as error:
        # A panic of a reader in Rust; it is no `Exception`.
        if type(error).__name__ == "PanicException":
            raise UnreadableFile(_DAMAGED) from error
        raise


def check_archive(stream: BinaryIO) -> None:
    """Before anything is unpacked. Raises `UnreadableFile`."""
    stream.seek(0)
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        names = frozenset(entry.filename for entry in entries)
        if len(entries) > MAX_ENTRIES or len(names) != len(entries):
            raise UnreadableFile(TOO_MUCH)
        if ("xl/workbook.xml" not in names and "[Content_Types].xml" not in names) or "xl/workbook.bin" in names:
            is_short = "mimetype" in names and archive.getinfo("mimetype").file_size < 200
            raise UnreadableFile(about_other_zip(names, archive.read("mimetype") if is_short else b""))
        if not any(name.startswith("xl/") for name in names):
            raise UnreadableFile(about_other_zip(names, b""))
        for entry in entries:
            limit = MAX_SHEET_SIZE if _SHEET.fullmatch(entry.filename) else MAX_PART_SIZE
            swollen = entry.file_size > SMALL_PART and entry.file_size > MAX_RATIO * max(1, entry.compress_size)
            if entry.file_size > limit or swollen or entry.flag_bits & 1:
                raise UnreadableFile(TOO_MUCH)
            if entry.filename.endswith(".xml") and _DEFINES.search(_beginning_of(archive, entry)):
                raise UnreadableFile(_DAMAGED)
        if sum(entry.file_size for entry in entries) > MAX_TOTAL_SIZE:
            raise UnreadableFile(TOO_MUCH)


def _beginning_of(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as part:
        return part.read(4096)


def _fill_down(number: int, cells: list[str], spans: dict[int, list[tuple[int, int]]], kept: dict[int, tuple[int, str]]) -> None:
    for column, waiting in spans.items():
        if column >= MAX_COLUMNS:
            continue
        while waiting and waiting[-1][0] <= number:
            _, bottom = waiting.pop()
            kept[column] = (bottom, cells[column] if column < len(cells) else "")
        bottom, text = kept.get(column, (0, ""))
        # An empty row stays empty: it ends where its table does.
        if number <= bottom and text and any(cells) and not (cells + [""] * (column + 1))[column]:
            cells.extend([""] * (column + 1 - len(cells)))
            cells[column] = text


def _examine(book: Workbook, sheet: Sheet) -> Sheet:
    """Score how much the sheet looks like a list of deals."""
    try:
        head = first_rows(book.rows(sheet, fill_merged=False))
    except TooManyCells:
        # Another sheet may be the list.
        return Sheet(sheet.name, sheet.is_hidden, False, 0)
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
