"""The checklist over HTTP: the list, its order, and what can be done to any thing inside a deal."""

from quart import Blueprint, Response, request

from app.access.permissions import ANY_ROLE
from app.checklist.order import move_item, raise_item
from app.checklist.schemas import Checklist, ChecklistQuery, ItemChanges, Move, MovedItem, NewItem, OneItem, Raise
from app.checklist.service import ITEM
from app.checklist.store import list_items
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.query import parse_query
from app.http.web import current_resources, current_user, signed_in
from app.work.routes import Api, add_routes, as_json, require, require_item

blueprint = Blueprint("checklist", __name__, url_prefix="/api/deals/<id:deal_id>/checklist")


@blueprint.get("")
@documented("checklist", Checklist, query=ChecklistQuery, problems=(400, 404))
@signed_in
async def list_(deal_id: int) -> Response:
    """What is to be obtained and done, section by section, in one piece."""
    await require(deal_id, ANY_ROLE)
    return await _list(deal_id, parse_query(ChecklistQuery, request.args))


@blueprint.post("/<id:item_id>/raise")
@documented("checklist", Checklist, body=Raise, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def move_up(deal_id: int, item_id: int) -> Response:
    """Put it above the item that stands right above it; down is the same from the other side. 409 where the two are neighbours no more."""
    await require_item(ITEM, deal_id, item_id)
    where = await read_json(Raise)
    await raise_item(current_resources(), current_user().id, deal_id, item_id, above_id=where.above, section=where.section)
    return await _list(deal_id, ChecklistQuery())


@blueprint.post("/<id:item_id>/move")
@documented("checklist", MovedItem, body=Move, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def move(deal_id: int, item_id: int) -> Response:
    """Put it right after another item, in its section or in another one. 409 where that one is deleted, or in another section by now."""
    await require_item(ITEM, deal_id, item_id)
    to = await read_json(Move)
    return as_json(await move_item(current_resources(), current_user().id, deal_id, item_id, after_id=to.after, section=to.section))


API = Api(ITEM, "checklist", "item", OneItem, NewItem, ItemChanges)
add_routes(blueprint, API, about_create="Add an item at the end of its section.")


async def _list(deal_id: int, query: ChecklistQuery) -> Response:
    resources = current_resources()
    async with resources.database.read() as db:
        return as_json(await list_items(db, current_user().id, deal_id, query, now=resources.clock.now()))
