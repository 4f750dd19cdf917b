"""Reads a delimited text file as a stream of records, each with the line of the file it begins on."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, Protocol

from app.exports.protection import unprotect
from app.imports.foreign import refuse_foreign
from app.imports.headings import clean_heading, find_headings
from app.imports.unreadable import UnreadableFile

__all__ = ["BATCH", "Batch", "Record", "SheetTable", "TableLike", "TextTable", "UnreadableFile"]

DELIMITERS = ",;\t|"
BATCH = 500
CHUNK = 1 << 16
# No export has such a line; a file without line ends must not be read into memory whole.
MAX_LINE = 1_000_000
# In so many lines the headings are looked for, below whatever title a report has.
HEAD_LINES, HEAD_CHARACTERS = 60, 200_000
# What Windows-1252 leaves undefined: a file with one of these is no text of any kind we know.
NOT_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# What Excel reads and writes to say how a file is separated, with quotes and padding as it comes.
_SEP_LINE = re.compile(r"""\ufeff?["']?sep=(\\t|.)?["']?[,;\t| ]*[\r\n]*""", re.IGNORECASE)
# The end of a file as DOS had it.
_END_OF_FILE = "\x1a"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the file; `problem` says why it cannot be a row of this table. One that cannot be read has no cells."""

    line: int
    cells: list[str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records, and how many bytes of the file have been read up to here."""

    records: list[Record]
    position: int
    is_last: bool = False


class TableLike(Protocol):
    encoding: str
    headings: list[str]

    def batches(self) -> Iterator[Batch]:
        """The records below the heading line, once, a few hundred at a time."""
        ...


class TextTable:
    """A text file opened at its heading line."""

    def __init__(self, stream: BinaryIO) -> None:
        """`stream` must be seekable: it is read once to learn its encoding and once for its records."""
        refuse_foreign(stream)
        self.encoding = _encoding_of(stream)
        stream.seek(0)
        self._stream = stream
        lines = _lines(stream, self.encoding)
        head, declared = _head(lines)
        found = find_headings(head, DELIMITERS, declared)
        self.delimiter = found.delimiter
        self._skipped = found.skipped + (declared is not None)
        throttle = head[found.skipped :]
        self._reader = csv.reader(chain(throttle, lines), delimiter=self.delimiter, strict=True)
        try:
            self._row = next(self._reader)
        except csv.Error as error:
            raise UnreadableFile(f"The heading line cannot be read: {_reason(error)}.") from error
        self.headings = [clean_heading(heading) for heading in self._row]
        while len(self.headings) > 1 and not self.headings[-1]:
            self.headings.pop()

    def batches(self) -> Iterator[Batch]:
        return batches(self._records(), self._stream)

    def _records(self) -> Iterator[Record]:
        while True:
            line = self._skipped + self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(line, [], _reason(error))
                continue
            if any(cell.strip() for cell in cells):
                yield self._record(line, [unprotect(cell) for cell in cells])

    def _record(self, line: int, cells: list[str]) -> Record:
        """Cells left out at the end are empty, and separators too many there are none; a column without heading is ignored."""
        width = len(self.headings)
        if len(cells) < width:
            cells += [""] * (width - len(cells))
        elif len(cells) > width and not any(cell.strip() for cell in cells[max(width, len(self._row)) :]):
            del cells[width:]
        if len(cells) != width:
            return Record(line, cells, f"it has {len(cells)} columns where the heading line has {width}")
        return Record(line, cells)


class SheetTable:
    """A sheet of a workbook as `workbooks.py` wrote it down: JSON by the line, first the headings, then row by row."""

    encoding = "xlsx"

    def __init__(self, stream: BinaryIO) -> None:
        stream.seek(0)
        self._stream = stream
        self.headings: list[str] = self._next()

    def batches(self) -> Iterator[Batch]:
        return batches(self._records(), self._stream)

    def _records(self) -> Iterator[Record]:
        while (row := self._next()) is not None:
            line, *cells = row
            yield Record(line, cells)

    def _next(self) -> Any:
        line = self._stream.readline()
        return json.loads(line) if line else None


def batches(found: Iterator[Record], stream: BinaryIO) -> Iterator[Batch]:
    records: list[Record] = []
    for record in found:
        records.append(record)
        if len(records) == BATCH:
            yield Batch(records, stream.tell())
            records = []
    yield Batch(records, stream.tell(), is_last=True)


def _head(lines: Iterator[str]) -> tuple[list[str], str | None]:
    """The first lines of the file without one that only declares the separator, and that separator ("" where it names none)."""
    head: list[str] = []
    declared, size = None, 0
    for line in lines:
        if not head and declared is None and (match := _SEP_LINE.fullmatch(line)):
            declared = "\t" if match[1] == "\\t" else match[1] or ""
            continue
        head.append(line)
        size += len(line)
        if len(head) >= HEAD_LINES or size > HEAD_CHARACTERS:
            break
    return head, declared


def _encoding_of(stream: BinaryIO) -> str:
    """The encoding of the whole file, tried from its first byte to its last so that no surprise comes half way."""
    stream.seek(0)
    head = stream.read(CHUNK)
    mark = next((name for bom, name in BYTE_ORDER_MARKS if head.startswith(bom)), None)
    # UTF-32, which nobody writes, begins with the mark of UTF-16.
    if head.startswith(codecs.BOM_UTF32_LE) or (mark != "utf-16" and _is_binary(head)):
        raise UnreadableFile("This is not a text file. Save a spreadsheet as .xlsx or as CSV first.")
    if _decodes(stream, mark or "utf-8"):
        return mark or "utf-8"
    if mark is None and _fits_cp1252(stream):
        return "cp1252"
    raise UnreadableFile("The text is neither UTF-8, nor UTF-16 with a byte order mark, nor Windows-1252.")


def _is_binary(head: bytes) -> bool:
    first_line = head.lstrip(b"\r\n").partition(b"\n")[0].rstrip(b"\x1a")
    strays = len(CONTROLS.findall(head))
    # One stray control character refuses its row; a heading line with one, or many of them, is no text.
    return bool(CONTROLS.search(first_line)) or strays > max(16, len(head) // 50)


def _decodes(stream: BinaryIO, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    stream.seek(0)
    try:
        while chunk := stream.read(CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _fits_cp1252(stream: BinaryIO) -> bool:
    stream.seek(0)
    while chunk := stream.read(CHUNK):
        if NOT_IN_CP1252.search(chunk):
            return False
    return True


def _lines(stream: BinaryIO, encoding: str) -> Iterator[str]:
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    before = ""
    try:
        while line := text.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(("\r", "\n")):
                raise UnreadableFile(f"A line is longer than {MAX_LINE:,} characters: this is no table.")
            if before:
                yield before
            before = line
        # Only where the file ends: in the middle of one the mark is a stray like any other, and refuses its row.
        if (last := before.rstrip("\r\n")).endswith(_END_OF_FILE):
            before = last.rstrip("\r\n" + _END_OF_FILE)
        if before:
            yield before
    finally:
        # Else the end of the text layer would close the stream, which is its opener's to close.
        if not stream.closed:
            text.detach()


def _reason(error: csv.Error) -> str:
    message = str(error)
    if "unexpected end of data" in message or "field limit" in message:
        return "a quoted field begins here that is never closed, or not within 131,072 characters"
    if "expected after" in message:
        return "a quoted field is followed by more text before the next column"
    return message
