"""What is done to a deal by a form: pins, archive, bin, stage, start. The same services as the API's, and then back to a page."""

from typing import Any

from quart import Blueprint, redirect, render_template, request
from quart.typing import ResponseReturnValue
from quart_schema import hide

from app.access.permissions import BIN_LIFE
from app.auth.people import change_preferences
from app.core.errors import BadRequest, NotFound
from app.deals.service import archive_deal, change_deal, delete_deal, pin_deal, undelete_deal
from app.deals.store import list_bin
from app.http.security_headers import return_to
from app.http.web import current_resources, current_user, path_id, signed_in
from app.models import STAGES
from app.pages.kit.shell import SEE_OTHER, address_of, shell_values, show_gone
from app.sessions.interface import current_session

actions = Blueprint("deal_actions", __name__)

MAX_IN_BIN = 100
THEMES = ("system", "light", "dark")


@actions.get("/deals/bin")
@hide
@signed_in
async def show_bin() -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        deals = await list_bin(db, user.id, now=resources.clock.now(), limit=MAX_IN_BIN)
        values = await shell_values(db)
    return await render_template("deals/bin.html", deals=deals, bin_life=BIN_LIFE, **values)


@actions.post("/settings/theme")
@hide
@signed_in
async def set_theme() -> ResponseReturnValue:
    """From the person's menu."""
    form = await request.form
    if form.get("theme") not in THEMES:
        raise BadRequest("Some fields are missing.")
    await _prefer({"theme": form["theme"]})
    return redirect(return_to(form.get("next")), SEE_OTHER)


@actions.post("/deals/<deal_id>/pin")
@hide
@signed_in
async def pin(deal_id: str) -> ResponseReturnValue:
    return await _set_pinned(deal_id, pinned=True)


@actions.post("/deals/<deal_id>/unpin")
@hide
@signed_in
async def unpin(deal_id: str) -> ResponseReturnValue:
    return await _set_pinned(deal_id, pinned=False)


@actions.post("/deals/<deal_id>/archive")
@hide
@signed_in
async def archive(deal_id: str) -> ResponseReturnValue:
    return await _set_archived(deal_id, archived=True)


@actions.post("/deals/<deal_id>/unarchive")
@hide
@signed_in
async def unarchive(deal_id: str) -> ResponseReturnValue:
    return await _set_archived(deal_id, archived=False)


@actions.post("/deals/<deal_id>/delete")
@hide
@signed_in
async def delete(deal_id: str) -> ResponseReturnValue:
    """Into the bin. The list it leads to offers to undo that."""
    wanted = path_id(deal_id)
    try:
        await delete_deal(current_resources(), current_user().id, wanted)
    except NotFound:
        return await show_gone()
    return redirect(f"/deals?deleted={wanted}", SEE_OTHER)


@actions.post("/deals/<deal_id>/restore")
@hide
@signed_in
async def bring_back(deal_id: str) -> ResponseReturnValue:
    wanted = path_id(deal_id)
    try:
        await undelete_deal(current_resources(), current_user().id, wanted)
    except NotFound:
        return await show_gone()
    return redirect(f"{address_of(wanted)}?done=restored", SEE_OTHER)


@actions.post("/deals/<deal_id>/stage")
@hide
@signed_in
async def move(deal_id: str) -> ResponseReturnValue:
    """To another stage, from the version the form was drawn at."""
    form, wanted = await request.form, path_id(deal_id)
    if form.get("stage") not in STAGES or not form.get("version", "").isdigit():
        raise BadRequest("Some fields are missing.")
    try:
        await change_deal(current_resources(), current_user().id, wanted, {"stage": form["stage"]}, expected={int(form["version"])})
    except NotFound:
        return await show_gone()
    return redirect(return_to(form.get("next") or "/deals/board"), SEE_OTHER)


@actions.post("/deals/<deal_id>/start")
@hide
@signed_in
async def start_here(deal_id: str) -> ResponseReturnValue:
    """Start at this deal from now on."""
    wanted = path_id(deal_id)
    try:
        await _prefer({"start_at": "deal", "start_deal_id": wanted})
    except BadRequest:
        return await show_gone()
    return redirect(f"{address_of(wanted)}?done=start", SEE_OTHER)


async def _prefer(preferences: dict[str, Any]) -> None:
    session = current_session()
    records = await change_preferences(current_resources(), session.user_id, preferences)
    if session.loaded and (record := records.get(session.loaded.token_hash)):
        session.adopt(record)


async def _set_pinned(deal_id: str, *, pinned: bool) -> ResponseReturnValue:
    wanted = path_id(deal_id)
    try:
        await pin_deal(current_resources(), current_user().id, wanted, pinned=pinned)
    except NotFound:
        return await show_gone()
    return redirect(return_to((await request.form).get("next") or address_of(wanted)), SEE_OTHER)


async def _set_archived(deal_id: str, *, archived: bool) -> ResponseReturnValue:
    wanted = path_id(deal_id)
    try:
        await archive_deal(current_resources(), current_user().id, wanted, archived=archived)
    except NotFound:
        return await show_gone()
    return redirect(f"{address_of(wanted)}?done={'archived' if archived else 'unarchived'}", SEE_OTHER)
