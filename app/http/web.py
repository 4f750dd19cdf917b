"""What every route shares: who may call it, strict JSON, ids in paths, and the resources of the app."""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

from pydantic import BaseModel, ValidationError
from quart import Quart, current_app, g, request
from sqlalchemy import select
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.core.errors import BadRequest, Forbidden, NotAuthenticated, NotFound, PayloadTooLarge, StoreUnavailable, UnsupportedMediaType
from app.core.stored_json import from_json
from app.core.time_budget import set_time_budget
from app.http.security_headers import refuse_cross_site
from app.models import User
from app.resources import Resources
from app.sessions.interface import current_session
from app.sessions.manager import Outcome

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_ID = 2**63 - 1
# Of a login cookie that another key has signed.
UNREADABLE = "The sign-in this browser holds cannot be read here. Sign in to go on."
# One answer need not name more than can be read.
MAX_PROBLEMS = 20
_JSON_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")

Model = TypeVar("Model", bound=BaseModel)
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


async def name_request() -> None:
    """First of all: an id for the log, the error page and the audit."""
    g.request_id = secrets.token_hex(8)
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


async def check_access() -> None:
    """401 for a route that needs somebody, then 403 for another site's request."""
    if access_of_request() is not Access.PUBLIC:
        require_signed_in()
    refuse_cross_site()


async def check_role() -> None:
    if access_of_request() is Access.OPERATORS and not await is_operator(current_user().id, remembered=current_user().is_operator):
        raise Forbidden("This page is for operators.")


async def is_operator(user_id: int, *, remembered: bool) -> bool:
    """What a session remembers opens no door: it may be behind, and it may come from a Redis that others write to. SQL is asked."""
    if not remembered:
        return False
    async with current_resources().database.read() as db:
        return bool(await db.scalar(select(User.id).where(User.id == user_id, User.is_operator, User.disabled_at.is_(None))))


def access_of_request() -> Access:
    """Of the route asked for; what is no route is nobody's."""
    if request.endpoint is None or request.endpoint == "static":
        return Access.PUBLIC
    return access_of(current_app, request.endpoint)


def access_of(app: Quart, endpoint: str) -> Access:
    view: Any = app.view_functions[endpoint]
    while isinstance(view, partial):
        view = view.func
    return cast(Access, view.access)


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


def path_id(text: str) -> int:
    """An id from a path: ASCII digits, 1 to 2^63 - 1. Anything else is as absent as an id that does not exist."""
    if not (text.isascii() and text.isdigit()) or text.startswith("0") or int(text[:20]) > MAX_ID or len(text) > 19:
        raise NotFound
    return int(text)


async def read_json(model: type[Model], *, max_bytes: int = MAX_BODY_BYTES) -> Model:
    """The body as `model`, strictly: 413 too large, 415 not JSON, 400 for anything the model does not say. An empty body is `{}`."""
    if (request.content_length or 0) > max_bytes:
        raise PayloadTooLarge(f"A request body may have {max_bytes} bytes.")
    body = cast(bytes, await request.get_data(as_text=False))
    if len(body) > max_bytes:
        raise PayloadTooLarge(f"A request body may have {max_bytes} bytes.")
    if body and request.mimetype != "application/json":
        raise UnsupportedMediaType("Send application/json.")
    try:
        return model.model_validate(parse_json(body) if body else {})
    except ValidationError as error:
        problems = [
            {"field": ".".join(map(str, each["loc"])), "problem": each["msg"]}
            for each in error.errors(include_input=False, include_url=False, include_context=False)[:MAX_PROBLEMS]
        ]
        raise BadRequest("; ".join(f"{each['field']}: {each['problem']}" for each in problems), code="invalid", errors=problems) from error


def parse_json(body: bytes) -> Any:
    """JSON as the standard has it: no NaN, no duplicate keys, no lone surrogates, at most `MAX_DEPTH` levels. Raises `BadRequest`."""
    if _depth(body) > MAX_DEPTH:
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_number)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair, by an escape, cannot be
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def _number(text: str) -> float | int:
    """To JSON 1.0 is as good a whole number as 1."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth(body: bytes) -> int:
    """How deep brackets stand in one another, those in texts left out; no deeper than matters.

    Before parsing: how deep a parser can go is its Python's to say.
    """
    depth = deepest = 0
    for bracket in _BRACKETS.finditer(_JSON_TEXT.sub(b"", body)):
        depth += 1 if bracket.group() in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            break
    return deepest
