"""The one place that renders errors: problem+json (RFC 9457) under /api, a page elsewhere, the request's id on both."""

import math
from typing import Any

import structlog
from quart import Quart, Response, g, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from app.core.errors import (
    AppError,
    BadRequest,
    CrossSite,
    DatabaseUnavailable,
    NotAuthenticated,
    NotFound,
    PayloadTooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from app.http.security_events import note_refusal
from app.http.security_headers import return_to
from app.http.sign_in_redirect import redirect_to_sign_in
from app.http.typed import Fields, typed_fields
from app.http.web import wants_json

log = structlog.get_logger()

# What the framework refuses, in the words of our own errors: its names and texts are for programmers.
_OWN_WORDS = {error.status: (error.code, error.title) for error in (BadRequest, NotFound, PayloadTooLarge, UnsupportedMediaType)} | {
    405: ("method_not_allowed", "This address is not a page")
}


def init_errors(app: Quart) -> None:
    app.register_error_handler(AppError, _app_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


async def _app_error(error: AppError) -> Response:
    note_refusal(error)
    if isinstance(error, NotAuthenticated) and not wants_json() and request.method in ("GET", "HEAD"):
        asked_for = request.full_path.rstrip("?")
        return redirect_to_sign_in(asked_for)
    if isinstance(error, NotAuthenticated) and not wants_json() and (typed := await typed_fields()):
        return await _sign_in_to_send(typed)
    if error.status >= 500 and error.code != "too_busy":
        facts = {"reason": error.reason, "fix": error.fix} if isinstance(error, DatabaseUnavailable) else {}
        log.error("A request could not be served.", code=error.code, detail=error.detail, cause=repr(error.__cause__)[:300], **facts)
    wait = None if error.retry_after is None else math.ceil(error.retry_after.total_seconds())
    response = await _render(error.status, error.code, error.title, error.detail, error.extra, wait=wait)
    if wait is not None:
        response.headers["Retry-After"] = str(wait)
    return response


async def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]
    code, title = _OWN_WORDS.get(status, ("http_error", error.name))
    response = await _render(status, code, title, "" if status in _OWN_WORDS else error.description or "", {})
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


async def _unexpected(error: Exception) -> Response:
    log.exception("Unhandled error in a request.", path=request.path)
    return await _render(500, AppError.code, AppError.title, "It has been recorded. Trying again may help.", {})


async def _render(status: int, code: str, title: str, detail: str, extra: dict[str, Any], *, wait: int | None = None) -> Response:
    # A request refused before it was named, such as one for a foreign host, has no id yet.
    request_id = g.get("request_id", "")
    if wants_json():
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code, "request_id": request_id}
        response = jsonify(problem | extra)
        response.content_type = "application/problem+json"
    else:
        said = {"status": status, "code": code, "title": title, "detail": detail, "retry_after": wait}
        typed = await _typed(status, code)
        page = await render_template("error.html", **said, request_id=request_id, typed=typed)
        response = Response(page, content_type="text/html; charset=utf-8")
    response.status_code = status
    return response


async def _typed(status: int, code: str) -> Fields:
    """What an answer carries back. Another site's words are not the person's, and are not put before them as if they were."""
    if status == PayloadTooLarge.status or code == CrossSite.code:
        return []
    return await typed_fields() or (await _sent() if status == Unavailable.status else [])


async def _sent() -> Fields:
    """The fields of a form that an outage kept from being saved, to be sent again. No password and no file goes back."""
    if request.method != "POST" or request.mimetype != "application/x-www-form-urlencoded":
        return []
    form = await request.form
    if any("password" in name for name in form):
        return []
    return list(form.items(multi=True))


async def _sign_in_to_send(typed: Fields) -> Response:
    """The login has ended while somebody wrote. They sign in, see what they wrote, and send it."""
    wanted = return_to(dict(typed).get("here"))
    message = "Your sign-in has ended. Nothing is lost: sign in, and you can send what you typed."
    page = await render_template(
        "login/login.html", next=wanted, email="", keep_signed_in=False, message=message, error=None, typed=typed, typed_for=request.path
    )
    return Response(page, status=NotAuthenticated.status, content_type="text/html; charset=utf-8")
