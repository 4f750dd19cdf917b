"""The pages of an import: send a file, place its columns, watch, see what it did. Forms work without a script."""

from pathlib import PurePath
from typing import Any

from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.auth.administrators import get_administered
from app.core.errors import AppError, BadRequest, Conflict, PayloadTooLarge, UnsupportedMediaType
from app.exports.answer import Format, download
from app.http.quotas import room_for_deals
from app.http.uploads import MAX_FILE
from app.http.web import current_resources, current_user, signed_in
from app.imports import incoming
from app.imports.conventions import DateOrderNeeded
from app.imports.files import MAX_FILE_TEXT
from app.imports.history import find_name, get_import, list_imports, list_problems
from app.imports.layout import columns_of, require_answers
from app.imports.limits import MAX_LINES
from app.imports.mapping import LABELS, BadMapping
from app.imports.presentation import progress_of, view_of
from app.imports.problem_table import problem_table
from app.imports.unreadable import UnreadableFile
from app.imports.upload import take_file
from app.models import Import
from app.pages.kit.flash import see_other
from app.pages.kit.shell import shell_values

blueprint = Blueprint("import_pages", __name__)

Chosen = tuple[list[str], list[str]]

_REFUSALS = (UnreadableFile, PayloadTooLarge, Conflict, UnsupportedMediaType)


@blueprint.get("/imports")
@signed_in
async def list_() -> ResponseReturnValue:
    return await _show_list()


@blueprint.post("/imports")
@signed_in
async def upload() -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        await get_administered(db, user.id)
    try:
        filename, file = await take_file(plain=False)
        with file:
            import_id = await incoming.receive_file(resources, user.id, filename, file)
    except AppError as refusal:
        if isinstance(refusal, _REFUSALS) or refusal.code == "no_file":
            return await _show_list(refusal)
        raise
    return see_other(f"/imports/{import_id}")


@blueprint.get("/imports/<id:import_id>")
@signed_in
async def show(import_id: int) -> ResponseReturnValue:
    return await _show(import_id)


@blueprint.post("/imports/<id:import_id>/columns")
@signed_in
async def columns(import_id: int) -> ResponseReturnValue:
    found = await _get(import_id)
    chosen = await _chosen(found)
    try:
        await incoming.choose_columns(current_resources(), current_user().id, import_id, *chosen)
    except BadMapping as refusal:
        return await _show(import_id, chosen, refusal)
    return see_other(f"/imports/{import_id}", "checked")


@blueprint.post("/imports/<id:import_id>/sheet")
@signed_in
async def sheet(import_id: int) -> ResponseReturnValue:
    found = await _get(import_id)
    try:
        await incoming.choose_sheet(current_resources(), current_user().id, import_id, (await request.form).get("sheet", ""))
    except (BadMapping, UnreadableFile) as refusal:
        return await _show(import_id, (found.layout["fields"], []), refusal)
    return see_other(f"/imports/{import_id}", "sheet")


@blueprint.post("/imports/<id:import_id>/start")
@signed_in
async def start(import_id: int) -> ResponseReturnValue:
    """What is imported is what was shown: with other columns than those, they are checked first."""
    found, resources, user_id = await _get(import_id), current_resources(), current_user().id
    try:
        if found.state == "draft" and _differs(chosen := await _chosen(found), found):
            await incoming.choose_columns(resources, user_id, import_id, *chosen)
            return see_other(f"/imports/{import_id}", "changed")
        await incoming.start_import(resources, user_id, import_id)
    except (BadMapping, DateOrderNeeded) as refusal:
        return await _show(import_id, await _chosen(found), refusal)
    return see_other(f"/imports/{import_id}")


@blueprint.post("/imports/<id:import_id>/cancel")
@signed_in
async def cancel(import_id: int) -> ResponseReturnValue:
    was_draft = (await _get(import_id)).state == "draft"
    await incoming.cancel_import(current_resources(), current_user().id, import_id)
    return see_other("/imports", "discarded") if was_draft else see_other(f"/imports/{import_id}")


@blueprint.get("/imports/<id:import_id>/problems.csv")
@blueprint.get("/imports/<id:import_id>/problems.xlsx")
@signed_in
async def problems(import_id: int) -> ResponseReturnValue:
    """The refused rows as they stand in the file, with why: correct them and import this very file."""
    found = await _get(import_id)
    kind = "warning" if request.args.get("kind") == "warning" else "refused"
    format_: Format = "xlsx" if request.path.endswith(".xlsx") else "csv"
    name = f"{PurePath(found.filename).stem} {'rows to look at' if kind == 'warning' else 'rows left out'}"
    return await download(
        problem_table(current_resources().database, found, kind), format_, plain_name=f"import-{found.id}-{kind}", name=name
    )


async def _show_list(refusal: AppError | None = None) -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        organisation_id = await get_administered(db, user.id)
        cursor = request.args.get("cursor")
        found, next_cursor = await list_imports(db, user.id, organisation_id, cursor=cursor, settings=resources.settings)
        shell = await shell_values(db)
    rows = [view_of(each, by, {"refused": [], "warning": []}) for each, by in found]
    limits = {"largest": MAX_FILE, "largest_in_words": MAX_FILE_TEXT, "most_lines": MAX_LINES}
    paging = {"cursor": cursor, "next_cursor": next_cursor}
    page = await render_template("imports/list.html", imports=rows, refusal=refusal, **shell, **limits, **paging)
    return page, refusal.status if refusal else 200


async def _show(import_id: int, chosen: Chosen | None = None, refusal: BadRequest | None = None) -> ResponseReturnValue:
    resources = current_resources()
    async with resources.database.read() as db:
        found = await get_import(db, current_user().id, import_id)
        view = view_of(found, await find_name(db, found.user_id), await list_problems(db, import_id))
        shell = await shell_values(db)
        room = await room_for_deals(db, found.organisation_id, resources.settings.quota_deals) if found.state == "draft" else None
    values: dict[str, Any] = {"shown_import": view, "room": room, **shell}
    if found.state != "draft":
        stuck = incoming.is_stalled(found, resources.clock.now())
        return await render_template("imports/progress.html", progress=progress_of(found), stuck=stuck, **values)
    fields, orders = chosen or ((), ())
    for column, field in zip(view.columns, fields, strict=False):
        column.field = field
    for question in view.date_questions:
        question.chosen = orders[question.column] if question.column < len(orders) else question.chosen
    refusal = refusal or _why_not(found)
    return await render_template("imports/preview.html", labels=LABELS, refusal=refusal, **values), 400 if chosen else 200


def _why_not(found: Import) -> BadRequest | None:
    """What is missing before the columns say enough."""
    try:
        columns_of(found.layout)
        require_answers(found.layout)
    except (BadMapping, DateOrderNeeded) as missing:
        return missing
    return None


def _differs(chosen: Chosen, found: Import) -> bool:
    fields, orders = chosen
    return fields != found.layout["fields"] or orders != (found.layout.get("date_orders") or [""] * len(orders))


async def _get(import_id: int) -> Import:
    async with current_resources().database.read() as db:
        return await get_import(db, current_user().id, import_id)


async def _chosen(found: Import) -> Chosen:
    """What the form says of each column: its field, and its date order. A column it does not ask about stays as it is."""
    form = await request.form
    before = found.layout.get("date_orders") or [""] * len(found.layout["headings"])
    fields = [form.get(f"field-{index}", "") for index in range(len(before))]
    return fields, [form.get(f"order-{index}", order) for index, order in enumerate(before)]
