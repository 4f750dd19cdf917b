"""The things inside a deal over HTTP.

Each route checks in the contract's order: sight (404), role (403), what is said (400), does it fit (409).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from quart import Blueprint, Response, jsonify, request

from app.access.permissions import EDITING_ROLES
from app.deals.history import as_history, find_steps
from app.deals.schemas import History, HistoryQuery
from app.deals.store import require_role
from app.http.json_bodies import read_json
from app.http.openapi import Empty, documented
from app.http.preconditions import expected_versions
from app.http.query import parse_query
from app.http.schemas import Nothing
from app.http.web import current_resources, current_user, signed_in
from app.work.service import Kind, change_thing, create_thing, delete_thing, undelete_thing
from app.work.store import require_thing

View = Callable[..., Any]


@dataclass(frozen=True)
class Api:
    """The API of one kind: its topic in the documentation, and its bodies. `one` holds the thing in `field`."""

    kind: Kind[Any]
    topic: str
    field: str
    one: type[BaseModel]
    new: type[BaseModel]
    changes: type[BaseModel]

    def answer(self, thing: Any, status: int = 200) -> Response:
        response = as_json(self.one(**{self.field: thing}))
        response.status_code = status
        response.headers["ETag"] = f'"{thing.version}"'
        return response

    async def find(self, deal_id: int, item_id: int) -> Any:
        resources = current_resources()
        async with resources.database.read() as db:
            return await self.kind.get(db, current_user().id, deal_id, item_id, now=resources.clock.now())


def add_routes(blueprint: Blueprint, api: Api, *, about_create: str) -> None:
    """What can be done to one thing of a kind; the list of them is the kind's own."""
    kind, word = api.kind, api.kind.word

    def route(
        method: str, rule: str, about: str, answer: type[BaseModel], status: int, *problems: int, **more: Any
    ) -> Callable[[View], View]:
        def add(view: View) -> View:
            view.__doc__ = about
            document = documented(api.topic, answer, status, problems=problems, **more)
            return blueprint.route(rule, methods=[method])(document(signed_in(view)))

        return add

    @route("POST", "", about_create, api.one, 201, 400, 403, 404, 409, 413, 415, body=api.new)
    async def create(deal_id: int) -> Response:
        await require(deal_id, EDITING_ROLES)
        facts = await read_json(api.new)
        item_id = await create_thing(current_resources(), kind, current_user().id, deal_id, facts.model_dump())
        response = api.answer(await api.find(deal_id, item_id), 201)
        response.headers["Location"] = f"/api/deals/{deal_id}/{api.topic}/{item_id}"
        return response

    @route("GET", "/<id:item_id>", f"One {word}. Its ETag is the version to change it from.", api.one, 200, 404)
    async def show(deal_id: int, item_id: int) -> Response:
        return api.answer(await api.find(deal_id, item_id))

    about_history = "What it said before, change by change. PATCH brings back what you choose."

    @route("GET", "/<id:item_id>/history", about_history, History, 200, 400, 404, query=HistoryQuery)
    async def history(deal_id: int, item_id: int) -> Response:
        resources, user_id = current_resources(), current_user().id
        async with resources.database.read() as db:
            now = resources.clock.now()
            thing = await kind.get(db, user_id, deal_id, item_id, now=now)
            query = parse_query(HistoryQuery, request.args)
            return as_json(as_history(await find_steps(db, kind.word, thing, user_id, now=now), query))

    from_where = f"With a version, in the body or as If-Match, only if the {word} is still at it; else 409 with both versions."

    @route("PATCH", "/<id:item_id>", f"State other facts. {from_where}", api.one, 200, 400, 403, 404, 409, 413, 415, body=api.changes)
    async def change(deal_id: int, item_id: int) -> Response:
        await require_item(kind, deal_id, item_id)
        body: Any = await read_json(api.changes)
        facts = body.model_dump(exclude_unset=True, exclude={"version"})
        expected = expected_versions(body.version)
        return api.answer(await change_thing(current_resources(), kind, current_user().id, deal_id, item_id, facts, expected=expected))

    about_remove = "Delete it; `restore` undoes that. With If-Match only if it is still at that version."

    @route("DELETE", "/<id:item_id>", about_remove, Empty, 204, 400, 403, 404, 409)
    async def remove(deal_id: int, item_id: int) -> tuple[str, int]:
        await require_item(kind, deal_id, item_id)
        await delete_thing(current_resources(), kind, current_user().id, deal_id, item_id, expected=expected_versions(None))
        return "", 204

    @route("POST", "/<id:item_id>/restore", "Undo its deletion.", api.one, 200, 400, 403, 404, 409, 413, 415, body=Nothing)
    async def bring_back(deal_id: int, item_id: int) -> Response:
        await require(deal_id, EDITING_ROLES)
        await read_json(Nothing)
        await undelete_thing(current_resources(), kind, current_user().id, deal_id, item_id)
        return api.answer(await api.find(deal_id, item_id))


async def require(deal_id: int, roles: Collection[str]) -> None:
    """That this person sees the deal in one of `roles`: before the body is looked at."""
    resources = current_resources()
    async with resources.database.read() as db:
        await require_role(db, current_user().id, deal_id, roles, now=resources.clock.now())


async def require_item(kind: Kind[Any], deal_id: int, item_id: int) -> None:
    """That this person may change the thing."""
    resources = current_resources()
    async with resources.database.read() as db:
        await require_thing(db, kind.table, current_user().id, deal_id, item_id, EDITING_ROLES, now=resources.clock.now())


def as_json(model: BaseModel) -> Response:
    return jsonify(model.model_dump(mode="json"))
