"""An import from upload to start, and its cancellation. `run.py` does the import itself."""

from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import structlog
from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.administrators import get_administered
from app.core.errors import AppError, Conflict, NotFound
from app.core.statements import execute_dml, execute_returning
from app.core.time_budget import ensure_time_budget
from app.events.service import record_event
from app.http.quotas import check_deals, check_import_bytes, take_turns
from app.imports.checking import check_rows
from app.imports.conventions import Evidence
from app.imports.files import PIECE_SECONDS, WORKBOOK, delete_file, local_copy, store_file
from app.imports.history import UNFINISHED, count_unfinished, get_import, replace_problems
from app.imports.layout import check_orders, columns_of, is_sheet, layout_of, place_orders, require_answers
from app.imports.mapping import BadMapping, guess_fields, map_by_position
from app.imports.survey import Survey
from app.imports.survey_process import survey
from app.jobs.service import request_run
from app.models import Import, ImportPiece
from app.resources import Resources

log = structlog.get_logger()

MAX_UNFINISHED = 5
MAX_FILENAME = 200
ABANDONED_AFTER = timedelta(days=1)
# A worker writes many times a second, and a killed one is replaced within this time.
STALLED_AFTER = timedelta(minutes=2)


async def receive_file(
    resources: Resources, user_id: int, filename: str, file: BinaryIO, *, sheet: str | None = None, date_order: str = ""
) -> int:
    """Store a file, survey it, guess its columns and check its first rows; returns the id of the draft.

    `sheet` of a workbook, else the one that fits best; `date_order` as `layout.place_orders` has it.
    Raises `UnreadableFile`, `Conflict`, `BadRequest`.
    """
    found, kept = await survey(file, sheet=sheet)
    with kept or nullcontext():
        return await _receive(resources, user_id, filename, file, _lay_out(found, date_order, file), kept)


async def _receive(
    resources: Resources, user_id: int, filename: str, file: BinaryIO, layout: dict[str, Any], sheet: BinaryIO | None
) -> int:
    now, size = resources.clock.now(), (sheet or file).seek(0, 2)
    await delete_abandoned(resources)
    async with resources.database.write() as db:
        organisation_id = await get_administered(db, user_id)
        await take_turns(db, organisation_id)
        if await count_unfinished(db, organisation_id) >= MAX_UNFINISHED:
            raise Conflict(
                f"{MAX_UNFINISHED} imports of your organisation are not finished yet. Finish or cancel one first.", code="too_many_imports"
            )
        await check_import_bytes(
            db, organisation_id, resources.settings.quota_import_mib, more=size, unfinished=Import.state.in_(UNFINISHED)
        )
        common = {"found": {}, "counts": {}, "created_at": now, "updated_at": now}
        draft = Import(organisation_id=organisation_id, user_id=user_id, size=size, state="arriving", layout=layout, **common)
        draft.filename = clean_filename(filename)
        db.add(draft)
        await db.flush()
        import_id = draft.id
    try:
        await store_file(resources.database, import_id, sheet or file)
        if sheet:
            await store_file(resources.database, import_id, file, first=WORKBOOK)
        await _check(resources, import_id, organisation_id, sheet or file, layout)
    except AppError:
        await _end(resources, import_id, "cancelled", states=("arriving",))
        raise
    log.info("A file to import has arrived.", import_id=import_id, size=size)
    return import_id


async def choose_columns(
    resources: Resources, user_id: int, import_id: int, fields: list[str] | None = None, date_orders: list[str] | None = None
) -> None:
    """Change the fields or the date orders of the columns, and check again. None leaves them unchanged.

    Raises `BadMapping`, `BadRequest`, `Conflict`, `NotFound`.
    """
    async with resources.database.read() as db:
        draft = await get_import(db, user_id, import_id)
    _refuse_unless_draft(draft)
    layout = draft.layout | ({} if fields is None else {"fields": fields})
    map_by_position(layout["headings"], layout["fields"])
    if date_orders is not None:
        check_orders(layout, date_orders)
        layout |= {"date_orders": date_orders}
    async with local_copy(resources.database, import_id) as file:
        await _check(resources, import_id, draft.organisation_id, file, layout)


async def choose_sheet(resources: Resources, user_id: int, import_id: int, sheet: str) -> None:
    """Choose another sheet of the workbook, and guess its columns anew.

    Raises `BadMapping`, `UnreadableFile`, `Conflict`, `NotFound`.
    """
    async with resources.database.read() as db:
        draft = await get_import(db, user_id, import_id)
    _refuse_unless_draft(draft)
    if sheet not in [each["name"] for each in draft.layout.get("sheets", ())]:
        raise BadMapping(f'There is no sheet "{sheet}" in this file.')
    async with local_copy(resources.database, import_id, first=WORKBOOK) as file:
        found, kept = await survey(file, sheet=sheet)
        if kept is None:
            raise NotFound("The file is no longer here.")
        with kept:
            await _replace_sheet(resources, draft, kept, _lay_out(found, "", file))


async def _replace_sheet(resources: Resources, draft: Import, sheet: BinaryIO, layout: dict[str, Any]) -> None:
    size = sheet.seek(0, 2)
    async with resources.database.write() as db:
        # It cannot be started, or get another sheet, while its pieces are replaced.
        mine = update(Import).where(Import.id == draft.id, Import.state == "draft").values(state="arriving", size=size)
        if not await execute_dml(db, mine.values(updated_at=resources.clock.now())):
            raise Conflict("This import has begun, or was cancelled, meanwhile.", code="not_a_draft")
    try:
        await delete_file(resources.database, draft.id, before=WORKBOOK)
        await store_file(resources.database, draft.id, sheet)
        await _check(resources, draft.id, draft.organisation_id, sheet, layout)
    except AppError:
        await _end(resources, draft.id, "cancelled", states=("arriving",))
        raise


def _lay_out(found: Survey, date_order: str, file: BinaryIO) -> dict[str, Any]:
    fields = guess_fields(found.headings)
    evidence = [Evidence.of(each) for each in found.evidence]
    orders = place_orders(found.headings, fields, evidence, [date_order] if date_order else [])
    return layout_of(found, fields, orders) | {"file_size": file.seek(0, 2)}


async def _count_coming(db: AsyncSession, organisation_id: int) -> int:
    """Deals that imports under way will still add."""
    under_way = Import.organisation_id == organisation_id, Import.state.in_(("queued", "running"))
    rows = await db.execute(select(Import.found, Import.counts).where(*under_way))
    return sum(max(0, int(row.found.get("imported", 0)) - int(row.counts.get("imported", 0))) for row in rows)


async def start_import(resources: Resources, user_id: int, import_id: int) -> None:
    """Request the job that imports a draft or resumes a stalled import.

    Raises `BadMapping` and `DateOrderNeeded` where the columns do not say enough, `Conflict` where it is under way or over.
    """
    now = resources.clock.now()
    async with resources.database.write() as db:
        found = await get_import(db, user_id, import_id, lock=True)
        if found.state == "draft":
            columns_of(found.layout)
            require_answers(found.layout)
            await take_turns(db, found.organisation_id)
            more = int(found.found.get("imported", 0)) + await _count_coming(db, found.organisation_id)
            await check_deals(db, found.organisation_id, resources.settings.quota_deals, more=more)
            found.state, found.started_at = "queued", now
            await replace_problems(db, import_id, [])
        elif not is_stalled(found, now):
            raise Conflict("This import is under way, or over.", code="not_a_draft")
        # Whoever starts it will own its deals.
        found.updated_at, found.user_id = now, user_id
        await _record(db, "import.started", found, user_id)
        # By a name that workers of versions before workbooks leave alone: they would read a sheet, and dates, row by row.
        await request_run(db, "import_file", at=now, payload={"import_id": import_id}, requested_by=user_id)


def is_stalled(found: Import, now: datetime) -> bool:
    """Started, but without a write for so long that no worker can be working on it."""
    return found.state in ("queued", "running") and now - found.updated_at > STALLED_AFTER


async def cancel_import(resources: Resources, user_id: int, import_id: int) -> None:
    """Stop; rows already imported stay. Raises `Conflict` if it has ended."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        found = await get_import(db, user_id, import_id, lock=True)
        if found.state not in UNFINISHED:
            raise Conflict("This import is over already.", code="import_over")
        if found.state in ("queued", "running"):
            await _record(db, "import.cancelled", found, user_id, rows=found.rows_done)
        found.state, found.updated_at, found.finished_at = "cancelled", now, now
    await delete_file(resources.database, import_id)


async def stop_import(resources: Resources, import_id: int) -> None:
    """Its job was cancelled by an operator."""
    now = resources.clock.now()
    under_way = update(Import).where(Import.id == import_id, Import.state.in_(("queued", "running")))
    ended = under_way.values(state="cancelled", updated_at=now, finished_at=now).returning(Import)
    async with resources.database.write() as db:
        for (found,) in await execute_returning(db, ended):
            await _record(db, "import.cancelled", found, None, rows=found.rows_done)
    await delete_file(resources.database, import_id)


async def delete_abandoned(resources: Resources) -> int:
    """Delete files abandoned for a day, and those of ended imports, which a process may have left when it died."""
    old = Import.state.in_(("arriving", "draft")) & (Import.updated_at < resources.clock.now() - ABANDONED_AFTER)
    over = Import.state.not_in(UNFINISHED) & exists().where(ImportPiece.import_id == Import.id)
    async with resources.database.read() as db:
        forgotten = (await db.execute(select(Import.id, Import.state).where(old | over).limit(100))).all()
    for import_id, state in forgotten:
        await _end(resources, import_id, "cancelled" if state in UNFINISHED else state, states=("arriving", "draft"))
        await delete_file(resources.database, import_id)
    if forgotten:
        log.info("Files of imports deleted.", import_ids=[import_id for import_id, _ in forgotten])
    return len(forgotten)


def clean_filename(name: str) -> str:
    """As it is shown: the last part of a path, without what cannot be seen."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(letter if letter.isprintable() else " " for letter in last).strip()[:MAX_FILENAME] or "deals.csv"


async def _check(resources: Resources, import_id: int, organisation_id: int, file: BinaryIO, layout: dict[str, Any]) -> None:
    """Check the rows, if the columns are clear, and store the result."""
    found: dict[str, Any] = {}
    problems: list[dict[str, Any]] = []
    try:
        columns = columns_of(layout)
    except BadMapping:
        pass  # the person places the columns first; the page says so
    else:
        ensure_time_budget(PIECE_SECONDS)
        now, sheet = resources.clock.now(), is_sheet(layout)
        found, problems = await check_rows(resources.database, file, columns, is_sheet=sheet, organisation_id=organisation_id, at=now)
    ensure_time_budget(PIECE_SECONDS)
    async with resources.database.write() as db:
        kept = update(Import).where(Import.id == import_id, Import.state.in_(("arriving", "draft")))
        if not await execute_dml(db, kept.values(layout=layout, found=found, state="draft", updated_at=resources.clock.now())):
            raise Conflict("This import has begun, or was cancelled, meanwhile.", code="not_a_draft")
        await replace_problems(db, import_id, problems)


async def _end(resources: Resources, import_id: int, state: str, *, states: tuple[str, ...]) -> None:
    now = resources.clock.now()
    async with resources.database.write() as db:
        ended = update(Import).where(Import.id == import_id, Import.state.in_(states))
        await execute_dml(db, ended.values(state=state, updated_at=now, finished_at=now))
    await delete_file(resources.database, import_id)


async def _record(db: AsyncSession, kind: str, about: Import, actor_id: int | None, **payload: Any) -> None:
    await record_event(
        db, kind, at=about.updated_at, organisation_id=about.organisation_id, actor_id=actor_id, import_id=about.id, **payload
    )


def _refuse_unless_draft(found: Import) -> None:
    if found.state != "draft":
        raise Conflict("This import has begun already, or was cancelled.", code="not_a_draft")
