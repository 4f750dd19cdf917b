"""The current deal over HTTP: select, current, clear, the notice about it, and the place in it."""

from typing import Any

from pydantic import BaseModel
from quart import Blueprint, request, session

from app.current_deal.places import keep_place
from app.current_deal.schemas import MAX_PLACE_BYTES, CurrentDeal, Dismissal, Seen, Selected
from app.current_deal.service import clear_selection, dismiss_notice, select_deal, undo_restore
from app.current_deal.visits import PAGES, note_page
from app.http.devices import describe_device
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.ratelimit import limit_rate, limits_itself
from app.http.schemas import Nothing
from app.http.web import current_resources, current_user, signed_in
from app.sessions.interface import current_session

selection = Blueprint("selection", __name__, url_prefix="/api")


class Shown(BaseModel):
    """`page` of the deal that the person sees: overview, findings, checklist, team or activity. Anything else says nothing."""

    page: str | None = None


@selection.post("/deals/<id:deal_id>/select")
@documented("selection", Selected, query=Shown, problems=(404, 429))
@limits_itself
@signed_in
async def select(deal_id: int) -> dict[str, Any]:
    """Work on this deal. Idempotent; durable once it answers 200."""
    resources = current_resources()
    await limit_rate(resources, "select", current_user().id, resources.settings.rate_limit_select)
    card = await select_deal(resources, current_session(), deal_id, page=_page_shown())
    return {"deal": card, "selected_at": session["selected_at"]}


@selection.post("/deals/<id:deal_id>/visit")
@documented("selection", query=Shown, status=204, problems=(404, 429))
@limits_itself
@signed_in
async def visit(deal_id: int) -> tuple[str, int]:
    """A page of this deal is really seen, without choosing the deal anew: it is the one to come back to, what it shows is no longer new."""
    resources, user = current_resources(), current_user()
    await limit_rate(resources, "select", user.id, resources.settings.rate_limit_select)
    await note_page(resources, user.id, deal_id, _page_shown() or "overview")
    notice = session.get("notice") or {}
    if (notice.get("code"), notice.get("deal_id")) == ("restored", deal_id):
        await dismiss_notice(resources, current_session(), "restored")  # said once, by the page that is seen now
    return "", 204


@selection.put("/place")
@documented("selection", status=204, body=Seen, problems=(400, 404, 413, 415, 429))
@limits_itself
@signed_in
async def keep() -> tuple[str, int]:
    """Remember where I am on a page, for every device. The place seen last wins; nothing is kept for who does not want it."""
    resources, user = current_resources(), current_user()
    await limit_rate(resources, "place", user.id, resources.settings.rate_limit_select)
    seen = await read_json(Seen, max_bytes=MAX_PLACE_BYTES)
    await keep_place(resources, user.id, seen, device=describe_device(request.headers.get("User-Agent", "")))
    return "", 204


@selection.get("/deals/current")
@documented("selection", CurrentDeal)
@signed_in
async def current() -> dict[str, Any]:
    """The deal this session is on, how it came by it, and a notice until it is dismissed. Served from the session alone."""
    data = current_session()
    return {"deal": data.get("deal"), "source": data.get("source", "none"), "notice": data.get("notice")}


@selection.delete("/deals/current")
@documented("selection", status=204)
@signed_in
async def clear() -> tuple[str, int]:
    """Forget the deal in every session of this person."""
    await clear_selection(current_resources(), current_session())
    return "", 204


@selection.post("/deals/current/undo")
@documented("selection", CurrentDeal, body=Nothing, problems=(400, 413, 415))
@signed_in
async def undo() -> dict[str, Any]:
    """Leave a deal that was restored, in this session only; it stays the one that other browsers and later logins come back to."""
    await read_json(Nothing)
    await undo_restore(current_resources(), current_session())
    return await current()


@selection.post("/notices/dismiss")
@documented("selection", status=204, body=Dismissal, problems=(400, 413, 415))
@signed_in
async def dismiss() -> tuple[str, int]:
    """The notice has been read. With a `code`, only that one: another that came meanwhile stays."""
    await dismiss_notice(current_resources(), current_session(), (await read_json(Dismissal)).code)
    return "", 204


def _page_shown() -> str | None:
    page = request.args.get("page")
    return page if page in PAGES else None
