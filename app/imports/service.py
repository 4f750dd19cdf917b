"""Imports deals into an organisation from a stream of records: checks every row, writes what is new, reports the rest.

Independent of files, terminals and requests, any of which can be the source.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import BadRequest
from app.current_deal.session_data import refresh_card
from app.events.service import record_event
from app.imports import store
from app.imports.malformed import Malformed
from app.imports.mapping import ColumnMap
from app.imports.parsing import clean_text
from app.imports.reader import BATCH, Batch, Record, TableLike, UnreadableFile
from app.imports.report import ImportRefused, Report, RowRefusal, RowWarning
from app.imports.rows import Row, read_row, shown
from app.models import Session
from app.resources import Resources
from app.sessions.record import SessionData

MAX_ORGANISATION = 200

Progress = Callable[[int], None]


@dataclass(slots=True)
class ImportPlan:
    """What one batch would change: deals to insert, and facts to change of deals that are there."""

    new: list[dict[str, Any]]
    changed: list[tuple[store.DealRow, dict[str, Any]]]


async def batches_of(table: TableLike) -> AsyncIterator[Batch]:
    """The batches of a file, each read in a thread so that the loop stays free for everybody else."""
    batches = table.batches()
    while (batch := await asyncio.to_thread(next, batches, None)) is not None:
        yield batch


def check_organisation(name: str) -> str:
    """The name as it is stored. Raises `BadRequest`."""
    try:
        cleaned = clean_text(name)
    except Malformed as error:
        raise BadRequest(f"The organisation's name {error}.") from error
    if not 0 < len(cleaned) <= MAX_ORGANISATION:
        raise BadRequest(f"The organisation's name must have 1 to {MAX_ORGANISATION} characters.")
    return cleaned


async def import_deals(
    db: AsyncSession,
    source: AsyncIterable[Batch],
    columns: ColumnMap,
    *,
    organisation: str,
    at: datetime,
    skip_bad: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda position: None,
) -> Report:
    """Import every row of `source` in the caller's transaction. Raises `ImportRefused`, to roll it back, unless `skip_bad`.

    With `dry_run` nothing is written, and the report says what would have been; `db` need not be a write then.
    `progress` gets the position of each finished batch.
    """
    report = Report(organisation, outcome="dry_run" if dry_run else "imported", ignored_headings=columns.ignored)
    run = ImportRun(columns, at)
    organisation_id = await store.find_organisation(db, organisation)
    report.organisation_created = organisation_id is None
    if not dry_run:
        organisation_id = (await store.lock_organisations(db, [organisation], at=at))[organisation]

    async for batch in source:
        rows = run.read(batch.records, report)
        if skip_bad or not report.refused:
            await run.place(db, rows, organisation_id, report, write=not dry_run)
        progress(batch.position)

    if not report.rows:
        raise UnreadableFile("There are no rows below the heading line.")
    if report.refused and not skip_bad:
        report.nothing_done()
        raise ImportRefused(report)
    if not dry_run:
        await record_event(db, "import.finished", at=at, organisation_id=organisation_id, rows=report.rows, **report.counts())
    return report


@dataclass
class ImportRun:
    """Takes the rows of one file in their order. `common` are further columns of every new deal."""

    columns: ColumnMap
    at: datetime
    common: Mapping[str, Any] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)

    def read(self, records: Sequence[Record], report: Report) -> list[Row]:
        """The rows that can become deals; the others, and second rows of one deal, go into the report."""
        rows = []
        for record in records:
            report.rows += 1
            row = read_row(record, self.columns)
            if isinstance(row, RowRefusal):
                report.refused.append(row)
                continue
            # The hash instead of the text keeps a file of any length small in memory: 64 bits do not collide by chance.
            first = self.seen.setdefault(hash(row.reference), row.line)
            if first != row.line:
                report.skipped += 1
                report.warn(RowWarning(row.line, "duplicate", f"{shown(row.reference)} is already on line {first}; this row is skipped"))
                continue
            for warning in row.warnings:
                report.warn(warning)
            rows.append(row)
        return rows

    async def place(self, db: AsyncSession, rows: Sequence[Row], organisation_id: int | None, report: Report, *, write: bool) -> None:
        """Look up what is there, and with `write` insert and change what is not as the file says."""
        plan = await _plan(db, rows, self.columns, organisation_id, report, lock=write)
        if write:
            await store.insert_deals(db, [{**self.common, **deal} for deal in plan.new], at=self.at)
            await store.update_deals(db, plan.changed, by_id=self.common.get("owner_id"), at=self.at)


async def show_new_names(resources: Resources, names: Mapping[int, str]) -> None:
    """Call after the commit: updates the name in the sessions of everybody who is on a renamed deal."""

    def rename(data: SessionData) -> SessionData | None:
        name = names.get(data.get("current_deal_id", 0))
        return None if name is None else refresh_card(data, name=name)

    ids = list(names)
    for start in range(0, len(ids), BATCH):
        await resources.sessions.change_sessions(Session.current_deal_id.in_(ids[start : start + BATCH]), rename)


async def _plan(
    db: AsyncSession, rows: Sequence[Row], columns: ColumnMap, organisation_id: int | None, report: Report, *, lock: bool
) -> ImportPlan:
    facts = [fact for fact in columns.columns if fact in store.EMPTY_FACTS]
    references = [row.reference for row in rows]
    existing = await store.find_deals(db, organisation_id, references, facts, lock=lock) if organisation_id and rows else {}
    plan = ImportPlan([], [])
    for row in rows:
        deal = existing.get(row.reference)
        if deal is None:
            report.imported += 1
            plan.new.append({"organisation_id": organisation_id, "external_ref": row.reference, **row.facts})
            continue
        changed = {fact: value for fact, value in row.facts.items() if _differs(getattr(deal, fact), value)}
        if changed and deal.deleted_at is not None:
            report.warn(RowWarning(row.line, "in_bin", f"{shown(row.reference)} is in the bin and stays as it is"))
            changed = {}
        if changed:
            report.updated += 1
            plan.changed.append((deal, changed))
            if "name" in changed:
                report.new_names[deal.id] = changed["name"]
        else:
            report.unchanged += 1
    return plan


def _differs(kept: Any, value: Any) -> bool:
    """Ignores what a file cannot express, such as double spaces: the file may be our own export."""
    if kept == value:
        return False
    try:
        return not (isinstance(kept, str) and clean_text(kept) == value)
    except Malformed:
        return True
