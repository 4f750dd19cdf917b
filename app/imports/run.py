"""The import itself, in the worker: short transactions that each write some rows and the position reached.

A killed run is resumed after the last of them, so every row is written once. The last to acquire an import owns
it: a run that lost it, or whose import was cancelled, notices in its next transaction and stops.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.batches import BatchSizer
from app.core.database import Contended
from app.core.errors import StoreUnavailable, Unavailable
from app.core.statements import execute_dml, execute_returning
from app.events.service import record_event
from app.http.quotas import QuotaReached, check_deals, room_for_deals
from app.imports.checking import add, problems_of, tally
from app.imports.files import delete_file, local_copy
from app.imports.history import insert_problems
from app.imports.incoming import MAX_UNFINISHED
from app.imports.layout import columns_of, is_sheet
from app.imports.reader import BATCH, Record, UnreadableFile
from app.imports.report import Report
from app.imports.rows import Row
from app.imports.service import ImportRun, batches_of, show_new_names
from app.imports.store import lock_organisation
from app.imports.survey import open_table
from app.jobs.run import RunCancelled, RunLost
from app.models import Import, User
from app.resources import Resources

log = structlog.get_logger()

ATTEMPTS = 5
# What a person may do decides whose deals these become.
NOT_ALLOWED, UNREADABLE, INTERNAL, QUOTA = "not_an_administrator", "unreadable_file", "internal_error", "quota_deals"


ProgressCallback = Callable[..., Awaitable[None]]


class _ImportLost(Exception):
    """The import was cancelled, or another worker has it now."""


class _NotAllowed(Exception):
    """Whoever started the import is no longer an administrator."""


@dataclass
class _ActiveImport:
    """An import acquired by this run."""

    resources: Resources
    import_id: int
    organisation_id: int
    token: str
    layout: dict[str, Any]
    size: int
    rows_done: int
    counts: dict[str, Any]
    progress: ProgressCallback
    # How many deals may be added before they are counted again.
    free: int = 0


async def run_import(resources: Resources, import_id: int, *, progress: ProgressCallback) -> dict[str, Any]:
    """Import to the end of the file or until cancelled, and return the counts; empty if the import is neither queued nor running.

    `progress` is called between transactions with bytes done and their total; what it raises ends this run, and another may go on.
    Raises `Unavailable`: call it again later.
    """
    active = await _acquire(resources, import_id, progress)
    if active is None:
        return {}
    try:
        await _import(active)
    except _ImportLost:
        log.info("The import was cancelled, or another worker acquired it.", import_id=import_id)
    except _NotAllowed:
        await _finish(active, "failed", error=NOT_ALLOWED)
    except QuotaReached:
        await _finish(active, "failed", error=QUOTA)
    except UnreadableFile as unreadable:
        log.info("The import ended early.", import_id=import_id, reason=unreadable.detail)
        await _finish(active, "failed", error=UNREADABLE)
    except (Unavailable, RunCancelled, RunLost):
        raise
    except Exception:
        await _finish(active, "failed", error=INTERNAL)
        raise
    else:
        await _finish(active, "done")
    return active.counts


async def _acquire(resources: Resources, import_id: int, progress: ProgressCallback) -> _ActiveImport | None:
    now, token = resources.clock.now(), secrets.token_hex(16)
    taken = (
        update(Import)
        .where(Import.id == import_id, Import.state.in_(("queued", "running")))
        .values(state="running", run=token, updated_at=now)
        .returning(Import.organisation_id, Import.layout, Import.size, Import.rows_done, Import.counts)
    )
    async with resources.database.write() as db:
        rows = await execute_returning(db, taken)
    if not rows:
        return None
    row = rows[0]
    log.info("Import started or resumed.", import_id=import_id, rows_done=row.rows_done)
    return _ActiveImport(resources, import_id, row.organisation_id, token, row.layout, row.size, row.rows_done, dict(row.counts), progress)


async def _import(active: _ActiveImport) -> None:
    async with local_copy(active.resources.database, active.import_id) as file:
        table = await asyncio.to_thread(open_table, file, is_sheet=is_sheet(active.layout))
        run = ImportRun(columns_of(active.layout), active.resources.clock.now(), {"import_id": active.import_id})
        batches, passed = BatchSizer(most=BATCH), 0
        async for batch in batches_of(table):
            # Imported rows are read anyway: a later row may be about the same deal.
            old = batch.records[: max(0, active.rows_done - passed)]
            await asyncio.to_thread(run.read, old, Report(""))
            new = batch.records[len(old) :]
            while new:
                taken, new = new[: batches.rows], new[batches.rows :]
                await _write(active, run, taken, batches, position=batch.position)
            passed += len(batch.records)


async def _write(active: _ActiveImport, run: ImportRun, records: list[Record], batches: BatchSizer, *, position: int) -> None:
    """One transaction, and the rest after it. Raises `_ImportLost`, `_NotAllowed`."""
    report = Report("")
    rows = await asyncio.to_thread(run.read, records, report)
    for attempt in range(1, ATTEMPTS + 1):
        found = Report("", rows=report.rows, skipped=report.skipped, refused=report.refused, warnings=list(report.warnings))
        found.warning_counts = report.warning_counts.copy()
        try:
            with batches.batch():
                async with active.resources.database.write() as db:
                    await _write_rows(db, active, run, rows, records, found, position=position)
            break
        except (IntegrityError, Contended):
            # A deal with the same reference was created between our SELECT and INSERT; now the SELECT finds it.
            if attempt == ATTEMPTS:
                raise StoreUnavailable("The organisation's deals are being changed by too many at once.") from None
    await batches.throttle()
    await active.progress(position, active.size, **active.counts)
    if found.new_names:
        await show_new_names(active.resources, found.new_names)


async def _write_rows(
    db: AsyncSession, active: _ActiveImport, run: ImportRun, rows: list[Row], records: list[Record], report: Report, *, position: int
) -> None:
    mine = Import.id == active.import_id, Import.state == "running", Import.run == active.token
    held = (await db.execute(select(Import.user_id, Import.counts, Import.rows_done).where(*mine).with_for_update())).first()
    if held is None:
        raise _ImportLost
    await lock_organisation(db, active.organisation_id)
    run.common = {"import_id": active.import_id, "owner_id": held.user_id}
    await run.place(db, rows, active.organisation_id, report, write=True)
    if report.imported:
        await _check_quota(db, active, report.imported)
    # After the deals, as everybody locks: what gives access, then the person.
    await _check_owner(db, held.user_id, active.organisation_id)
    counts = dict(held.counts) or tally(Report(""))
    await insert_problems(db, active.import_id, problems_of(report, records, counts))
    add(counts, tally(report))
    rows_done, now = held.rows_done + len(records), active.resources.clock.now()
    values = {"counts": counts, "rows_done": rows_done, "position": position, "updated_at": now}
    await execute_dml(db, update(Import).where(*mine).values(**values))
    active.counts = counts


async def _check_quota(db: AsyncSession, active: _ActiveImport, added: int) -> None:
    """Only the beginning of the file was counted when it was started. Raises `QuotaReached`."""
    active.free -= added
    if active.free >= 0:
        return
    limit = active.resources.settings.quota_deals
    await check_deals(db, active.organisation_id, limit, more=0)
    # To count a hundred thousand deals again for each hundred new ones would be most of the work. Of what is free every import that
    # may be under way takes its part at most, before it counts again.
    active.free = (await room_for_deals(db, active.organisation_id, limit) or 0) // (2 * MAX_UNFINISHED)


async def _check_owner(db: AsyncSession, user_id: int | None, organisation_id: int) -> None:
    """Who began the import is kept from being demoted or disabled until these rows are in. Raises `_NotAllowed`."""
    is_admin = User.organisation_id == organisation_id, User.role == "admin", User.disabled_at.is_(None)
    who = select(User.id).where(User.id == user_id, *is_admin)
    if await db.scalar(who.with_for_update(read=True)) is None:
        raise _NotAllowed


async def _finish(active: _ActiveImport, state: str, *, error: str = "") -> None:
    now = active.resources.clock.now()
    mine = Import.id == active.import_id, Import.state == "running", Import.run == active.token
    ended = update(Import).where(*mine).values(state=state, error=error, updated_at=now, finished_at=now, position=Import.size)
    if error:
        ended = update(Import).where(*mine).values(state=state, error=error, updated_at=now, finished_at=now)
    async with active.resources.database.write() as db:
        rows = await execute_returning(db, ended.returning(Import.user_id, Import.counts))
        if not rows:
            return
        row = rows[0]
        kind, payload = ("import.failed", {"reason": error}) if error else ("import.finished", {})
        ids: dict[str, Any] = {"organisation_id": active.organisation_id, "actor_id": row.user_id, "import_id": active.import_id}
        await record_event(db, kind, at=now, **ids, **payload, **row.counts)
    log.info("An import has ended.", import_id=active.import_id, state=state, error=error or None, **row.counts)
    await delete_file(active.resources.database, active.import_id)
