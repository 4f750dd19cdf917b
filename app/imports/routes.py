"""Imports over HTTP: send a file, look at it, place its columns, start, watch, cancel. For administrators of the organisation."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response, jsonify, request
from quart.typing import ResponseReturnValue

from app.auth.administrators import get_administered
from app.core.errors import Forbidden, NotFound
from app.http.json_bodies import read_json
from app.http.live import Message, current_live, event_stream
from app.http.openapi import EventStream, documented, takes_files
from app.http.query import Cursor, parse_query
from app.http.schemas import Nothing
from app.http.web import current_resources, current_user, signed_in
from app.imports import incoming
from app.imports.history import find_name, get_import, list_imports, list_problems
from app.imports.presentation import ColumnChoice, ImportView, SheetChoice, progress_of, view_of
from app.imports.upload import take_file
from app.models import Import

blueprint = Blueprint("imports", __name__, url_prefix="/api/imports")

_BODY = (400, 413, 415)


class Upload(BaseModel):
    """`start`: import at once, by the guessed columns; else the file waits as a draft to be looked at.

    `sheet` names one of a workbook, else the one that fits best is taken. `date_order` is day_first or month_first, for a column of
    dates that does not prove which it is (without it, `start` answers 400 `date_order_needed`); or "Heading=day_first" for one column."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    filename: Annotated[str, Field(max_length=1000)] = ""
    start: bool = True
    sheet: Annotated[str, Field(max_length=100)] | None = None
    date_order: Annotated[str, Field(max_length=1000)] = ""


class HistoryQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    cursor: Cursor | None = None


class OneImport(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    import_: Annotated[ImportView, Field(alias="import")]


class Imports(BaseModel):
    imports: list[ImportView]
    next_cursor: str | None


@blueprint.get("")
@documented("imports", Imports, query=HistoryQuery, problems=(400, 403))
@signed_in
async def list_() -> Response:
    """The imports into your organisation, the latest first; without their rows."""
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        organisation_id = await get_administered(db, user.id)
        query = parse_query(HistoryQuery, request.args)
        found, next_cursor = await list_imports(db, user.id, organisation_id, cursor=query.cursor, settings=resources.settings)
    views = [view_of(each, by, {"refused": [], "warning": []}) for each, by in found]
    return jsonify(Imports(imports=views, next_cursor=next_cursor).model_dump(mode="json"))


@blueprint.post("")
@takes_files("text/csv", "text/plain", "text/tab-separated-values", "application/octet-stream")
@documented("imports", OneImport, 202, query=Upload, problems=(403, 409, *_BODY))
@signed_in
async def upload() -> ResponseReturnValue:
    """Send a spreadsheet, .xlsx or CSV: as the body, or as the field `file` of a form. What it is, its content says."""
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        await get_administered(db, user.id)
    query = parse_query(Upload, request.args)
    filename, file = await take_file(plain=True)
    with file:
        import_id = await incoming.receive_file(resources, user.id, filename, file, sheet=query.sheet, date_order=query.date_order)
    if query.start:
        try:
            await incoming.start_import(resources, user.id, import_id)
        except Exception:
            await incoming.cancel_import(resources, user.id, import_id)
            raise
    response = await _answer(import_id)
    response.status_code = 202
    response.headers["Location"] = f"/api/imports/{import_id}"
    return response


@blueprint.get("/<id:import_id>")
@documented("imports", OneImport, problems=(403, 404))
@signed_in
async def show(import_id: int) -> Response:
    """How far it is, what it did, and the first hundred rows of each kind to look at."""
    return await _answer(import_id)


@blueprint.get("/<id:import_id>/progress")
@documented("imports", EventStream, problems=(403, 404))
@signed_in
async def progress(import_id: int) -> Response:
    """Server-sent events `progress`: state, percent and counts, whenever they change, until the import is over."""
    live, resources, user_id = current_live(), current_resources(), current_user().id

    async def load() -> dict[str, Any]:
        async with resources.database.read() as db:
            return progress_of(await db.get_one(Import, import_id))

    async def messages() -> AsyncGenerator[Message, None]:
        async for shown in live.watch(("import", import_id), load):
            yield Message("progress", shown)
            if shown["over"]:
                return

    async def may_still() -> bool:
        try:
            async with resources.database.read() as db:
                return bool(await get_import(db, user_id, import_id))
        except (Forbidden, NotFound):
            return False

    await _require(import_id)
    return await event_stream(messages(), allowed=may_still)


@blueprint.post("/<id:import_id>/columns")
@documented("imports", OneImport, body=ColumnChoice, problems=(403, 404, 409, *_BODY))
@signed_in
async def columns(import_id: int) -> Response:
    """Say which column holds what, and have the first rows checked again."""
    await _require(import_id)
    choice = await read_json(ColumnChoice)
    await incoming.choose_columns(current_resources(), current_user().id, import_id, choice.fields, choice.date_orders)
    return await _answer(import_id)


@blueprint.post("/<id:import_id>/sheet")
@documented("imports", OneImport, body=SheetChoice, problems=(403, 404, 409, *_BODY))
@signed_in
async def sheet(import_id: int) -> Response:
    """Take another sheet of the workbook, and have its columns guessed and its first rows checked."""
    await _require(import_id)
    choice = await read_json(SheetChoice)
    await incoming.choose_sheet(current_resources(), current_user().id, import_id, choice.sheet)
    return await _answer(import_id)


@blueprint.post("/<id:import_id>/start")
@documented("imports", OneImport, 202, body=Nothing, problems=(403, 404, 409, *_BODY))
@signed_in
async def start(import_id: int) -> ResponseReturnValue:
    """Import a draft, or go on with an import that stands still."""
    await _require(import_id)
    await read_json(Nothing)
    await incoming.start_import(current_resources(), current_user().id, import_id)
    response = await _answer(import_id)
    response.status_code = 202
    return response


@blueprint.post("/<id:import_id>/cancel")
@documented("imports", OneImport, body=Nothing, problems=(403, 404, 409, *_BODY))
@signed_in
async def cancel(import_id: int) -> Response:
    """Go no further. The deals that are in stay in."""
    await _require(import_id)
    await read_json(Nothing)
    await incoming.cancel_import(current_resources(), current_user().id, import_id)
    return await _answer(import_id)


async def _require(import_id: int) -> None:
    """That this person may do something with it: before the body is looked at."""
    async with current_resources().database.read() as db:
        await get_import(db, current_user().id, import_id)


async def _answer(import_id: int) -> Response:
    async with current_resources().database.read() as db:
        found = await get_import(db, current_user().id, import_id)
        view = view_of(found, await find_name(db, found.user_id), await list_problems(db, import_id))
    return jsonify({"import": view.model_dump(mode="json")})
