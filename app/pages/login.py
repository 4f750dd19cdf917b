"""Signing in and out by form, without a script."""

import math
from collections.abc import Mapping
from typing import Any

import quart_auth
from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from app.auth.browser import sign_in_here, sign_out_here
from app.core.errors import AppError, BadRequest, NotAuthenticated, TooManyRequests, Unavailable
from app.http.security_events import note_refusal
from app.http.security_headers import return_to
from app.http.sign_in_redirect import was_just_refused
from app.http.web import public, user_card
from app.pages.kit.flash import see_other
from app.sessions.interface import current_session

blueprint = Blueprint("login_pages", __name__)

KEPT = "typed:"
NOTHING_TYPED: Mapping[str, str] = {}


@blueprint.get("/login")
@public
async def login_form() -> ResponseReturnValue:
    wanted = return_to(request.args.get("next"))
    # Only a session that knows its person is sent on: a page that cannot tell who asks leads back here.
    if user_card(current_session()) is None:
        message = "" if wanted == "/" else "Sign in and you go on to the page you asked for."
        return await _show_form(wanted, message=message)
    if was_just_refused():
        return await _show_form(wanted, message="You are signed in here, but the page you asked for did not know it. Sign in once more.")
    return see_other(wanted)


@blueprint.post("/login")
@public
async def login() -> ResponseReturnValue:
    form = await request.form
    wanted = return_to(form.get("next"))
    try:
        await sign_in_here(form.get("email", ""), form.get("password", ""), keep_signed_in="keep_signed_in" in form)
    except (NotAuthenticated, BadRequest, TooManyRequests, Unavailable) as refusal:
        return await _show_form(wanted, form, refusal=refusal)
    typed, typed_for = kept_fields(form), return_to(form.get("typed-for"))
    author = form.get(f"{KEPT}by", "")
    if typed and typed_for != "/" and author == str(current_session().user_id):
        return await render_template("login/typed.html", next=wanted, typed=typed, typed_for=typed_for)
    return see_other(wanted)


@blueprint.post("/login/forget")
@public
async def forget() -> ResponseReturnValue:
    """Delete an unreadable cookie from this browser. It ends no login, and claims none."""
    if current_session().cookie_is_unreadable:
        quart_auth.logout_user()
    return see_other("/login")


@blueprint.post("/logout")
@public
async def logout() -> ResponseReturnValue:
    await sign_out_here()
    return see_other("/login")


def kept_fields(form: Mapping[str, str]) -> list[tuple[str, str]]:
    """The fields of a form whose sender had to sign in first; they travel with the sign-in under names of their own."""
    pairs = form.items(multi=True) if isinstance(form, MultiDict) else form.items()
    return [(name.removeprefix(KEPT), value) for name, value in pairs if name.startswith(KEPT)]


async def _show_form(
    wanted: str, typed: Mapping[str, str] = NOTHING_TYPED, *, message: str = "", refusal: AppError | None = None
) -> ResponseReturnValue:
    """The form with what was typed, but for the password."""
    if refusal:
        note_refusal(refusal)
    email, keep_signed_in = typed.get("email", ""), "keep_signed_in" in typed
    error = _explain(refusal) if refusal else None
    kept = {"typed": kept_fields(typed), "typed_for": typed.get("typed-for", "")}
    said = {"email": email, "keep_signed_in": keep_signed_in, "message": message, "error": error}
    said["unreadable"] = current_session().cookie_is_unreadable
    page = await render_template("login/login.html", next=wanted, **said, **kept)
    headers = {"Retry-After": str(_seconds(refusal))} if refusal and refusal.retry_after else {}
    return page, 401 if isinstance(refusal, BadRequest) else refusal.status if refusal else 200, headers


def _explain(refusal: AppError) -> dict[str, Any]:
    """What happened and what to do. Reveals no more about an account than the API."""
    wait = _in_words(_seconds(refusal))
    if isinstance(refusal, TooManyRequests):
        title, detail = "Too many attempts", f"Try again in {wait}. Until then no password from here is looked at."
    elif isinstance(refusal, Unavailable):
        title, detail = "Signing in is not possible for a moment", f"Your password was not at fault. Try again in {wait}."
    else:
        return {"title": "That did not work", "detail": "The e-mail or the password is not right.", "is_typing": True}
    return {"title": title, "detail": detail, "is_typing": False}


def _seconds(refusal: AppError) -> int:
    return math.ceil(refusal.retry_after.total_seconds()) if refusal.retry_after else 1


def _in_words(seconds: int) -> str:
    if seconds >= 120:
        return f"{math.ceil(seconds / 60)} minutes"
    return "a second" if seconds == 1 else f"{seconds} seconds"
