"""The pages of administration: the people of an organisation, one of them, and how well everybody comes back."""

from typing import Any

from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.admin import service
from app.admin.guard import OperatorAccount
from app.admin.restore_statistics import TARGET_OF_ALL, TARGET_OF_POSSIBLE, choose_restore, get_figures, get_restore_state
from app.admin.schemas import PeopleQuery, PersonQuery
from app.admin.store import get_person, get_row, list_grants, list_invitations, list_people
from app.auth.administrators import get_administered
from app.auth.browser import link_url
from app.auth.links import NewLink, invite
from app.auth.store import list_live_logins
from app.core.errors import AppError, BadRequest, Conflict
from app.http.devices import describe_device
from app.http.ids import parse_id
from app.http.query import parse_query
from app.http.web import current_resources, current_user, signed_in
from app.pages.kit.flash import see_other
from app.pages.kit.shell import shell_values
from app.sessions.interface import current_session

blueprint = Blueprint("admin_pages", __name__, url_prefix="/admin")

ROLES = ("admin", "member")


@blueprint.get("/people")
@signed_in
async def people() -> ResponseReturnValue:
    return await _show_people()


@blueprint.post("/people/invite")
@signed_in
async def invite_somebody() -> ResponseReturnValue:
    """The answer shows the link, once: no address leads to it."""
    form = await request.form
    email, role = form.get("email", ""), form.get("role", "member")
    await _require_administrator()
    try:
        if role not in ROLES:
            raise BadRequest("Choose what the person is to be.")
        link = await invite(current_resources(), current_user().id, email, role)
    except (BadRequest, Conflict) as refusal:
        return await _show_people(refusal=refusal, typed=email)
    return await _show_people(link=link)


@blueprint.post("/invitations/<id:link_id>/withdraw")
@signed_in
async def withdraw_invitation(link_id: int) -> ResponseReturnValue:
    await service.withdraw_invitation(current_resources(), current_user().id, link_id)
    return see_other("/admin/people", "invitation")


@blueprint.get("/people/<id:user_id>")
@signed_in
async def person(user_id: int) -> ResponseReturnValue:
    return await _show_person(user_id)


@blueprint.post("/people/<id:user_id>/role")
@signed_in
async def role(user_id: int) -> ResponseReturnValue:
    chosen = (await request.form).get("role", "")
    if chosen not in ROLES:
        raise BadRequest("Choose what the person is to be.")
    return await _do(user_id, "role", service.change_role(current_resources(), current_user().id, user_id, chosen))


@blueprint.post("/people/<id:user_id>/disable")
@signed_in
async def disable(user_id: int) -> ResponseReturnValue:
    return await _do(user_id, "disabled", service.disable_person(current_resources(), current_user().id, user_id))


@blueprint.post("/people/<id:user_id>/enable")
@signed_in
async def enable(user_id: int) -> ResponseReturnValue:
    return await _do(user_id, "enabled", service.enable_person(current_resources(), current_user().id, user_id))


@blueprint.post("/people/<id:user_id>/reset")
@signed_in
async def reset(user_id: int) -> ResponseReturnValue:
    try:
        link = await service.offer_new_password(current_resources(), current_user().id, user_id)
    except (Conflict, OperatorAccount) as refusal:
        return await _show_person(user_id, refusal=refusal)
    return await _show_person(user_id, link=link)


@blueprint.post("/people/<id:user_id>/sign-out")
@signed_in
async def sign_out(user_id: int) -> ResponseReturnValue:
    """Of one browser, or of all."""
    login_id = (await request.form).get("login_id", "")
    which = parse_id(login_id) if login_id else None
    return await _do(user_id, "signed-out", service.end_logins_of(current_resources(), current_user().id, user_id, which))


@blueprint.post("/people/<id:user_id>/grants/<id:deal_id>/withdraw")
@signed_in
async def withdraw_grant(user_id: int, deal_id: int) -> ResponseReturnValue:
    return await _do(user_id, "withdrawn", service.withdraw_grant(current_resources(), current_user().id, user_id, deal_id))


@blueprint.get("/restore")
@signed_in
async def restore() -> ResponseReturnValue:
    resources = current_resources()
    async with resources.database.read() as db:
        organisation_id = await get_administered(db, current_user().id)
        state = await get_restore_state(db, resources, organisation_id)
        figures = await get_figures(db, organisation_id, now=resources.clock.now())
        shell = await shell_values(db)
    targets = {"target_of_all": TARGET_OF_ALL, "target_of_possible": TARGET_OF_POSSIBLE}
    return await render_template("admin/restore.html", switch=state, figures=figures, **shell, **targets)


@blueprint.post("/restore")
@signed_in
async def choose() -> ResponseReturnValue:
    await choose_restore(current_resources(), current_user().id, enabled="enabled" in await request.form)
    return see_other("/admin/restore", "restore")


async def _show_people(*, link: NewLink | None = None, refusal: AppError | None = None, typed: str = "") -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    query = parse_query(PeopleQuery, request.args)
    async with resources.database.read() as db:
        organisation_id = await get_administered(db, user.id)
        found, next_cursor, total = await list_people(
            db, user.id, organisation_id, q=query.q, cursor=query.cursor, settings=resources.settings
        )
        invitations = await list_invitations(db, organisation_id, now=resources.clock.now())
        shell = await shell_values(db)
    values: dict[str, Any] = {"people": found, "next_cursor": next_cursor, "total": total, "invitations": invitations} | shell
    values |= {"query": query, "refusal": refusal, "typed": typed, "link": link, "link_url": link and link_url(link)}
    return await render_template("admin/people.html", **values), refusal.status if refusal else 200


async def _show_person(user_id: int, *, link: NewLink | None = None, refusal: AppError | None = None) -> ResponseReturnValue:
    resources, admin_id = current_resources(), current_user().id
    now = resources.clock.now()
    async with resources.database.read() as db:
        await get_person(db, admin_id, user_id)
        query = parse_query(PersonQuery, request.args)
        row = await get_row(db, user_id)
        logins = [(login, describe_device(login.user_agent)) for login in await list_live_logins(db, user_id, now=now)]
        grants, next_cursor = await list_grants(db, admin_id, user_id, cursor=query.cursor, settings=resources.settings, now=now)
        shell = await shell_values(db)
    values: dict[str, Any] = {"person": row, "logins": logins, "grants": grants, "next_cursor": next_cursor} | shell
    values |= {"cursor": query.cursor, "refusal": refusal, "link": link, "link_url": link and link_url(link)}
    values |= {"login_here": current_session().login_id}
    return await render_template("admin/person.html", **values), refusal.status if refusal else 200


async def _do(user_id: int, done: str, action: Any) -> ResponseReturnValue:
    """Do it and show the person again; a refusal of what was asked is shown there too."""
    try:
        await action
    except (Conflict, OperatorAccount) as refusal:
        return await _show_person(user_id, refusal=refusal)
    return see_other(f"/admin/people/{user_id}", done)


async def _require_administrator() -> None:
    async with current_resources().database.read() as db:
        await get_administered(db, current_user().id)
