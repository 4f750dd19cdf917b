"""A table to be downloaded: its columns, and its rows a batch at a time. Knows nothing of what is in it."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

# A moment is told in UTC, since a cell of a workbook knows no zone; its heading says so.
Kind = Literal["text", "number", "date", "moment"]
Rows = AsyncIterator[Sequence[Sequence[Any]]]


class Column(NamedTuple):
    heading: str
    kind: Kind = "text"
    # In characters, as spreadsheets measure it.
    width: int = 16


class Table(NamedTuple):
    """`name` is that of the sheet. Every row has a value for each column; None is an empty cell."""

    name: str
    columns: Sequence[Column]
    rows: Rows


def plain(value: Any) -> Any:
    """A value as JSON has it, moments in UTC without their zone."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat(" ")
    return value.isoformat() if isinstance(value, date) else value
