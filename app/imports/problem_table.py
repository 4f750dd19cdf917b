"""The rows that were left out, as a file to be corrected and imported again."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from app.core.database import Database
from app.exports.table import Column, Table
from app.imports.conventions import Reading
from app.imports.dates import find_ordered, parse_date
from app.imports.history import all_problems
from app.imports.layout import DATE_FIELDS, readings_of
from app.imports.malformed import Malformed
from app.imports.mapping import REPORT_HEADINGS
from app.imports.parsing import clean_text
from app.imports.prices import parse_price
from app.models import Import

_BATCH = 200
_WIDTHS = (8, 60)


def problem_table(database: Database, found: Import, kind: str) -> Table:
    headings = found.layout["headings"] if kind == "refused" else ()
    front = [
        Column(heading, "number" if not index else "text", width)
        for index, (heading, width) in enumerate(zip(REPORT_HEADINGS, _WIDTHS, strict=True))
    ]
    return Table(
        "Rows left out" if kind == "refused" else "Rows to look at", [*front, *map(Column, headings)], _rows(database, found, kind)
    )


async def _rows(database: Database, found: Import, kind: str) -> AsyncIterator[Sequence[Sequence[Any]]]:
    """Sent outside of the request."""
    layout = found.layout
    width = len(layout["headings"]) if kind == "refused" else 0
    readings = dict(enumerate(zip(layout["fields"], readings_of(layout), strict=False)))
    batch: list[list[Any]] = []
    async for row in all_problems(database, found.id, kind):
        cells = [_unmistakable(cell, *readings.get(index, ("", Reading()))) for index, cell in enumerate(row.cells or ())]
        batch.append([row.line, row.message, *cells, *[""] * (width - len(cells))])
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    yield batch


def _unmistakable(cell: str, field: str, reading: Reading) -> str:
    """The cell as it is, unless only its whole column made it unambiguous: the remaining rows may not."""
    try:
        text = clean_text(cell)
        if field in DATE_FIELDS and reading.date_order and (ordered := find_ordered(text)) and ordered.is_open:
            return parse_date(text, reading.date_order).isoformat()
        if field == "price_usd" and reading.decimal_mark in (".", ",") and text and _price(text, reading) != _price(text, Reading()):
            price = _price(text, reading)
            return cell if price is None else str(price)
    except Malformed:
        pass
    return cell


def _price(text: str, reading: Reading) -> int | None:
    try:
        return parse_price(text, reading.decimal_mark)
    except Malformed:
        return None
