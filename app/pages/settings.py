"""The parts of settings that are about oneself: name, password, devices, one's own data. Forms work without a script."""

from typing import Any

from quart import Blueprint, Response, render_template, request
from quart.typing import ResponseReturnValue

from app.auth.browser import change_password_here, sign_out_here
from app.auth.people import change_preferences, clean_name
from app.auth.personal_data import export_person
from app.auth.service import end_logins
from app.auth.store import find_login_before, list_live_logins
from app.core.errors import AppError, BadRequest, Conflict, NotFound, TooManyRequests
from app.http.devices import describe_device
from app.http.security_events import note_refusal
from app.http.web import current_resources, current_user, signed_in
from app.models import Login
from app.pages.kit.flash import see_other
from app.pages.kit.shell import shell_values
from app.sessions.interface import current_session

blueprint = Blueprint("account_pages", __name__, url_prefix="/settings")

# The field that a refused password is about, by the code of the refusal; any other refusal is about the form.
_FIELDS = {
    "wrong_password": "current_password",
    "passwords_differ": "again",
    **dict.fromkeys(
        ("password_too_short", "password_too_long", "password_too_common", "password_unchanged", "password_personal"), "new_password"
    ),
}


@blueprint.get("/profile")
@signed_in
async def profile() -> ResponseReturnValue:
    return await _show_profile()


@blueprint.post("/profile")
@signed_in
async def save_profile() -> ResponseReturnValue:
    typed, session = (await request.form).get("name", ""), current_session()
    try:
        name = clean_name(typed)
    except ValueError as wrong:
        return await _show_profile(about="name", refusal=BadRequest(f"Your name {wrong}."), typed=typed)
    records = await change_preferences(current_resources(), session.user_id, {"name": name})
    if session.loaded and (record := records.get(session.loaded.token_hash)):
        session.adopt(record)
    return see_other("/settings/profile", "name")


@blueprint.post("/password")
@signed_in
async def save_password() -> ResponseReturnValue:
    form = await request.form
    try:
        if form.get("new_password", "") != form.get("again", ""):
            raise BadRequest("The two new passwords are not the same.", code="passwords_differ")
        await change_password_here(form.get("current_password", ""), form.get("new_password", ""))
    except (BadRequest, Conflict, TooManyRequests) as refusal:
        return await _show_profile(about=_FIELDS.get(refusal.code, "password"), refusal=refusal)
    return see_other("/settings/profile", "password")


@blueprint.get("/devices")
@signed_in
async def devices() -> ResponseReturnValue:
    resources, session = current_resources(), current_session()
    now = resources.clock.now()
    async with resources.database.read() as db:
        logins = await list_live_logins(db, session.user_id, now=now)
        before = await find_login_before(db, session.user_id, session.login_id)
        shell = await shell_values(db)
    shown = [(login, describe_device(login.user_agent)) for login in logins]
    shown.sort(key=lambda each: each[0].id != session.login_id)
    values = {"logins": shown, "login_here": session.login_id, **shell}
    return await render_template("settings/devices.html", before=before and (before, describe_device(before.user_agent)), **values)


@blueprint.post("/devices/<id:login_id>/sign-out")
@signed_in
async def sign_out_device(login_id: int) -> ResponseReturnValue:
    session = current_session()
    if login_id == session.login_id:
        await sign_out_here()
        return see_other("/login")
    mine = (Login.id == login_id) & (Login.user_id == session.user_id)
    if not await end_logins(current_resources(), mine, reason="revoked", actor_id=session.user_id):
        raise NotFound
    return see_other("/settings/devices", "device")


@blueprint.post("/devices/sign-out-others")
@signed_in
async def sign_out_others() -> ResponseReturnValue:
    session = current_session()
    others = (Login.user_id == session.user_id) & (Login.id != session.login_id)
    await end_logins(current_resources(), others, reason="revoked", actor_id=session.user_id)
    return see_other("/settings/devices", "others")


@blueprint.get("/export")
@signed_in
async def export() -> ResponseReturnValue:
    """Everything kept of the person who asks, as a file."""
    headers = {"Content-Disposition": 'attachment; filename="holdfast-my-data.json"'}
    return Response(export_person(current_resources(), current_user().id), content_type="application/json", headers=headers)


async def _show_profile(*, about: str = "", refusal: AppError | None = None, typed: str | None = None) -> ResponseReturnValue:
    async with current_resources().database.read() as db:
        shell = await shell_values(db)
    values: dict[str, Any] = {"about": about, "refusal": refusal, **shell}
    values["name"] = current_user().name if typed is None else typed
    headers = {}
    if refusal:
        note_refusal(refusal)
    if refusal and refusal.retry_after:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after.total_seconds())))
    return await render_template("settings/profile.html", **values), refusal.status if refusal else 200, headers
