"""Signing in and out for the browser of this request: its cookies and its session. Pages and API share it."""

from dataclasses import replace
from typing import Any, cast

import quart_auth
import structlog
from quart import Quart, Response, current_app, g, request
from sqlalchemy import bindparam, or_

from app.auth import service
from app.auth.known_browsers import LIFETIME, read_tokens, write_tokens
from app.auth.links import NewLink
from app.auth.service import Browser
from app.auth.user import LoginCookie
from app.core.cookies import DEVICE, CookieNames
from app.core.errors import Conflict, NotAuthenticated, StoreUnavailable
from app.http.security_headers import clear_site_data, own_address
from app.http.sign_in_redirect import forget_refusal
from app.http.web import current_resources
from app.models import Login
from app.sessions.interface import current_session
from app.sessions.manager import Outcome
from app.sessions.token import hash_token

MAX_USER_AGENT = 300
MAX_ADDRESS = 64

log = structlog.get_logger()

_OF_COOKIE = service.LoginsOfPeople(or_(Login.id == bindparam("login_id"), Login.token_hash.in_(bindparam("hashes", expanding=True))))


class LoginUnreadable(Conflict):
    """The sign-in cookie cannot be read, so success cannot be claimed."""

    def __init__(self, *, ended: bool) -> None:
        what = (
            "You were signed out, but this browser holds a second sign-in, which this server cannot read and which may live on."
            if ended
            else "This server cannot read the sign-in this browser holds, so nobody was signed out."
        )
        hint = "Try once more. If that does not help, sign in and end the earlier sign-in under Settings, Devices."
        super().__init__(f"{what} {hint}", code="login_unreadable")


async def sign_in_here(email: str, password: str, *, keep_signed_in: bool, has_link: bool = False) -> None:
    """Sign in with this browser; `has_link`: by a one-time link, used just now. Raises NotAuthenticated, TooManyRequests."""
    resources = current_resources()
    here, data = this_browser(), resources.initial_session_data
    login = await service.sign_in(
        resources, email, password, keep_signed_in=keep_signed_in, browser=here, initial_data=data, has_link=has_link
    )
    quart_auth.login_user(LoginCookie(login.token), remember=keep_signed_in)
    current_session().adopt(login.record, token_hash=hash_token(login.token))
    forget_refusal()
    g.device_token = login.device_token


async def sign_out_here() -> None:
    """End every login of this browser's cookies, mostly one or none, and leave nothing of it in the browser.

    A login that cannot be read is not reported as ended and keeps its cookie: another server may be able to read it.
    """
    session, cookie = current_session(), cast(LoginCookie, quart_auth.current_user)
    if session.outcome is Outcome.UNKNOWN:
        raise StoreUnavailable("Signing out cannot be made sure of at the moment. Please try again.")
    was_signed_in = session.signed_in
    if cookie.tokens:
        await _end_logins_of(cookie)
    if was_signed_in or not cookie.is_unreadable:
        session.end()
        clear_site_data()
    if cookie.is_unreadable:
        log.warning("A login was not ended: no key of this site has signed its cookie. Is the key before in SECRET_KEY_FALLBACKS?")
        raise LoginUnreadable(ended=was_signed_in)
    quart_auth.logout_user()


async def _end_logins_of(cookie: LoginCookie) -> None:
    """The session's, and whatever else its tokens stand for: one may seem to be over, and another version, or a clock that is
    behind, is not to be proven right who thinks otherwise."""
    session = current_session()
    login_id, actor_id = (session.login_id, session.user_id) if session.signed_in else (None, None)
    tokens: dict[str, Any] = {"login_id": login_id, "hashes": [hash_token(token) for token in cookie.tokens]}
    await service.end_logins(current_resources(), _OF_COOKIE, reason="signed_out", actor_id=actor_id, **tokens)


async def change_password_here(current: str, new: str) -> None:
    """Change the password; this browser stays signed in, with another token, and no other one does."""
    session = current_session()
    loaded = session.loaded
    identity = (loaded.record or loaded.blank) if loaded else None
    if loaded is None or identity is None:
        raise NotAuthenticated
    token, keep_signed_in = await service.change_password(current_resources(), identity, current, new, browser=this_browser())
    quart_auth.login_user(LoginCookie(token), remember=keep_signed_in)
    if loaded.record:
        session.adopt(loaded.record, token_hash=hash_token(token))
    else:
        session.loaded = replace(loaded, token_hash=hash_token(token))


def init_device_cookie(app: Quart, names: CookieNames) -> None:
    """The cookie that recognises a browser: written at sign-in, kept at sign-out."""
    app.extensions["cookie_names"] = names


def write_device_cookie(response: Response) -> None:
    """After a request in which somebody signed in."""
    if token := g.pop("device_token", None):
        names: CookieNames = current_app.extensions["cookie_names"]
        value = write_tokens(token, list(_known_by()))
        name, path = names.name(DEVICE), names.path()
        response.set_cookie(name, value, max_age=LIFETIME, path=path, httponly=True, secure=not names.plain, samesite="Lax")


def _known_by() -> tuple[str, ...]:
    return tuple(read_tokens(request.cookies.get(current_app.extensions["cookie_names"].name(DEVICE), "")))


def this_browser() -> Browser:
    session = current_session()
    return Browser(
        address=(request.remote_addr or "")[:MAX_ADDRESS],
        user_agent=_printable(request.headers.get("User-Agent", ""))[:MAX_USER_AGENT],
        token_hash=session.loaded.token_hash if session.signed_in and session.loaded else None,
        known_by=_known_by(),
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def link_url(link: NewLink) -> str:
    """The URL of a link. The token is in the query, which our logs omit, not in the path, which they contain."""
    return f"{own_address()}/link?token={link.token}"
