"""The way to the sign-in page and back, which never becomes a circle, whatever cookies say and servers think of them.

A page that needs somebody sends the browser to `/login`; `/login` sends somebody who is signed in on to the page. Where the two
disagree (a cookie for one path only, a server with another key), that would go on for ever, so the first leaves a mark.
"""

from typing import Any, cast
from urllib.parse import urlencode

from quart import Response, after_this_request, current_app, redirect, request

from app.core.cookies import REFUSED, CookieNames
from app.sessions.interface import HoldfastSessions

# For the redirect alone, and short, so that it means nothing to the next visit.
MARK_SECONDS = 10


def redirect_to_sign_in(asked_for: str) -> Response:
    """To be asked who it is that asks for this page."""
    response: Response = redirect("/login" if asked_for == "/" else f"/login?{urlencode({'next': asked_for})}")  # type: ignore[assignment]
    response.set_cookie(_mark(), "1", max_age=MARK_SECONDS, path=_names().path(), secure=not _names().plain, httponly=True, samesite="Lax")
    return response


def was_just_refused() -> bool:
    """Whether a page has sent this browser to the sign-in page just now."""
    return _mark() in request.cookies


def forget_refusal() -> None:
    """Somebody has just signed in: with this answer the mark goes."""
    if was_just_refused():

        @after_this_request
        def take_away(response: Any) -> Any:
            response.delete_cookie(_mark(), path=_names().path(), secure=not _names().plain, httponly=True, samesite="Lax")
            return response


def _names() -> CookieNames:
    return cast(HoldfastSessions, current_app.session_interface).names


def _mark() -> str:
    return _names().name(REFUSED)
