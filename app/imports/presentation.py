"""How an import is told, to programs and to pages alike."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from app.imports.history import UNFINISHED, Problem
from app.models import Import


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ColumnChoice(_Strict):
    """For each column, in the order of the file, the field it holds; empty to ignore it."""

    fields: list[str]


class Column(BaseModel):
    heading: str
    field: str
    samples: list[str]


class Counts(BaseModel):
    rows: int = 0
    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    refused: int = 0
    warnings: int = 0


class Checked(Counts):
    """What the import would do. `complete` is false where only the first rows of a long file were looked at."""

    complete: bool = True


class ProblemRow(BaseModel):
    line: int
    code: str
    message: str
    cells: list[str] | None


class Person(BaseModel):
    id: int
    name: str


class ImportView(BaseModel):
    id: int
    filename: str
    size: int
    encoding: str
    state: str
    error: str
    percent: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    by: Person | None
    columns: list[Column]
    checked: Checked | None
    counts: Counts
    refused: list[ProblemRow]
    warnings: list[ProblemRow]


def percent_done(found: Import) -> int:
    """Of the bytes, since nobody knows the number of rows before the end; 100 only at the end."""
    if found.state == "done":
        return 100
    return min(99, found.position * 100 // found.size) if found.size else 0


def columns_of(layout: Mapping[str, Any]) -> list[dict[str, Any]]:
    samples = layout.get("samples") or [[] for _ in layout["headings"]]
    columns = zip(layout["headings"], layout["fields"], samples, strict=True)
    return [{"heading": heading, "field": field, "samples": samples} for heading, field, samples in columns]


def progress_of(found: Import) -> dict[str, Any]:
    return {
        "state": found.state,
        "error": found.error,
        "percent": percent_done(found),
        "counts": Counts(**found.counts).model_dump(),
        "over": found.state not in UNFINISHED,
    }


def view_of(found: Import, by: str | None, problems: Mapping[str, Sequence[Problem]]) -> ImportView:
    return ImportView(
        id=found.id,
        filename=found.filename,
        size=found.size,
        encoding=found.layout.get("encoding", ""),
        state=found.state,
        error=found.error,
        percent=percent_done(found),
        created_at=found.created_at,
        started_at=found.started_at,
        finished_at=found.finished_at,
        by=Person(id=found.user_id, name=by) if found.user_id and by is not None else None,
        columns=[Column(**column) for column in columns_of(found.layout)],
        checked=Checked(**found.found) if found.found else None,
        counts=Counts(**found.counts),
        refused=[ProblemRow(**vars(row)) for row in problems["refused"]],
        warnings=[ProblemRow(**vars(row)) for row in problems["warning"]],
    )
