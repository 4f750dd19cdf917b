"""The pages: the list, a deal, the choice of the current one, settings. Forms work without a script."""

import math
from typing import Any

from quart import Blueprint, redirect, render_template, request
from quart.typing import ResponseReturnValue
from quart_schema import hide
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.people import change_preferences
from app.deals.activity import ActivityQuery, list_activity
from app.deals.listing import ListQuery, list_deals, list_recents, parse_query
from app.deals.members import list_members
from app.deals.schemas import DealList, DealSummary
from app.deals.selection import clear_selection, dismiss_notice, select_deal
from app.deals.store import get_detail
from app.errors import BadRequest, NotFound, Unavailable
from app.ratelimit import limit_rate
from app.security import return_to
from app.sessions.interface import current_session
from app.web import current_user, path_id, resources, signed_in
from app.workspace.activity import sentence
from app.workspace.context import current_deal, init_context
from app.workspace.deal_list import list_state

blueprint = Blueprint("workspace", __name__)
init_context(blueprint)

SEE_OTHER = 303
PAGES = ("overview", "team", "activity")
# Deals offered where the one asked for cannot be shown, or none was chosen yet.
OTHERS = 5
THEMES, STARTS = ("system", "light", "dark"), ("last_deal", "list")
# What a page says after the form that led to it; the address carries the code.
DONE = {
    "cleared": "You have no current deal any more, in any browser. Choose the one to work on.",
    "saved": "Your settings are saved.",
}


@blueprint.get("/")
@hide
@signed_in
async def start() -> ResponseReturnValue:
    deal = current_deal() if current_user().start_at == "last_deal" else None
    return redirect(_address(deal["id"]) if deal else "/deals")


@blueprint.get("/workspace")
@blueprint.get("/workspace/<page>")
@hide
@signed_in
async def workspace(page: str = "overview") -> ResponseReturnValue:
    """My current deal, whichever it is."""
    _check_page(page)
    deal = current_deal()
    if deal:
        return redirect(_address(deal["id"], page))
    return await render_template("workspace/choose.html", page=page, others=await _others())


@blueprint.get("/deals")
@hide
@signed_in
async def deals() -> ResponseReturnValue:
    house, user = resources(), current_user()
    await limit_rate(house, "list", user.id, house.settings.rate_limit_list)
    query = parse_query(ListQuery, request.args)
    values = list_state(query) | {"done": DONE.get(request.args.get("done", ""))}
    try:
        async with house.database.read() as db:
            found = await _list(db, query)
            recents = await _recents(db)
    except Unavailable as outage:
        page = await render_template("workspace/deals.html", failed=True, **values)
        return page, outage.status, {"Retry-After": str(math.ceil(outage.retry_after.total_seconds()) if outage.retry_after else 1)}
    return await render_template("workspace/deals.html", found=found, recents=recents, **values)


@blueprint.get("/deals/<deal_id>")
@hide
@signed_in
async def deal(deal_id: str) -> ResponseReturnValue:
    return redirect(_address(path_id(deal_id)))


@blueprint.get("/deals/<deal_id>/overview")
@hide
@signed_in
async def overview(deal_id: str) -> ResponseReturnValue:
    return await _show_deal(deal_id, "overview")


@blueprint.get("/deals/<deal_id>/team")
@hide
@signed_in
async def team(deal_id: str) -> ResponseReturnValue:
    return await _show_deal(deal_id, "team")


@blueprint.get("/deals/<deal_id>/activity")
@hide
@signed_in
async def activity(deal_id: str) -> ResponseReturnValue:
    return await _show_deal(deal_id, "activity")


@blueprint.post("/deals/<deal_id>/select")
@hide
@signed_in
async def select(deal_id: str) -> ResponseReturnValue:
    """Make the deal whose page this is the current one, for those without a script."""
    return await _select(deal_id, (await request.form).get("page", "overview"))


@blueprint.post("/workspace/select")
@hide
@signed_in
async def switch() -> ResponseReturnValue:
    form = await request.form
    return await _select(form.get("deal_id", ""), form.get("page", "overview"))


@blueprint.post("/workspace/clear")
@hide
@signed_in
async def clear() -> ResponseReturnValue:
    await clear_selection(resources(), current_session())
    return redirect("/deals?done=cleared", SEE_OTHER)


@blueprint.post("/notices/dismiss")
@hide
@signed_in
async def dismiss() -> ResponseReturnValue:
    form = await request.form
    await dismiss_notice(resources(), current_session(), form.get("code"))
    return redirect(return_to(form.get("next")), SEE_OTHER)


@blueprint.get("/settings")
@hide
@signed_in
async def settings() -> ResponseReturnValue:
    async with resources().database.read() as db:
        recents = await _recents(db)
    return await render_template("workspace/settings.html", recents=recents, done=DONE.get(request.args.get("done", "")))


@blueprint.post("/settings")
@hide
@signed_in
async def save_settings() -> ResponseReturnValue:
    form, session = await request.form, current_session()
    preferences = {"remember_last_deal": "remember_last_deal" in form, "start_at": form.get("start_at"), "theme": form.get("theme")}
    if preferences["start_at"] not in STARTS or preferences["theme"] not in THEMES:
        raise BadRequest("The form came without all of its answers.")
    records = await change_preferences(resources(), session.user_id, preferences)
    if session.loaded and (record := records.get(session.loaded.token_hash)):
        session.adopt(record)
    return redirect("/settings?done=saved", SEE_OTHER)


async def _show_deal(deal_id: str, page: str) -> ResponseReturnValue:
    house, user = resources(), current_user()
    try:
        wanted = path_id(deal_id)
        async with house.database.read() as db:
            shown = await get_detail(db, user.id, wanted, current_deal_id=_current_id(), now=house.clock.now())
            values = await (_load_activity(db, wanted) if page == "activity" else _load_people(db, wanted))
            recents = await _recents(db)
    except NotFound:
        return await _show_gone(page)
    return await render_template(f"workspace/{page}.html", deal=shown, page=page, recents=recents, **values)


async def _load_people(db: AsyncSession, deal_id: int) -> dict[str, Any]:
    return {"members": await list_members(db, deal_id, now=resources().clock.now())}


async def _load_activity(db: AsyncSession, deal_id: int) -> dict[str, Any]:
    user, query = current_user(), parse_query(ActivityQuery, request.args)
    found = await list_activity(db, user.id, deal_id, query, settings=resources().settings)
    events = [{"at": event.at, "text": sentence(event, reader_id=user.id)} for event in found.events]
    return {"events": events, "next_cursor": found.next_cursor}


async def _select(deal_id: str, page: str) -> ResponseReturnValue:
    _check_page(page)
    house = resources()
    await limit_rate(house, "select", current_user().id, house.settings.rate_limit_select)
    try:
        card = await select_deal(house, current_session(), path_id(deal_id))
    except NotFound:
        return await _show_gone(page)
    return redirect(_address(card["id"], page), SEE_OTHER)


async def _show_gone(page: str) -> ResponseReturnValue:
    """The same for a deal that is gone, that one may not see, and that never was."""
    return await render_template("workspace/gone.html", page=page, others=await _others()), NotFound.status


async def _others() -> list[DealSummary]:
    async with resources().database.read() as db:
        return (await _list(db, ListQuery(sort="recent", limit=OTHERS))).deals


async def _list(db: AsyncSession, query: ListQuery) -> DealList:
    house = resources()
    return await list_deals(db, current_user().id, query, settings=house.settings, current_deal_id=_current_id(), now=house.clock.now())


async def _recents(db: AsyncSession) -> list[DealSummary]:
    return await list_recents(db, current_user().id, current_deal_id=_current_id(), now=resources().clock.now())


def _current_id() -> int | None:
    deal = current_deal()
    return deal["id"] if deal else None


def _check_page(page: str) -> None:
    if page not in PAGES:
        raise NotFound


def _address(deal_id: int, page: str = "overview") -> str:
    return f"/deals/{deal_id}/{page}"
