"""A table as CSV that a spreadsheet shows and does not run."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from app.exports.protection import protect
from app.exports.table import Table, plain

# How spreadsheets know that it is UTF-8.
_MARK = "\ufeff".encode()


async def write_csv(table: Table) -> AsyncIterator[bytes]:
    yield _MARK + _lines([[column.heading for column in table.columns]])
    async for batch in table.rows:
        if batch:
            yield _lines(batch)


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return protect(value) if isinstance(value, str) else str(plain(value))
