"""Deals over HTTP: the list, one deal and what is done to it, pins and recents. Each route checks in the contract's order:
who sees it (404), who may (403), what is said (400), whether it still fits (409)."""

from collections.abc import Collection
from functools import partial

from pydantic import BaseModel
from quart import Blueprint, Response, request

from app.access.permissions import ANY_ROLE, BIN_LIFE, EDITING_ROLES, MANAGING_ROLES
from app.deals.activity import ActivityQuery, list_activity
from app.deals.history import as_history, find_steps
from app.deals.listing import ListQuery, list_deals, list_recents
from app.deals.member_routes import members
from app.deals.schemas import (
    Activity,
    Bin,
    DealChanges,
    DealList,
    DeletedDeal,
    History,
    HistoryQuery,
    NewDeal,
    NewOwner,
    OneDeal,
    PersonName,
    PersonRef,
    Recents,
)
from app.deals.service import archive_deal, change_deal, create_deal, delete_deal, pin_deal, transfer_deal, undelete_deal
from app.deals.store import get_detail, list_bin, require_role, require_role_or_bin
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.preconditions import expected_versions
from app.http.query import parse_query
from app.http.ratelimit import limit_rate
from app.http.schemas import Nothing
from app.http.web import current_resources, current_user, signed_in
from app.sessions.interface import current_session

blueprint = Blueprint("deals", __name__, url_prefix="/api/deals")
blueprint.register_blueprint(members)


@blueprint.get("")
@blueprint.get("/list")
@documented("deals", DealList, query=ListQuery, problems=(400, 429))
@signed_in
async def list_() -> Response:
    """The deals you may see, page by page."""
    resources, user = current_resources(), current_user()
    await limit_rate(resources, "list", user.id, resources.settings.rate_limit_list)
    query = parse_query(ListQuery, request.args)
    listed = partial(
        list_deals,
        user_id=user.id,
        query=query,
        settings=resources.settings,
        current_deal_id=_current_deal_id(),
        now=resources.clock.now(),
    )
    if not query.q:
        return _answer(await listed(resources.database))
    async with resources.database.read() as db:  # what searches for words is put together each time; the compiled text SQLAlchemy keeps
        return _answer(await listed(db))


@blueprint.post("")
@documented("deals", OneDeal, 201, body=NewDeal, problems=(400, 403, 409, 413, 415))
@signed_in
async def create() -> Response:
    """Begin a deal; you are its owner."""
    facts = await read_json(NewDeal)
    deal_id = await create_deal(current_resources(), current_user().id, facts.model_dump())
    response = await _answer_deal(deal_id)
    response.status_code = 201
    response.headers["Location"] = f"/api/deals/{deal_id}"
    return response


@blueprint.get("/recent")
@documented("deals", Recents)
@signed_in
async def recent() -> Response:
    """The deals you worked on last."""
    resources = current_resources()
    async with resources.database.read() as db:
        deals = await list_recents(db, current_user().id, current_deal_id=_current_deal_id(), now=resources.clock.now())
    return _answer(Recents(deals=deals))


@blueprint.get("/bin")
@documented("deals", Bin)
@signed_in
async def bin_() -> Response:
    """The deleted deals that you may bring back, for thirty days."""
    resources = current_resources()
    async with resources.database.read() as db:
        found = await list_bin(db, current_user().id, now=resources.clock.now())
    deals = [
        DeletedDeal(id=deal.id, name=deal.name, acquirer=deal.acquirer, deleted_at=deal.deleted_at, gone_at=deal.deleted_at + BIN_LIFE)
        for deal in found
        if deal.deleted_at
    ]
    return _answer(Bin(deals=deals))


@blueprint.get("/<id:deal_id>")
@documented("deals", OneDeal, problems=(404,))
@signed_in
async def show(deal_id: int) -> Response:
    """Everything known of one deal. Its ETag is the version to change it from."""
    return await _answer_deal(deal_id)


@blueprint.patch("/<id:deal_id>")
@documented("deals", OneDeal, body=DealChanges, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def change(deal_id: int) -> Response:
    """State other facts. With a version, in the body or as If-Match, only if the deal is still at it."""
    await _require(deal_id, EDITING_ROLES)
    body = await read_json(DealChanges)
    facts = body.model_dump(exclude_unset=True, exclude={"version"})
    await change_deal(current_resources(), current_user().id, deal_id, facts, expected=expected_versions(body.version))
    return await _answer_deal(deal_id)


@blueprint.delete("/<id:deal_id>")
@documented("deals", status=204, problems=(403, 404))
@signed_in
async def remove(deal_id: int) -> tuple[str, int]:
    """Into the bin, from which it can be brought back for thirty days."""
    await _require(deal_id, MANAGING_ROLES)
    await delete_deal(current_resources(), current_user().id, deal_id)
    return "", 204


@blueprint.post("/<id:deal_id>/archive")
@documented("deals", OneDeal, body=Nothing, problems=(400, 403, 404, 413, 415))
@signed_in
async def archive(deal_id: int) -> Response:
    """Make it read-only. Nobody loses their place."""
    return await _set_archived(deal_id, archived=True)


@blueprint.post("/<id:deal_id>/unarchive")
@documented("deals", OneDeal, body=Nothing, problems=(400, 403, 404, 413, 415))
@signed_in
async def unarchive(deal_id: int) -> Response:
    """Make it editable again."""
    return await _set_archived(deal_id, archived=False)


@blueprint.post("/<id:deal_id>/restore")
@documented("deals", OneDeal, body=Nothing, problems=(400, 403, 404, 413, 415))
@signed_in
async def bring_back(deal_id: int) -> Response:
    """Out of the bin. The people who worked on it come back to it."""
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        await require_role_or_bin(db, user.id, deal_id, MANAGING_ROLES, now=resources.clock.now())
    await read_json(Nothing)
    await undelete_deal(resources, user.id, deal_id)
    return await _answer_deal(deal_id)


@blueprint.post("/<id:deal_id>/transfer")
@documented("deals", NewOwner, body=PersonRef, problems=(400, 403, 404, 413, 415))
@signed_in
async def transfer(deal_id: int) -> Response:
    """Make a colleague the owner."""
    await _require(deal_id, MANAGING_ROLES)
    owner = await transfer_deal(current_resources(), current_user().id, deal_id, to=await read_json(PersonRef))
    return _answer(NewOwner(owner=PersonName(id=owner.id, name=owner.name)))


@blueprint.put("/<id:deal_id>/pin")
@documented("deals", status=204, problems=(404,))
@signed_in
async def pin(deal_id: int) -> tuple[str, int]:
    """Keep it at hand."""
    await pin_deal(current_resources(), current_user().id, deal_id, pinned=True)
    return "", 204


@blueprint.delete("/<id:deal_id>/pin")
@documented("deals", status=204, problems=(404,))
@signed_in
async def unpin(deal_id: int) -> tuple[str, int]:
    """No longer keep it at hand."""
    await pin_deal(current_resources(), current_user().id, deal_id, pinned=False)
    return "", 204


@blueprint.get("/<id:deal_id>/activity")
@documented("deals", Activity, query=ActivityQuery, problems=(400, 404))
@signed_in
async def activity(deal_id: int) -> Response:
    """What happened to it, the latest first."""
    resources, user = current_resources(), current_user()
    await _require(deal_id, ANY_ROLE)
    query = parse_query(ActivityQuery, request.args)
    async with resources.database.read() as db:
        return _answer(await list_activity(db, user.id, deal_id, query, settings=resources.settings))


@blueprint.get("/<id:deal_id>/history")
@documented("deals", History, query=HistoryQuery, problems=(400, 404))
@signed_in
async def history(deal_id: int) -> Response:
    """What its facts said before, change by change. PATCH brings back what you choose."""
    resources, user = current_resources(), current_user()
    await _require(deal_id, ANY_ROLE)
    query = parse_query(HistoryQuery, request.args)
    async with resources.database.read() as db:
        now = resources.clock.now()
        deal = await get_detail(db, user.id, deal_id, current_deal_id=_current_deal_id(), now=now)
        return _answer(as_history(await find_steps(db, "deal", deal, user.id, now=now), query))


async def _set_archived(deal_id: int, *, archived: bool) -> Response:
    await _require(deal_id, MANAGING_ROLES)
    await read_json(Nothing)
    await archive_deal(current_resources(), current_user().id, deal_id, archived=archived)
    return await _answer_deal(deal_id)


async def _require(deal_id: int, roles: Collection[str]) -> None:
    """That this person sees the deal in one of `roles`: before the body is looked at."""
    resources = current_resources()
    async with resources.database.read() as db:
        await require_role(db, current_user().id, deal_id, roles, now=resources.clock.now())


async def _answer_deal(deal_id: int) -> Response:
    resources = current_resources()
    async with resources.database.read() as db:
        deal = await get_detail(db, current_user().id, deal_id, current_deal_id=_current_deal_id(), now=resources.clock.now())
    response = _answer(OneDeal(deal=deal))
    response.headers["ETag"] = f'"{deal.version}"'
    return response


def _answer(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), content_type="application/json")


def _current_deal_id() -> int | None:
    return current_session().get("current_deal_id")
