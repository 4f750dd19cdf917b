"""The import itself, in the worker: short transactions that each write some rows and how far they are.

A run that was killed is taken up after the last of them, so every row is written once. Whoever takes an import up last has
it: a run that lost it, or whose import was cancelled, finds that out in its next transaction and stops.
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


class _Lost(Exception):
    """The import was cancelled, or another worker has it now."""


class _NotAllowed(Exception):
    """Who began it is no administrator any more."""


@dataclass
class _Job:
    """An import as this run took it up."""

    resources: Resources
    import_id: int
    organisation_id: int
    token: str
    layout: dict[str, Any]
    size: int
    rows_done: int
    counts: dict[str, Any]
    tell: ProgressCallback
    # How many deals may be added before they are counted again.
    free: int = 0


async def run_import(resources: Resources, import_id: int, *, tell: ProgressCallback) -> dict[str, Any]:
    """Import until the end of the file, or until it is cancelled; what was counted. Nothing where it is neither waiting nor under way.

    `tell` is called between transactions with bytes done and their total; what it raises ends this run, and another may go on.
    Raises `Unavailable`: call it again later.
    """
    job = await _take_up(resources, import_id, tell)
    if job is None:
        return {}
    try:
        await _import(job)
    except _Lost:
        log.info("The import was cancelled, or is another worker's now.", import_id=import_id)
    except _NotAllowed:
        await _finish(job, "failed", error=NOT_ALLOWED)
    except QuotaReached:
        await _finish(job, "failed", error=QUOTA)
    except UnreadableFile as unreadable:
        log.info("The import ended early.", import_id=import_id, reason=unreadable.detail)
        await _finish(job, "failed", error=UNREADABLE)
    except (Unavailable, RunCancelled, RunLost):
        raise
    except Exception:
        await _finish(job, "failed", error=INTERNAL)
        raise
    else:
        await _finish(job, "done")
    return job.counts


async def _take_up(resources: Resources, import_id: int, tell: ProgressCallback) -> _Job | None:
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
    log.info("An import is taken up.", import_id=import_id, rows_done=row.rows_done)
    return _Job(resources, import_id, row.organisation_id, token, row.layout, row.size, row.rows_done, dict(row.counts), tell)


async def _import(job: _Job) -> None:
    async with local_copy(job.resources.database, job.import_id) as file:
        table = await asyncio.to_thread(open_table, file, is_sheet=is_sheet(job.layout))
        run = ImportRun(columns_of(job.layout), job.resources.clock.now(), {"import_id": job.import_id})
        batches, passed = BatchSizer(most=BATCH), 0
        async for batch in batches_of(table):
            # Rows that are in already are read all the same: a later one may be about the same deal.
            old = batch.records[: max(0, job.rows_done - passed)]
            await asyncio.to_thread(run.read, old, Report(""))
            new = batch.records[len(old) :]
            while new:
                taken, new = new[: batches.rows], new[batches.rows :]
                await _write(job, run, taken, batches, position=batch.position)
            passed += len(batch.records)


async def _write(job: _Job, run: ImportRun, records: list[Record], batches: BatchSizer, *, position: int) -> None:
    """One transaction, and the rest after it. Raises `_Lost`, `_NotAllowed`."""
    report = Report("")
    rows = await asyncio.to_thread(run.read, records, report)
    for attempt in range(1, ATTEMPTS + 1):
        found = Report("", rows=report.rows, skipped=report.skipped, refused=report.refused, warnings=list(report.warnings))
        found.warning_counts = report.warning_counts.copy()
        try:
            with batches.batch():
                async with job.resources.database.write() as db:
                    await _write_rows(db, job, run, rows, records, found, position=position)
            break
        except (IntegrityError, Contended):
            # Somebody made a deal of the same reference between our look and our insert: now it is there to be seen.
            if attempt == ATTEMPTS:
                raise StoreUnavailable("The organisation's deals are being changed by too many at once.") from None
    await batches.throttle()
    await job.tell(position, job.size, **job.counts)
    if found.new_names:
        await show_new_names(job.resources, found.new_names)


async def _write_rows(
    db: AsyncSession, job: _Job, run: ImportRun, rows: list[Row], records: list[Record], report: Report, *, position: int
) -> None:
    mine = Import.id == job.import_id, Import.state == "running", Import.run == job.token
    held = (await db.execute(select(Import.user_id, Import.counts, Import.rows_done).where(*mine).with_for_update())).first()
    if held is None:
        raise _Lost
    await lock_organisation(db, job.organisation_id)
    run.common = {"import_id": job.import_id, "owner_id": held.user_id}
    await run.place(db, rows, job.organisation_id, report, write=True)
    if report.imported:
        await _check_quota(db, job, report.imported)
    # After the deals, as everybody locks: what gives access, then the person.
    await _check_owner(db, held.user_id, job.organisation_id)
    counts = dict(held.counts) or tally(Report(""))
    await insert_problems(db, job.import_id, problems_of(report, records, counts))
    add(counts, tally(report))
    values = {"counts": counts, "rows_done": held.rows_done + len(records), "position": position, "updated_at": job.resources.clock.now()}
    await execute_dml(db, update(Import).where(*mine).values(**values))
    job.counts = counts


async def _check_quota(db: AsyncSession, job: _Job, added: int) -> None:
    """Only the beginning of the file was counted when it was started. Raises `QuotaReached`."""
    job.free -= added
    if job.free >= 0:
        return
    limit = job.resources.settings.quota_deals
    await check_deals(db, job.organisation_id, limit, more=0)
    # To count a hundred thousand deals again for each hundred new ones would be most of the work. Of what is free every import that
    # may be under way takes its part at most, before it counts again.
    job.free = (await room_for_deals(db, job.organisation_id, limit) or 0) // (2 * MAX_UNFINISHED)


async def _check_owner(db: AsyncSession, user_id: int | None, organisation_id: int) -> None:
    """Who began the import is kept from being demoted or disabled until these rows are in. Raises `_NotAllowed`."""
    is_admin = User.organisation_id == organisation_id, User.role == "admin", User.disabled_at.is_(None)
    who = select(User.id).where(User.id == user_id, *is_admin)
    if await db.scalar(who.with_for_update(read=True)) is None:
        raise _NotAllowed


async def _finish(job: _Job, state: str, *, error: str = "") -> None:
    now = job.resources.clock.now()
    mine = Import.id == job.import_id, Import.state == "running", Import.run == job.token
    ended = update(Import).where(*mine).values(state=state, error=error, updated_at=now, finished_at=now, position=Import.size)
    if error:
        ended = update(Import).where(*mine).values(state=state, error=error, updated_at=now, finished_at=now)
    async with job.resources.database.write() as db:
        rows = await execute_returning(db, ended.returning(Import.user_id, Import.counts))
        if not rows:
            return
        row = rows[0]
        kind, payload = ("import.failed", {"reason": error}) if error else ("import.finished", {})
        ids: dict[str, Any] = {"organisation_id": job.organisation_id, "actor_id": row.user_id, "import_id": job.import_id}
        await record_event(db, kind, at=now, **ids, **payload, **row.counts)
    log.info("An import has ended.", import_id=job.import_id, state=state, error=error or None, **row.counts)
    await delete_file(job.resources.database, job.import_id)
