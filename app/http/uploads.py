"""Bodies of requests: bounded in memory, whatever their size and whichever Quart is underneath.

Only the addresses in `UPLOADS` may be sent large files, which are read as they are taken, at the sender's pace or ours, whichever
is slower. Every other body keeps its small limit.

Quart 0.22 hands a body its data by `append`, 0.23 by `put`; from 0.23 on its own body also has no bound until a handler reads it.
So the bodies here are our own, and of Quart only `Request.body_class` and the calls in `RequestBody` are used
(`tests/architecture/test_internals.py` names what changed where that is no longer enough).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import lru_cache
from typing import Any

from quart import Quart, Request, request
from werkzeug.exceptions import RequestEntityTooLarge

from app.http.form_limits import BoundedFormParser

UPLOADS = frozenset({"/imports", "/api/imports"})
MAX_FILE = 64 * 1024 * 1024
# A form of a deal page with the longest text in any script, new and as it was, at twelve bytes a character; or such a form on its way
# through a sign-in.
MAX_FORM = 512 * 1024
# What a form wraps around its file.
ENVELOPE = 64 * 1024
# A browser shows our answer only once it has sent everything, so what is too large is read to its end and thrown away; up to here.
MAX_DISCARDED_BODY = 4 * MAX_FILE
HELD = 1024 * 1024
# A slow line may take its time, as long as something comes.
TIMEOUT_SECONDS = 1800
# Where the gate of an upload finds its body.
SCOPE_KEY = "holdfast.upload"

ASGIApp = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class RequestBody:
    """What Quart asks of `Request.body_class`. Holds no more than `limit`; beyond it, reading raises `RequestEntityTooLarge`."""

    def __init__(self, declared: int | None, limit: int | None) -> None:
        self._data = bytearray()
        self._limit = limit
        self._complete = False
        self._changed = asyncio.Event()
        # Errors are the reader's: what receives the data runs outside of the application.
        self._error: Exception | None = None
        if declared is not None and limit is not None and declared > limit:
            self._refuse()

    def append(self, data: bytes) -> None:
        if self._error is not None or not data:
            return
        self._data.extend(data)
        self._changed.set()
        if self._limit is not None and len(self._data) > self._limit:
            self._refuse()

    async def put(self, data: bytes) -> None:
        self.append(data)

    def set_complete(self) -> None:
        self._complete = True
        self._changed.set()

    def set_result(self, data: bytes) -> None:
        self.append(data)
        self.set_complete()

    def disconnect(self) -> None:
        """The client is gone. Quart cancels the handler, so there is nothing to tell it."""

    def clear(self) -> None:
        self._data.clear()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._data and not self._complete and self._error is None:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        if not self._data:
            raise StopAsyncIteration
        data = bytes(self._data)
        self._data.clear()
        return data

    def __await__(self) -> Generator[Any, None, bytes]:
        while not self._complete and self._error is None:
            self._changed.clear()
            yield from self._changed.wait().__await__()
        if self._error is not None:
            raise self._error
        return bytes(self._data)

    def _refuse(self) -> None:
        self._error = RequestEntityTooLarge()
        self._data.clear()
        self.set_complete()


class UploadBody(RequestBody):
    """Holds about `HELD` bytes at most. Raises `RequestEntityTooLarge` at the end of a body beyond the limit."""

    def __init__(self, declared: int | None) -> None:
        self._room = asyncio.Event()
        self._room.set()
        self._received = 0
        self._abandoned = False
        super().__init__(declared, MAX_DISCARDED_BODY)

    @property
    def is_too_large(self) -> bool:
        return self._received > MAX_FILE + ENVELOPE

    async def room(self) -> None:
        """Wait until what was received before has been taken."""
        await self._room.wait()

    def abandon(self) -> None:
        """Nobody reads any more: what still comes is thrown away."""
        self._abandoned = True
        self._data.clear()
        self._room.set()

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        finally:
            self._room.set()

    def append(self, data: bytes) -> None:
        self._received += len(data)
        if self._abandoned:
            return
        if self.is_too_large:
            self._data.clear()
            self._room.set()
            if self._received > MAX_DISCARDED_BODY:
                self._refuse()
            return
        super().append(data)
        if len(self._data) > HELD:
            self._room.clear()

    def set_complete(self) -> None:
        if self.is_too_large:
            self._error = RequestEntityTooLarge()
        super().set_complete()

    def _refuse(self) -> None:
        super()._refuse()
        self._room.set()


class StreamingUploadRequest(Request):
    """A request whose body is bounded, an `UploadBody` where a file may come, and whose form has a bounded number of fields."""

    body_class: Any = RequestBody
    form_data_parser_class = BoundedFormParser

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        if self.method == "POST" and self.path in UPLOADS:
            self.body: Any = UploadBody(self.content_length)
            scope: Any = self.scope
            scope[SCOPE_KEY] = self.body
            self.body_timeout = TIMEOUT_SECONDS
            # To the parser of forms this is how much it may hold at once.
            self.max_content_length = 8 * HELD
        elif self.method == "POST" and (self.path == "/login" or self.path.startswith("/deals/")):
            self.body = RequestBody(self.content_length, MAX_FORM)
            self.max_content_length = MAX_FORM

    @property
    def blueprints(self) -> list[str]:
        """Quart asks three times in each request."""
        return _blueprints_of(self.url_rule.endpoint) if self.url_rule is not None else []


@lru_cache(maxsize=1024)
def _blueprints_of(endpoint: str) -> list[str]:
    """From the innermost on."""
    names = endpoint.split(".")[:-1]
    return [".".join(names[:end]) for end in range(len(names), 0, -1)]


def init_uploads(app: Quart) -> None:
    app.request_class = StreamingUploadRequest
    app.asgi_app = _gated(app.asgi_app)  # type: ignore[method-assign, assignment]
    app.teardown_request(_abandon_upload)


def _gated(asgi_app: ASGIApp) -> ASGIApp:
    """Takes the next message of an upload only once there is room for it; the server then slows the sender down."""

    async def call(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        async def receive_when_there_is_room() -> Any:
            body: UploadBody | None = scope.get(SCOPE_KEY)
            if body is not None:
                await body.room()
            return await receive()

        takes_a_body = scope["type"] == "http" and scope["method"] == "POST"
        await asgi_app(scope, receive_when_there_is_room if takes_a_body else receive, send)

    return call


async def _abandon_upload(_error: BaseException | None) -> None:
    # Whoever receives would else wait for a reader that has left, and the request with it.
    body: Any = request.body
    if isinstance(body, UploadBody):
        body.abandon()
