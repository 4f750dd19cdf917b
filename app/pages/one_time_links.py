"""The page behind a one-time link: joining an organisation, or a new password. Looking at it changes nothing."""

from collections.abc import Mapping

from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.auth.browser import sign_in_here
from app.auth.links import LinkSpent, get_open_link, join, reset_by_link
from app.auth.people import clean_name
from app.auth.sign_in_lanes import sign_in_lanes_of
from app.core.errors import AppError, BadRequest, Conflict
from app.http.security_events import note_refusal
from app.http.web import current_resources, public
from app.pages.kit.flash import see_other

blueprint = Blueprint("link_pages", __name__)

NOTHING_TYPED: Mapping[str, str] = {}


@blueprint.get("/link")
@public
async def open_link() -> ResponseReturnValue:
    async with sign_in_lanes_of(current_resources().database).place(request.remote_addr or ""):
        return await _show(request.args.get("token", ""))


@blueprint.post("/link")
@public
async def use_link() -> ResponseReturnValue:
    """Use it up, and sign in: the person has just said who they are and what their password is."""
    form = await request.form
    async with sign_in_lanes_of(current_resources().database).place(request.remote_addr or ""):
        email = await _use(form)
    if not isinstance(email, str):
        return email
    await sign_in_here(email, form.get("password", ""), keep_signed_in=False, has_link=True)
    return see_other("/")


async def _use(form: Mapping[str, str]) -> str | ResponseReturnValue:
    """The e-mail to sign in with, or the page that says why not."""
    resources, token, password = current_resources(), form.get("token", ""), form.get("password", "")
    try:
        async with resources.database.read() as db:
            link = await get_open_link(db, token, now=resources.clock.now())
        if password != form.get("again", ""):
            raise BadRequest("The two passwords are not the same.", code="passwords_differ")
        if link.kind == "invitation":
            return await join(resources, token, name=_checked_name(form.get("name", "")), password=password)
        return await reset_by_link(resources, token, password=password)
    except LinkSpent as spent:
        return await _show_spent(spent)
    except (BadRequest, Conflict) as refusal:
        return await _show(token, form, refusal=refusal)


async def _show(token: str, typed: Mapping[str, str] = NOTHING_TYPED, *, refusal: AppError | None = None) -> ResponseReturnValue:
    resources = current_resources()
    try:
        async with resources.database.read() as db:
            link = await get_open_link(db, token, now=resources.clock.now())
    except LinkSpent as spent:
        return await _show_spent(spent)
    values = {"link": link, "token": token, "name": typed.get("name", ""), "refusal": refusal}
    return await render_template("login/link.html", **values), refusal.status if refusal else 200


async def _show_spent(spent: LinkSpent) -> ResponseReturnValue:
    note_refusal(spent)
    return await render_template("login/link_spent.html", spent=spent), spent.status


def _checked_name(text: str) -> str:
    try:
        return clean_name(text)
    except ValueError as error:
        raise BadRequest(f"The name {error}.", code="invalid_name") from error
