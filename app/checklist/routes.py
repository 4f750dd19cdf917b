"""The checklist over HTTP. Each route checks in the contract's order: sight (404), role (403), what is said (400), does it fit (409)."""

from collections.abc import Collection

from pydantic import BaseModel
from quart import Blueprint, Response, jsonify, request

from app.checklist.schemas import Checklist, ChecklistQuery, ItemChanges, ItemView, NewItem, OneItem, Raise
from app.checklist.service import bring_back_item, change_item, create_item, delete_item, raise_item
from app.checklist.store import get_item, list_items, require_item
from app.deals.listing import parse_query
from app.deals.permissions import ANY_ROLE, EDITING_ROLES
from app.deals.preconditions import expected_versions
from app.deals.schemas import Nothing
from app.deals.store import require_role
from app.openapi import documented
from app.web import current_user, path_id, read_json, resources, signed_in

blueprint = Blueprint("checklist", __name__, url_prefix="/api/deals/<deal_id>/checklist")


@blueprint.get("")
@documented("checklist", Checklist, query=ChecklistQuery, problems=(400, 404))
@signed_in
async def list_(deal_id: str) -> Response:
    """What is to be obtained and done, section by section, in one piece."""
    house, user = resources(), current_user()
    wanted = await _require(deal_id, ANY_ROLE)
    query = parse_query(ChecklistQuery, request.args)
    async with house.database.read() as db:
        return _answer(await list_items(db, user.id, wanted, query, now=house.clock.now()))


@blueprint.post("")
@documented("checklist", OneItem, 201, body=NewItem, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def create(deal_id: str) -> Response:
    """Add an item at the end of its section."""
    wanted = await _require(deal_id, EDITING_ROLES)
    facts = await read_json(NewItem)
    item_id = await create_item(resources(), current_user().id, wanted, facts.model_dump())
    response = _answer_item(await _find(wanted, item_id), 201)
    response.headers["Location"] = f"/api/deals/{wanted}/checklist/{item_id}"
    return response


@blueprint.get("/<item_id>")
@documented("checklist", OneItem, problems=(404,))
@signed_in
async def show(deal_id: str, item_id: str) -> Response:
    """One item. Its ETag is the version to change it from."""
    return _answer_item(await _find(path_id(deal_id), path_id(item_id)))


@blueprint.patch("/<item_id>")
@documented("checklist", OneItem, body=ItemChanges, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def change(deal_id: str, item_id: str) -> Response:
    """State other facts. With a version, in the body or as If-Match, only if the item is still at it; else 409 with both versions."""
    wanted, item = await _require_item(deal_id, item_id)
    body = await read_json(ItemChanges)
    facts = body.model_dump(exclude_unset=True, exclude={"version"})
    user_id, expected = current_user().id, expected_versions(body.version)
    return _answer_item(await change_item(resources(), user_id, wanted, item, facts, expected=expected))


@blueprint.delete("/<item_id>")
@documented("checklist", status=204, problems=(400, 403, 404, 409))
@signed_in
async def remove(deal_id: str, item_id: str) -> tuple[str, int]:
    """Delete it; `restore` undoes that. With If-Match only if it is still at that version."""
    wanted, item = await _require_item(deal_id, item_id)
    await delete_item(resources(), current_user().id, wanted, item, expected=expected_versions(None))
    return "", 204


@blueprint.post("/<item_id>/restore")
@documented("checklist", OneItem, body=Nothing, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def bring_back(deal_id: str, item_id: str) -> Response:
    """Undo its deletion."""
    wanted = await _require(deal_id, EDITING_ROLES)
    item = path_id(item_id)
    await read_json(Nothing)
    await bring_back_item(resources(), current_user().id, wanted, item)
    return _answer_item(await _find(wanted, item))


@blueprint.post("/<item_id>/raise")
@documented("checklist", Checklist, body=Raise, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def move_up(deal_id: str, item_id: str) -> Response:
    """Put it above the item that stands right above it; down is the same from the other side. 409 where the two are neighbours no more."""
    wanted, item = await _require_item(deal_id, item_id)
    where, house, user_id = await read_json(Raise), resources(), current_user().id
    await raise_item(house, user_id, wanted, item, above_id=where.above, section=where.section)
    async with house.database.read() as db:
        return _answer(await list_items(db, user_id, wanted, ChecklistQuery(), now=house.clock.now()))


async def _require(deal_id: str, roles: Collection[str]) -> int:
    """The id, once it is sure that this person sees the deal in one of `roles`: before the body is looked at."""
    house, wanted = resources(), path_id(deal_id)
    async with house.database.read() as db:
        await require_role(db, current_user().id, wanted, roles, now=house.clock.now())
    return wanted


async def _require_item(deal_id: str, item_id: str) -> tuple[int, int]:
    house, wanted, item = resources(), path_id(deal_id), path_id(item_id)
    async with house.database.read() as db:
        await require_item(db, current_user().id, wanted, item, EDITING_ROLES, now=house.clock.now())
    return wanted, item


async def _find(deal_id: int, item_id: int) -> ItemView:
    house = resources()
    async with house.database.read() as db:
        return await get_item(db, current_user().id, deal_id, item_id, now=house.clock.now())


def _answer_item(item: ItemView, status: int = 200) -> Response:
    response = _answer(OneItem(item=item))
    response.status_code = status
    response.headers["ETag"] = f'"{item.version}"'
    return response


def _answer(model: BaseModel) -> Response:
    return jsonify(model.model_dump(mode="json"))
