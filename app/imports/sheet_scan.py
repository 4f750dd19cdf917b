"""Scans the XML of a sheet for what its reader does not report: its extent, its number formats and merged cells."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

LAST_ROW, LAST_COLUMN = 1_048_576, 16_384
MAX_MERGED = 20_000
CHUNK, MAX_TAG = 1 << 20, 1 << 16

# A cell that holds something: one that is only formatted closes itself.
_CELL = re.compile(rb"<(?:\w+:)?c(?:\s([^<>]*[^<>/])?)?>")
_PLACE = re.compile(rb'(?:^|\s)r\s*=\s*["\']([A-Z]{1,3})([0-9]{1,7})["\']')
_STYLE = re.compile(rb'(?:^|\s)s\s*=\s*["\']([0-9]{1,6})["\']')
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})([0-9]{1,7}):([A-Z]{1,3})([0-9]{1,7})"')


@dataclass(slots=True)
class Scan:
    rows: int = 0
    columns: int = 0
    filled: int = 0
    # Some programs leave it to the order of cells where each is; what cannot be understood is a liar's.
    has_unplaced: bool = False
    has_misplaced: bool = False
    # By column, from which row on its numbers are shown how.
    formats: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    # By column, the rows that are one cell to the eye: what stands in the first of them is meant for all.
    merged: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def scan_sheet(part: BinaryIO, formats: Mapping[int, str]) -> Scan:
    """`formats` by style, those that say more than the number."""
    found, merged, throttle = Scan(), 0, b""
    while chunk := part.read(CHUNK):
        block = throttle + chunk
        # A tag is seen whole, and once; what is longer than any is none.
        end = block.rfind(b"<") if len(block) - block.rfind(b"<") < MAX_TAG else len(block)
        whole, throttle = block[:end], block[end:]
        _scan_cells(found, whole, formats)
        if b"mergeCell" in whole:
            merged = _scan_merged(found, whole, merged)
    _scan_cells(found, throttle, formats)
    found.merged = {column: sorted(set(spans), reverse=True) for column, spans in found.merged.items()}
    return found


def _scan_cells(found: Scan, block: bytes, formats: Mapping[int, str]) -> None:
    for attributes in _CELL.findall(block):
        found.filled += 1
        place = _PLACE.search(attributes)
        if place is None:
            found.has_unplaced = True
            found.has_misplaced = found.has_misplaced or b"r=" in attributes.replace(b" ", b"")
            continue
        column, row = column_of(place[1]), int(place[2])
        if row > found.rows:
            found.rows = row
        if column >= found.columns:
            found.columns = column + 1
        if not formats:
            continue
        style = _STYLE.search(attributes)
        shown = formats.get(int(style[1]), "") if style else ""
        changes = found.formats.get(column)
        if changes is None:
            if shown:
                found.formats[column] = [(row, shown)]
        elif changes[-1][1] != shown:
            changes.append((row, shown))


def _scan_merged(found: Scan, block: bytes, count: int) -> int:
    for match in _MERGED.finditer(block):
        left, top, right, bottom = match[1], int(match[2]), match[3], int(match[4])
        count += 1
        if left == right and top < bottom <= LAST_ROW and count <= MAX_MERGED:
            found.merged.setdefault(column_of(left), []).append((top, bottom))
    return count


def column_of(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1
