"""Administration over HTTP: people, invitations, logins, grants, and how well people come back. For administrators of the organisation."""

from quart import Blueprint, Response, jsonify, request
from quart.typing import ResponseReturnValue

from app.admin import service
from app.admin.guard import refusal_recorded
from app.admin.restore_statistics import TARGET_OF_ALL, TARGET_OF_POSSIBLE, choose_restore, get_figures, get_restore_state
from app.admin.schemas import (
    Figures,
    GrantInList,
    InvitationInList,
    Invitations,
    Link,
    NewInvitation,
    OneLink,
    OnePerson,
    People,
    PeopleQuery,
    PersonChanges,
    PersonInList,
    PersonQuery,
    Restore,
    RestoreChoice,
    RestoreSwitch,
    dump,
)
from app.admin.store import get_person, get_row, list_grants, list_invitations, list_people
from app.auth.administrators import get_administered
from app.auth.browser import link_url
from app.auth.links import NewLink, invite
from app.auth.routes import Device, Ended, as_device
from app.auth.store import list_live_logins
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.query import parse_query
from app.http.schemas import Nothing
from app.http.web import current_resources, current_user, signed_in

blueprint = Blueprint("admin", __name__, url_prefix="/api/admin")

_BODY = (400, 413, 415)


@blueprint.get("/people")
@documented("administration", People, query=PeopleQuery, problems=(400, 403))
@signed_in
async def people() -> Response:
    """The people of your organisation, by name."""
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        organisation_id = await get_administered(db, user.id)
        query = parse_query(PeopleQuery, request.args)
        found, next_cursor, total = await list_people(
            db, user.id, organisation_id, q=query.q, cursor=query.cursor, settings=resources.settings
        )
    rows = [PersonInList.model_validate(person) for person in found]
    return jsonify(dump(People(people=rows, next_cursor=next_cursor, total=total)))


@blueprint.get("/people/<id:user_id>")
@documented("administration", OnePerson, query=PersonQuery, problems=(400, 403, 404))
@signed_in
async def person(user_id: int) -> Response:
    """One of them, with their devices and what is shared with them."""
    return await _answer_person(user_id)


@blueprint.patch("/people/<id:user_id>")
@documented("administration", OnePerson, body=PersonChanges, problems=(403, 404, 409, *_BODY))
@signed_in
async def change(user_id: int) -> Response:
    """Another role, disabled or enabled. Ends the person's logins; the last administrator stays one."""
    await _require(user_id)
    resources, admin_id = current_resources(), current_user().id
    body = await read_json(PersonChanges)
    if body.role is not None:
        await service.change_role(resources, admin_id, user_id, body.role)
    elif body.disabled:
        await service.disable_person(resources, admin_id, user_id)
    else:
        await service.enable_person(resources, admin_id, user_id)
    if user_id == admin_id:
        # Nobody of that name is signed in here any more, who could be shown anything.
        return jsonify({})
    return await _answer_person(user_id)


@blueprint.post("/people/<id:user_id>/reset")
@documented("administration", OneLink, 201, body=Nothing, problems=(403, 404, 409, *_BODY))
@signed_in
async def reset(user_id: int) -> ResponseReturnValue:
    """A one-time link by which the person sets a new password. It is told this once."""
    await _require(user_id)
    await read_json(Nothing)
    return _answer_link(await service.offer_new_password(current_resources(), current_user().id, user_id)), 201


@blueprint.delete("/people/<id:user_id>/logins")
@documented("administration", Ended, problems=(403, 404))
@signed_in
async def end_logins(user_id: int) -> Response:
    """Sign a person out everywhere."""
    ended = await service.end_logins_of(current_resources(), current_user().id, user_id)
    return jsonify({"ended": ended})


@blueprint.delete("/people/<id:user_id>/logins/<id:login_id>")
@documented("administration", status=204, problems=(403, 404))
@signed_in
async def end_login(user_id: int, login_id: int) -> ResponseReturnValue:
    """Sign a person out of one browser."""
    await service.end_logins_of(current_resources(), current_user().id, user_id, login_id)
    return "", 204


@blueprint.delete("/people/<id:user_id>/grants/<id:deal_id>")
@documented("administration", status=204, problems=(403, 404))
@signed_in
async def withdraw_grant(user_id: int, deal_id: int) -> ResponseReturnValue:
    """Take back what is shared with a person."""
    await service.withdraw_grant(current_resources(), current_user().id, user_id, deal_id)
    return "", 204


@blueprint.get("/invitations")
@documented("administration", Invitations, problems=(403,))
@signed_in
async def invitations() -> Response:
    """Those that still can be used."""
    resources = current_resources()
    async with resources.database.read() as db:
        organisation_id = await get_administered(db, current_user().id)
        found = await list_invitations(db, organisation_id, now=resources.clock.now())
    return jsonify(dump(Invitations(invitations=[InvitationInList.model_validate(each) for each in found])))


@blueprint.post("/invitations")
@documented("administration", OneLink, 201, body=NewInvitation, problems=(403, 409, *_BODY))
@signed_in
async def invite_somebody() -> ResponseReturnValue:
    """A one-time link by which somebody joins your organisation. It is told this once; an earlier one for the address is worth nothing."""
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        await get_administered(db, user.id)
    body = await read_json(NewInvitation)
    return _answer_link(await invite(resources, user.id, body.email, body.role)), 201


@blueprint.delete("/invitations/<id:link_id>")
@documented("administration", status=204, problems=(403, 404))
@signed_in
async def withdraw_invitation(link_id: int) -> ResponseReturnValue:
    """Make its link worthless."""
    await service.withdraw_invitation(current_resources(), current_user().id, link_id)
    return "", 204


@blueprint.get("/restore")
@documented("administration", Restore, problems=(403,))
@signed_in
async def restore() -> Response:
    """Whether deals come back by themselves, who decided that, and how often they did in the last thirty days."""
    return await _answer_restore()


@blueprint.patch("/restore")
@documented("administration", Restore, body=RestoreChoice, problems=(403, *_BODY))
@signed_in
async def choose() -> Response:
    """Your organisation's own choice. The environment and the operators of the installation have the first word."""
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        await get_administered(db, user.id)
    await choose_restore(resources, user.id, enabled=(await read_json(RestoreChoice)).enabled)
    return await _answer_restore()


async def _require(user_id: int) -> None:
    """That this person may be managed by who asks: before the body is looked at."""
    resources, admin_id = current_resources(), current_user().id
    async with refusal_recorded(resources, admin_id, user_id, request.method.lower()):
        await service.check_manageable(resources, admin_id, user_id)


async def _answer_person(user_id: int) -> Response:
    resources, admin_id = current_resources(), current_user().id
    now = resources.clock.now()
    async with resources.database.read() as db:
        await get_person(db, admin_id, user_id)
        query = parse_query(PersonQuery, request.args)
        row = PersonInList.model_validate(await get_row(db, user_id))
        logins = [Device(**as_device(login, this_one=False)) for login in await list_live_logins(db, user_id, now=now)]
        found, next_cursor = await list_grants(db, admin_id, user_id, cursor=query.cursor, settings=resources.settings, now=now)
    grants = [GrantInList.model_validate(grant) for grant in found]
    return jsonify(dump(OnePerson(person=row, logins=logins, grants=grants, next_cursor=next_cursor)))


def _answer_link(link: NewLink) -> Response:
    shown = Link(id=link.id, kind=link.kind, email=link.email, url=link_url(link), expires_at=link.expires_at)
    return jsonify(dump(OneLink(link=shown)))


async def _answer_restore() -> Response:
    resources = current_resources()
    async with resources.database.read() as db:
        organisation_id = await get_administered(db, current_user().id)
        state = RestoreSwitch.model_validate(await get_restore_state(db, resources, organisation_id))
        figures = Figures.model_validate(await get_figures(db, organisation_id, now=resources.clock.now()))
    targets = {"of_all": TARGET_OF_ALL, "of_possible": TARGET_OF_POSSIBLE}
    return jsonify(dump(Restore(switch=state, figures=figures, targets=targets)))
