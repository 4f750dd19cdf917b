"""Signing in and out by form, without a script."""

import math

from quart import Blueprint, redirect, render_template, request
from quart.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from app.auth.browser import sign_in_here, sign_out_here
from app.errors import AppError, BadRequest, NotAuthenticated, TooManyRequests, Unavailable
from app.security import return_to
from app.sessions.interface import current_session
from app.web import public

blueprint = Blueprint("login_pages", __name__)

SEE_OTHER = 303


@blueprint.get("/login")
@public
async def login_form() -> ResponseReturnValue:
    wanted = return_to(request.args.get("next"))
    # Only a session that knows its person is sent on: a page that cannot tell who asks leads back here.
    if "user" in current_session():
        return redirect(wanted, SEE_OTHER)
    message = "" if wanted == "/" else "Sign in and you go on to the page you asked for."
    return await _show_form(wanted, message=message)


@blueprint.post("/login")
@public
async def login() -> ResponseReturnValue:
    form = await request.form
    wanted = return_to(form.get("next"))
    try:
        await sign_in_here(form.get("email", ""), form.get("password", ""), keep_signed_in="keep_signed_in" in form)
    except (NotAuthenticated, BadRequest):
        return await _show_form(wanted, form, 401, title="That did not work", detail="The e-mail or the password is not right.")
    except TooManyRequests as refused:
        detail = f"Try again in {_seconds(refused)}. Until then no password is looked at, not even the right one."
        return await _show_form(wanted, form, 429, refused, title="Too many attempts", detail=detail)
    except Unavailable as outage:
        detail = f"Your password was not at fault. Try again in {_seconds(outage)}."
        return await _show_form(wanted, form, 503, outage, title="Signing in is not possible for a moment", detail=detail)
    return redirect(wanted, SEE_OTHER)


@blueprint.post("/logout")
@public
async def logout() -> ResponseReturnValue:
    await sign_out_here()
    return redirect("/login", SEE_OTHER)


async def _show_form(
    wanted: str, form: MultiDict[str, str] | None = None, status: int = 200, fault: AppError | None = None, *, message: str = "", **error: str
) -> ResponseReturnValue:
    """The form with what was typed, but for the password."""
    typed = form or MultiDict()
    page = await render_template(
        "auth/login.html",
        next=wanted,
        email=typed.get("email", ""),
        keep_signed_in="keep_signed_in" in typed,
        message=message,
        error={**error, "outage": status != 401} if error else None,
    )
    headers = {"Retry-After": str(_whole_seconds(fault))} if fault and fault.retry_after else {}
    return page, status, headers


def _whole_seconds(fault: AppError) -> int:
    return math.ceil(fault.retry_after.total_seconds()) if fault.retry_after else 1


def _seconds(fault: AppError) -> str:
    seconds = _whole_seconds(fault)
    if seconds >= 120:
        return f"{math.ceil(seconds / 60)} minutes"
    return "a second" if seconds == 1 else f"{seconds} seconds"
