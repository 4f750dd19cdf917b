"""Checks the first rows of a file before an import and reports what they would do. Writes nothing."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, BinaryIO

from app.core.database import Database
from app.imports.mapping import ColumnMap
from app.imports.reader import Record, UnreadableFile
from app.imports.report import Report
from app.imports.service import ImportRun, batches_of
from app.imports.survey import open_table

# Half a second of work. A longer file is checked as it is imported.
CHECKED_ROWS = 5_000
MAX_REFUSED_STORED, MAX_WARNINGS_STORED = 5_000, 1_000


async def check_rows(
    database: Database, file: BinaryIO, columns: ColumnMap, *, is_sheet: bool, organisation_id: int, at: datetime
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The counts of what would be done, and the rows with problems. Raises `UnreadableFile`."""
    table, run = await asyncio.to_thread(open_table, file, is_sheet=is_sheet), ImportRun(columns, at)
    found, problems = tally(Report("")), list[dict[str, Any]]()
    found["complete"] = True
    async for batch in batches_of(table):
        report = Report("")
        rows = await asyncio.to_thread(run.read, batch.records, report)
        async with database.read() as db:
            await run.place(db, rows, organisation_id, report, write=False)
        problems += problems_of(report, batch.records, found)
        add(found, tally(report))
        if found["rows"] >= CHECKED_ROWS:
            found["complete"] = batch.is_last
            break
    if not found["rows"]:
        raise UnreadableFile("There are no rows below the heading line.")
    return found, problems


def tally(report: Report) -> dict[str, Any]:
    return {"rows": report.rows, **report.counts(), "warnings": report.warning_counts.total()}


def add(total: dict[str, Any], more: dict[str, Any]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count


def problems_of(report: Report, records: Sequence[Record], so_far: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `import_problems` for one batch, as many as are still kept after what `so_far` counts."""
    cells = {record.line: record.cells for record in records}
    refused = [
        {"kind": "refused", "line": each.line, "code": "refused", "message": each.reason, "cells": cells.get(each.line)}
        for each in report.refused[: max(0, MAX_REFUSED_STORED - so_far["refused"])]
    ]
    warnings = [
        {"kind": "warning", "line": each.line, "code": each.code, "message": each.message, "cells": None}
        for each in report.warnings[: max(0, MAX_WARNINGS_STORED - so_far["warnings"])]
    ]
    return refused + warnings
