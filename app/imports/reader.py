"""Reads a delimited text file as a stream of records, each with the line of the file it begins on."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from app.errors import BadRequest

DELIMITERS = ",;\t"
BATCH = 500
CHUNK = 1 << 16
# No export has such a line; a file without line ends must not be read into memory whole.
LONGEST_LINE = 1_000_000
# What Windows-1252 leaves undefined: a file with one of these is no text of any kind we know.
NOT_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class UnreadableFile(BadRequest):
    code, title = "unreadable_file", "The file cannot be read"


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


class Table:
    """A file opened at its heading line."""

    def __init__(self, stream: BinaryIO) -> None:
        """`stream` must be seekable: it is read once to learn its encoding and once for its records."""
        self.encoding = _encoding_of(stream)
        stream.seek(0)
        self._stream = stream
        self._skipped = 0
        lines = _lines(stream, self.encoding)
        first = self._first_line(lines)
        self.delimiter = _delimiter_of(first)
        self._reader = csv.reader(chain([first], lines), delimiter=self.delimiter, strict=True)
        try:
            self.headings = [_clean_heading(heading) for heading in next(self._reader)]
        except csv.Error as error:
            raise UnreadableFile(f"The heading line cannot be read: {_reason(error)}.") from error

    def batches(self) -> Iterator[Batch]:
        """The records below the heading line, once, a few hundred at a time."""
        records: list[Record] = []
        for record in self._records():
            records.append(record)
            if len(records) == BATCH:
                yield Batch(records, self._stream.tell())
                records = []
        yield Batch(records, self._stream.tell(), is_last=True)

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
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(self.headings):
                yield Record(line, cells, f"it has {len(cells)} columns where the heading line has {len(self.headings)}")
                continue
            yield Record(line, cells)

    def _first_line(self, lines: Iterator[str]) -> str:
        for line in lines:
            if line.strip(DELIMITERS + " \r\n"):
                return line
            self._skipped += 1
        raise UnreadableFile("The file is empty.")


def _encoding_of(stream: BinaryIO) -> str:
    """The encoding of the whole file, tried from its first byte to its last so that no surprise comes half way."""
    head = stream.read(CHUNK)
    mark = next((name for bom, name in BYTE_ORDER_MARKS if head.startswith(bom)), None)
    # UTF-32, which nobody writes, begins with the mark of UTF-16.
    if head.startswith(codecs.BOM_UTF32_LE) or (mark != "utf-16" and _is_binary(head)):
        raise UnreadableFile("This is not a text file. Save a spreadsheet as CSV first.")
    if _decodes(stream, mark or "utf-8"):
        return mark or "utf-8"
    if mark is None and _fits_cp1252(stream):
        return "cp1252"
    raise UnreadableFile("The text is neither UTF-8, nor UTF-16 with a byte order mark, nor Windows-1252.")


def _is_binary(head: bytes) -> bool:
    first_line = head.lstrip(b"\r\n").partition(b"\n")[0]
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
    try:
        while line := text.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE and not line.endswith(("\r", "\n")):
                raise UnreadableFile(f"A line is longer than {LONGEST_LINE:,} characters: this is no table.")
            yield line
    finally:
        # Else the end of the text layer would close the stream, which is its opener's to close.
        if not stream.closed:
            text.detach()


def _clean_heading(heading: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in " ".join(heading.split()))


def _delimiter_of(heading_line: str) -> str:
    outside_quotes = re.sub(r'"[^"]*(?:"|$)', "", heading_line)
    return max(DELIMITERS, key=outside_quotes.count)


def _reason(error: csv.Error) -> str:
    message = str(error)
    if "unexpected end of data" in message or "field limit" in message:
        return "a quoted field begins here that is never closed, or not within 131,072 characters"
    if "expected after" in message:
        return "a quoted field is followed by more text before the next column"
    return message
