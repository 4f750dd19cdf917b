"""Who sees a deal, over HTTP."""

from quart import Blueprint, Response, jsonify

from app.access.permissions import ANY_ROLE, MANAGING_ROLES
from app.deals.members import change_grant, grant_access, list_members, withdraw_access
from app.deals.schemas import MemberChanges, Members, NewMember, OneMember
from app.deals.store import get_grant, require_role
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.web import current_resources, current_user, signed_in

members = Blueprint("members", __name__, url_prefix="/<id:deal_id>/members")


@members.get("")
@documented("members", Members, problems=(404,))
@signed_in
async def list_(deal_id: int) -> Response:
    """Everybody who sees this deal: its owner, the administrators, and by grants."""
    resources, now = current_resources(), current_resources().clock.now()
    async with resources.database.read() as db:
        role = await require_role(db, current_user().id, deal_id, ANY_ROLE, now=now)
        people = await list_members(db, deal_id, now=now)
    return jsonify(Members(members=people, can_manage=role in MANAGING_ROLES).model_dump(mode="json"))


@members.post("")
@documented("members", OneMember, 201, or_status=200, body=NewMember, problems=(400, 403, 404, 409, 413, 415))
@signed_in
async def grant(deal_id: int) -> Response:
    """Give a colleague access, for ever or until a time. 200 where they had a grant, which this one replaces."""
    await _require_managing(deal_id)
    member, is_new = await grant_access(current_resources(), current_user().id, deal_id, await read_json(NewMember))
    return _answer(OneMember(member=member), 201 if is_new else 200)


@members.patch("/<id:user_id>")
@documented("members", OneMember, body=MemberChanges, problems=(400, 403, 404, 413, 415))
@signed_in
async def change(deal_id: int, user_id: int) -> Response:
    """Another role, or another end of the access."""
    await _require_managing(deal_id)
    resources = current_resources()
    async with resources.database.read() as db:
        await get_grant(db, deal_id, user_id)
    changes = (await read_json(MemberChanges)).model_dump(exclude_unset=True)
    return _answer(OneMember(member=await change_grant(resources, current_user().id, deal_id, user_id, changes)))


@members.delete("/<id:user_id>")
@documented("members", status=204, problems=(403, 404))
@signed_in
async def withdraw(deal_id: int, user_id: int) -> tuple[str, int]:
    """Take the access back; your own you may give up. It counts before this answers."""
    resources, me = current_resources(), current_user().id
    async with resources.database.read() as db:
        await require_role(db, me, deal_id, ANY_ROLE if user_id == me else MANAGING_ROLES, now=resources.clock.now())
    await withdraw_access(resources, me, deal_id, user_id)
    return "", 204


async def _require_managing(deal_id: int) -> None:
    resources = current_resources()
    async with resources.database.read() as db:
        await require_role(db, current_user().id, deal_id, MANAGING_ROLES, now=resources.clock.now())


def _answer(model: OneMember, status: int = 200) -> Response:
    response = jsonify(model.model_dump(mode="json"))
    response.status_code = status
    return response
