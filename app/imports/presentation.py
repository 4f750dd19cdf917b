"""Views of an import, shared by API and pages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from app.imports.conventions import Evidence, explain_mixture
from app.imports.history import UNFINISHED, RowProblem
from app.imports.layout import DATE_FIELDS, evidence_of, questions_of
from app.models import Import


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ColumnChoice(_Strict):
    """For each column, in the order of the file, the field it holds; empty to ignore it. `date_orders` likewise, for the
    columns that are asked about: day_first, month_first or empty; left out, they stay as they are."""

    fields: list[str]
    date_orders: list[str] | None = None


class SheetChoice(_Strict):
    """The name of a sheet of the workbook."""

    sheet: str


class SheetView(BaseModel):
    name: str
    hidden: bool
    empty: bool


class DateExample(BaseModel):
    """A cell, and the day it would be either way; empty where it could not be one."""

    text: str
    day_first: str
    month_first: str


class DateQuestion(BaseModel):
    """A column of dates whose order only a person can choose; `chosen` is empty until then."""

    column: int
    heading: str
    kind: Literal["open", "contradiction"]
    reason: str
    examples: list[DateExample]
    chosen: str


class Column(BaseModel):
    """`date_order` is what the column proves or somebody chose; empty where nothing is known or to be known."""

    heading: str
    field: str
    samples: list[str]
    date_order: str = ""
    # Of a column in which a program may have exchanged day and month.
    date_note: str = ""


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


class Uploader(BaseModel):
    id: int
    name: str


class ImportView(BaseModel):
    id: int
    filename: str
    size: int
    rows: int
    encoding: str
    state: str
    error: str
    percent: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    by: Uploader | None
    columns: list[Column]
    sheet: str
    sheets: list[SheetView]
    date_questions: list[DateQuestion]
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
    evidence = evidence_of(layout) or [Evidence()] * len(layout["headings"])
    chosen = layout.get("date_orders") or [""] * len(layout["headings"])
    orders = [each.date_order or order for each, order in zip(evidence, chosen, strict=False)]
    samples = layout.get("samples") or [[] for _ in layout["headings"]]
    notes = [explain_mixture(each) if field in DATE_FIELDS else "" for each, field in zip(evidence, layout["fields"], strict=False)]
    columns = zip(layout["headings"], layout["fields"], samples, orders, notes, strict=True)
    names = ("heading", "field", "samples", "date_order", "date_note")
    return [dict(zip(names, column, strict=True)) for column in columns]


def progress_of(found: Import) -> dict[str, Any]:
    return {
        "state": found.state,
        "error": found.error,
        "percent": percent_done(found),
        "counts": Counts(**found.counts).model_dump(),
        "over": found.state not in UNFINISHED,
    }


def view_of(found: Import, by: str | None, problems: Mapping[str, Sequence[RowProblem]]) -> ImportView:
    return ImportView(
        id=found.id,
        filename=found.filename,
        size=found.layout.get("file_size", found.size),
        rows=found.layout.get("rows", 0),
        encoding=found.layout.get("encoding", ""),
        state=found.state,
        error=found.error,
        percent=percent_done(found),
        created_at=found.created_at,
        started_at=found.started_at,
        finished_at=found.finished_at,
        by=Uploader(id=found.user_id, name=by) if found.user_id and by is not None else None,
        columns=[Column(**column) for column in columns_of(found.layout)],
        sheet=found.layout.get("sheet", ""),
        sheets=[SheetView(**each) for each in found.layout.get("sheets", ())],
        date_questions=[DateQuestion(**each) for each in questions_of(found.layout)],
        checked=Checked(**found.found) if found.found else None,
        counts=Counts(**found.counts),
        refused=[ProblemRow(**vars(row)) for row in problems["refused"]],
        warnings=[ProblemRow(**vars(row)) for row in problems["warning"]],
    )
