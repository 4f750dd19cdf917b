"""What every route shares: who may call it, who calls it, and the resources of the app."""

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from quart import Quart, current_app, g, request
from sqlalchemy import select
from structlog.contextvars import bind_contextvars

from app.core.errors import Forbidden, NotAuthenticated, StoreUnavailable
from app.core.stored_json import from_json
from app.core.time_budget import set_time_budget
from app.http.security_headers import refuse_cross_site
from app.models import User
from app.resources import Resources
from app.sessions.interface import current_session
from app.sessions.manager import Outcome

# Of a login cookie that another key has signed.
UNREADABLE = "The sign-in this browser holds cannot be read here. Sign in to go on."
View = TypeVar("View", bound=Callable[..., Any])


class Access(Enum):
    """Who may call a route. Every route declares one; a test walks the URL map for those that forgot."""

    PUBLIC = "public"
    SIGNED_IN = "signed in"
    OPERATORS = "operators"


class UserCard(NamedTuple):
    """Who is signed in, as the session remembers it; access to a deal is never decided from it.

    What a session of another version does not say is the least there is.
    """

    id: int
    email: str
    organisation_id: int
    name: str = ""
    organisation: str = ""
    role: str = "member"
    is_operator: bool = False
    remember_last_deal: bool = True
    start_at: str = "last_deal"
    theme: str = "system"
    start_deal_id: int | None = None
    remember_place: bool = True


def _declare(access: Access) -> Callable[[View], View]:
    def mark(view: View) -> View:
        view.access = access  # type: ignore[attr-defined]
        return view

    return mark


public = _declare(Access.PUBLIC)
signed_in = _declare(Access.SIGNED_IN)
operators_only = _declare(Access.OPERATORS)


def current_resources() -> Resources:
    return cast(Resources, current_app.extensions["holdfast"])


def with_time_budget(asgi_app: Any, limit: timedelta) -> Any:
    """Every request waits for the database within one limit, from before its session is opened until its answer begins.

    A download or a stream of events goes on for longer; each of its looks has its own limit.
    """

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                set_time_budget(None)
            await send(message)

        if scope["type"] != "lifespan":  # what a server starts lives as long as it does, and would soon have used it up
            set_time_budget(limit.total_seconds())
        await asgi_app(scope, receive, sending)

    return limited


def name_request() -> None:
    """First of all: an id for the log, the error page and the audit."""
    g.request_id = request_id = secrets.token_hex(8)
    bind_contextvars(request_id=request_id)  # all there is bound, so nothing of an earlier request is left


def check_access(access: Access) -> None:
    """401 for a route that needs somebody, then 403 for another site's request."""
    if access is not Access.PUBLIC:
        require_signed_in()
    refuse_cross_site()


async def check_role(access: Access) -> None:
    if access is Access.OPERATORS and not await is_operator(current_user().id, remembered=current_user().is_operator):
        raise Forbidden("This page is for operators.")


async def is_operator(user_id: int, *, remembered: bool) -> bool:
    """What a session remembers opens no door: it may be behind, and it may come from a Redis that others write to. SQL is asked."""
    if not remembered:
        return False
    async with current_resources().database.read() as db:
        return bool(await db.scalar(select(User.id).where(User.id == user_id, User.is_operator, User.disabled_at.is_(None))))


def access_of_request() -> Access:
    """Of the route asked for; what is no route is nobody's."""
    rule = request.url_rule
    return access_of(current_app, rule.endpoint) if rule is not None else Access.PUBLIC


def access_of(app: Quart, endpoint: str) -> Access:
    """Raises `AttributeError` for a view that declares none."""
    known: dict[str, Access] = app.extensions.setdefault("access", {"static": Access.PUBLIC})
    if endpoint not in known:
        view: Any = app.view_functions[endpoint]
        while isinstance(view, partial):
            view = view.func
        known[endpoint] = view.access
    return known[endpoint]


def require_signed_in() -> None:
    session = current_session()
    if session.outcome is Outcome.UNKNOWN:
        raise StoreUnavailable("Your session cannot be checked at the moment. Nothing is lost: you are still signed in.")
    if not session.signed_in:
        raise NotAuthenticated(UNREADABLE if session.cookie_is_unreadable else "Sign in to go on.")


def current_user() -> UserCard:
    """Who is signed in. Raises `NotAuthenticated`, or `StoreUnavailable` while nobody can say."""
    session = current_session()
    card = user_card(session)
    if card is None:
        if session.signed_in:
            raise StoreUnavailable("Who you are cannot be looked up at the moment. Nothing is lost: you are still signed in.")
        raise NotAuthenticated("Sign in to go on.")
    return card


def user_card(data: Mapping[str, Any]) -> UserCard | None:
    """The person of a session's data."""
    return from_json(UserCard, data.get("user"))


def wants_json() -> bool:
    """Programs get problem+json, people get pages."""
    return request.path.startswith("/api/")
