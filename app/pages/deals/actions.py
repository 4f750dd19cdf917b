"""What is done to a deal by a form: pins, archive, bin, stage, start. The same services as the API's, and then back to a page."""

from typing import Any

from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.access.permissions import BIN_LIFE
from app.auth.people import THEMES, change_preferences
from app.core.errors import BadRequest, NotFound
from app.deals.service import archive_deal, change_deal, delete_deal, pin_deal, undelete_deal
from app.deals.store import list_bin
from app.http.security_headers import return_to
from app.http.web import current_resources, current_user, signed_in
from app.models import STAGES
from app.pages.kit.flash import see_other
from app.pages.kit.shell import address_of, shell_values, show_gone
from app.sessions.interface import current_session

actions = Blueprint("deal_actions", __name__)


@actions.get("/deals/bin")
@signed_in
async def show_bin() -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        deals = await list_bin(db, user.id, now=resources.clock.now())
        values = await shell_values(db)
    return await render_template("deals/bin.html", deals=deals, bin_life=BIN_LIFE, **values)


@actions.post("/settings/theme")
@signed_in
async def set_theme() -> ResponseReturnValue:
    """From the person's menu."""
    form = await request.form
    if form.get("theme") not in THEMES:
        raise BadRequest("Some fields are missing.")
    await _prefer({"theme": form["theme"]})
    return see_other(return_to(form.get("next")))


@actions.post("/deals/<id:deal_id>/pin")
@signed_in
async def pin(deal_id: int) -> ResponseReturnValue:
    return await _set_pinned(deal_id, pinned=True)


@actions.post("/deals/<id:deal_id>/unpin")
@signed_in
async def unpin(deal_id: int) -> ResponseReturnValue:
    return await _set_pinned(deal_id, pinned=False)


@actions.post("/deals/<id:deal_id>/archive")
@signed_in
async def archive(deal_id: int) -> ResponseReturnValue:
    return await _set_archived(deal_id, archived=True)


@actions.post("/deals/<id:deal_id>/unarchive")
@signed_in
async def unarchive(deal_id: int) -> ResponseReturnValue:
    return await _set_archived(deal_id, archived=False)


@actions.post("/deals/<id:deal_id>/delete")
@signed_in
async def delete(deal_id: int) -> ResponseReturnValue:
    """Into the bin. The list it leads to offers to undo that."""
    try:
        await delete_deal(current_resources(), current_user().id, deal_id)
    except NotFound:
        return await show_gone()
    return see_other(f"/deals?deleted={deal_id}")


@actions.post("/deals/<id:deal_id>/restore")
@signed_in
async def bring_back(deal_id: int) -> ResponseReturnValue:
    try:
        await undelete_deal(current_resources(), current_user().id, deal_id)
    except NotFound:
        return await show_gone()
    return see_other(address_of(deal_id), "restored")


@actions.post("/deals/<id:deal_id>/stage")
@signed_in
async def move(deal_id: int) -> ResponseReturnValue:
    """To another stage, from the version the form was drawn at."""
    form = await request.form
    if form.get("stage") not in STAGES or not form.get("version", "").isdigit():
        raise BadRequest("Some fields are missing.")
    try:
        await change_deal(current_resources(), current_user().id, deal_id, {"stage": form["stage"]}, expected={int(form["version"])})
    except NotFound:
        return await show_gone()
    return see_other(return_to(form.get("next") or "/deals/board"))


@actions.post("/deals/<id:deal_id>/start")
@signed_in
async def start_here(deal_id: int) -> ResponseReturnValue:
    """Start at this deal from now on."""
    try:
        await _prefer({"start_at": "deal", "start_deal_id": deal_id})
    except BadRequest:
        return await show_gone()
    return see_other(address_of(deal_id), "start")


async def _prefer(preferences: dict[str, Any]) -> None:
    session = current_session()
    records = await change_preferences(current_resources(), session.user_id, preferences)
    if session.loaded and (record := records.get(session.loaded.token_hash)):
        session.adopt(record)


async def _set_pinned(deal_id: int, *, pinned: bool) -> ResponseReturnValue:
    try:
        await pin_deal(current_resources(), current_user().id, deal_id, pinned=pinned)
    except NotFound:
        return await show_gone()
    return see_other(return_to((await request.form).get("next") or address_of(deal_id)))


async def _set_archived(deal_id: int, *, archived: bool) -> ResponseReturnValue:
    try:
        await archive_deal(current_resources(), current_user().id, deal_id, archived=archived)
    except NotFound:
        return await show_gone()
    return see_other(address_of(deal_id), "archived" if archived else "unarchived")
