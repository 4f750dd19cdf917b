"""Finds the heading line, below any titles and with any separator."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.core.invisible_characters import strip_invisible
from app.imports.mapping import recognise
from app.imports.unreadable import UnreadableFile


@dataclass(frozen=True, slots=True)
class Headings:
    """How the file is separated, and how many of its lines stand above the headings."""

    delimiter: str
    skipped: int


def clean_heading(heading: str) -> str:
    text = " ".join(strip_invisible(heading).split())
    return "".join(character if character.isprintable() else "�" for character in text)


def find_headings(head: Sequence[str], delimiters: str, declared: str | None) -> Headings:
    """`declared` is the separator that the file itself names. Raises `UnreadableFile` where there is nothing."""
    blank = delimiters + ' \r\n"\ufeff\x1a'
    if not any(line.strip(blank) for line in head):
        raise UnreadableFile("The file is empty.")
    found = [_score(head, delimiter, declared == delimiter) for delimiter in dict.fromkeys(delimiters + (declared or ""))]
    return max(found, key=lambda each: each[0])[1]


def best_row(rows: Sequence[Sequence[str]]) -> int:
    """The index of the headings among the first rows of a table.

    The first row that names what a table of deals has; else the first row that is as wide as what follows, for a title is narrow.
    """
    filled = [sum(bool(cell.strip()) for cell in row) for row in rows]
    first = next((index for index, count in enumerate(filled) if count), 0)
    known = [recognise(row) if count else set() for row, count in zip(rows, filled, strict=True)]
    if "name" in known[first]:
        return first
    for index in range(first, len(rows)):
        if len(known[index]) >= 2 and "name" in known[index] and filled[index] > 1:
            return index
    best = max(range(first, len(rows)), key=lambda index: (len(known[index]), -index))
    if len(known[best]) >= 2:
        return best
    if filled[first] == 1:
        for index in range(first + 1, len(rows) - 1):
            if filled[index] > 1 and filled[index + 1] > 1 and len(rows[index]) == len(rows[index + 1]):
                return index
    return first


def _score(head: Sequence[str], delimiter: str, is_declared: bool) -> tuple[tuple[int, bool, int], Headings]:
    starts, rows = [], []
    reader = csv.reader(head, delimiter=delimiter)
    start = 0
    try:
        for row in reader:
            rows.append(row)
            starts.append(start)
            start = reader.line_num
    except csv.Error:
        pass  # an unreadable line is reported where it stands
    if not rows:
        return (0, False, -1), Headings(delimiter, 0)
    index = best_row(rows)
    line = head[starts[index]]
    count = re.sub(r'"[^"]*(?:"|$)', "", line).count(delimiter)
    return (len(recognise(rows[index])), is_declared and count > 0, count), Headings(delimiter, starts[index])
