"""The pages: the list, a deal, the choice of the current one, settings. Forms work without a script."""

import math
from functools import partial
from typing import Any

from quart import Blueprint, g, redirect, render_template, request
from quart.typing import ResponseReturnValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import in_bin_of
from app.auth.people import STARTS, THEMES, change_preferences
from app.core.errors import BadRequest, NotFound, Unavailable
from app.current_deal.places import find_path_left
from app.current_deal.service import clear_selection, dismiss_notice, select_deal, undo_restore
from app.current_deal.visits import PAGES
from app.deals.listing import ListQuery
from app.deals.schemas import DealDetail
from app.deals.store import get_detail
from app.http.ids import parse_id
from app.http.query import parse_query
from app.http.ratelimit import limit_rate, limits_itself
from app.http.security_headers import return_to
from app.http.web import current_resources, current_user, signed_in
from app.models import Deal
from app.pages.checklist import checklist
from app.pages.deals.actions import actions
from app.pages.deals.activity import activity
from app.pages.deals.board import board
from app.pages.deals.list import list_state
from app.pages.deals.new_deal import new_deal
from app.pages.deals.overview import overview
from app.pages.deals.team import team
from app.pages.exports import exports
from app.pages.findings import findings
from app.pages.history import history
from app.pages.kit.context import current_deal, init_context
from app.pages.kit.flash import see_other
from app.pages.kit.place import Asked
from app.pages.kit.shell import address_of, asked_deals, current_id, list_here, list_others, shell_values, show_gone
from app.pages.notices import inbox
from app.sessions.interface import current_session

blueprint = Blueprint("workspace", __name__)
init_context(blueprint)
for part in (board, actions, new_deal, inbox, overview, findings, checklist, team, activity, exports, history):
    blueprint.register_blueprint(part)


@blueprint.get("/")
@signed_in
async def start() -> ResponseReturnValue:
    user, deal = current_user(), current_deal()
    if user.start_at == "deal" and user.start_deal_id and await _sees(user.start_deal_id):
        return redirect(await _page_left(user.start_deal_id))
    return redirect(await _page_left(deal["id"]) if deal and user.start_at != "list" else "/deals")


@blueprint.get("/workspace")
@blueprint.get("/workspace/<page>")
@signed_in
async def workspace(page: str = "") -> ResponseReturnValue:
    """My current deal, whichever it is, on `page` or on the one I left it on."""
    if page:
        _check_page(page)
    deal = current_deal()
    if deal:
        return redirect(address_of(deal["id"], page) if page else await _page_left(deal["id"]))
    return await render_template("deals/choose.html", page=page, others=await list_others())


@blueprint.get("/deals")
@signed_in
async def deals() -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    await limit_rate(resources, "list", user.id, resources.settings.rate_limit_list)
    values: dict[str, Any] = {}
    try:
        async with resources.database.read() as db:
            values = await shell_values(db, page="deals")
            asked = Asked("deals")
            query, values["filename"] = await asked_deals(db, asked)
            values["deleted"] = await _find_deleted(db)
            query, found = await asked.find(query, partial(list_here, db))
            values |= list_state(query)
    except Unavailable as outage:
        g.place_page = ""  # nothing is seen that one could come back to
        values |= list_state(parse_query(ListQuery, request.args))
        page = await render_template("deals/deals.html", failed=True, **values)
        return page, outage.status, {"Retry-After": str(math.ceil(outage.retry_after.total_seconds()) if outage.retry_after else 1)}
    return await render_template("deals/deals.html", found=found, **values)


@blueprint.get("/deals/<id:deal_id>")
@signed_in
async def deal(deal_id: int) -> ResponseReturnValue:
    return redirect(await _page_left(deal_id))


@blueprint.post("/deals/<id:deal_id>/select")
@limits_itself
@signed_in
async def select(deal_id: int) -> ResponseReturnValue:
    """Make the deal whose page this is the current one, for those without a script."""
    return await _select(deal_id, (await request.form).get("page", ""))


@blueprint.post("/workspace/select")
@limits_itself
@signed_in
async def switch() -> ResponseReturnValue:
    form = await request.form
    try:
        deal_id = parse_id(form.get("deal_id", ""))
    except NotFound:
        return await show_gone()
    return await _select(deal_id, form.get("page", ""), is_undo="undo" in form)


@blueprint.post("/workspace/undo")
@signed_in
async def undo() -> ResponseReturnValue:
    """Out of the deal that was restored; it stays the last deal of every other browser."""
    await undo_restore(current_resources(), current_session())
    return see_other("/deals", "undone")


@blueprint.post("/workspace/clear")
@signed_in
async def clear() -> ResponseReturnValue:
    await clear_selection(current_resources(), current_session())
    return see_other("/deals", "cleared")


@blueprint.post("/notices/dismiss")
@signed_in
async def dismiss() -> ResponseReturnValue:
    form = await request.form
    await dismiss_notice(current_resources(), current_session(), form.get("code"))
    return see_other(return_to(form.get("next")))


@blueprint.get("/settings")
@signed_in
async def settings() -> ResponseReturnValue:
    async with current_resources().database.read() as db:
        values = await shell_values(db)
        start_deal = await _find_start_deal(db)
    return await render_template("deals/settings.html", start_deal=start_deal, **values)


@blueprint.post("/settings")
@signed_in
async def save_settings() -> ResponseReturnValue:
    form, session = await request.form, current_session()
    preferences: dict[str, Any] = {name: form.get(name) for name in ("start_at", "theme")}
    if preferences["start_at"] not in STARTS or preferences["theme"] not in THEMES:
        raise BadRequest("Some fields are missing.")
    for name in ("remember_last_deal", "remember_place"):
        preferences[name] = name in form
    if preferences["start_at"] == "deal":
        preferences["start_deal_id"] = _chosen_id(form.get("start_deal_id", ""))
    records = await change_preferences(current_resources(), session.user_id, preferences)
    if session.loaded and (record := records.get(session.loaded.token_hash)):
        session.adopt(record)
    return see_other("/settings", "saved")


async def _select(deal_id: int, page: str, *, is_undo: bool = False) -> ResponseReturnValue:
    """`page` is where to go; none is the page this person left the deal on."""
    if page:
        _check_page(page)
    resources = current_resources()
    await limit_rate(resources, "select", current_user().id, resources.settings.rate_limit_select)
    try:
        card = await select_deal(resources, current_session(), deal_id, page=page or None, is_undo=is_undo)
    except NotFound:
        return await show_gone()
    try:
        return see_other(address_of(card["id"], page) if page else await _page_left(card["id"]))
    except Unavailable:
        return see_other(f"/deals/{card['id']}")  # chosen it is; where it was left, SQL says when it can


async def _page_left(deal_id: int) -> str:
    """Where this person left the deal: the page, and what was open on it."""
    resources = current_resources()
    async with resources.database.read() as db:
        return address_of(deal_id, await find_path_left(db, current_user().id, deal_id, now=resources.clock.now()))


async def _find_start_deal(db: AsyncSession) -> DealDetail | None:
    """The deal this person chose to start at, unless they may no longer see it."""
    user = current_user()
    if user.start_deal_id is None:
        return None
    try:
        return await get_detail(db, user.id, user.start_deal_id, current_deal_id=current_id(), now=current_resources().clock.now())
    except NotFound:
        return None


async def _find_deleted(db: AsyncSession) -> Deal | None:
    """The deal that the form before this page put into the bin, for an undo."""
    number = request.args.get("deleted", "")
    if not number:
        return None
    deal: Deal | None = await db.scalar(
        in_bin_of(current_user().id, now=current_resources().clock.now()).where(Deal.id == parse_id(number))
    )
    return deal


async def _sees(deal_id: int) -> bool:
    """Where nobody can say, the start page goes by what the session knows."""
    resources = current_resources()
    try:
        async with resources.database.read() as db:
            return await resources.sees_deal(db, current_user().id, deal_id, now=resources.clock.now())
    except Unavailable:
        return False


def _chosen_id(text: str) -> int:
    if not text:
        raise BadRequest("Choose the deal to start at.")
    return parse_id(text)


def _check_page(page: str) -> None:
    if page not in PAGES:
        raise NotFound
