"""Bodies too large to be held: they are read as they are taken, at the sender's pace or ours, whichever is slower.

Only the addresses in `UPLOADS` may be sent so much; every other body keeps its small limit.
"""

import asyncio
from typing import Any

from hypercorn.typing import ASGIReceiveCallable
from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

from app.form_limits import BoundedFormParser

UPLOADS = frozenset({"/imports", "/api/imports"})
LARGEST_FILE = 64 * 1024 * 1024
# What a form wraps around its file.
ENVELOPE = 64 * 1024
# A browser shows our answer only once it has sent everything, so what is too large is read to its end and thrown away; up to here.
LARGEST_DISCARDED = 4 * LARGEST_FILE
HELD = 1024 * 1024
# A slow line may take its time, as long as something comes.
TIMEOUT_SECONDS = 1800


class UploadBody(Body):
    """Holds about `HELD` bytes at most. Raises `RequestEntityTooLarge` at the end of a body beyond the limit."""

    def __init__(self, declared: int | None) -> None:
        super().__init__(None, None)
        self._room = asyncio.Event()
        self._room.set()
        self._received = 0
        if declared is not None and declared > LARGEST_DISCARDED:
            self._refuse()

    @property
    def is_too_large(self) -> bool:
        return self._received > LARGEST_FILE + ENVELOPE

    async def room(self) -> None:
        """Wait until what was received before has been taken."""
        await self._room.wait()

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            if self._must_raise is not None:
                raise self._must_raise from None  # found out while we waited: what came before is no whole file
            raise
        finally:
            if len(self._data) <= HELD:
                self._room.set()

    def append(self, data: bytes) -> None:
        self._received += len(data)
        if self.is_too_large:
            self.clear()
            self._room.set()
            if self._received > LARGEST_DISCARDED:
                self._refuse()
            return
        super().append(data)
        if len(self._data) > HELD:
            self._room.clear()

    def set_complete(self) -> None:
        if self.is_too_large:
            self._must_raise = RequestEntityTooLarge()
        super().set_complete()

    def _refuse(self) -> None:
        self._must_raise = RequestEntityTooLarge()
        super().set_complete()


class HouseRequest(Request):
    """A request whose body is an `UploadBody` where a file may come, and whose form has a bounded number of fields."""

    form_data_parser_class = BoundedFormParser

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        if self.method == "POST" and self.path in UPLOADS:
            self.body = UploadBody(self.content_length)
            self.body_timeout = TIMEOUT_SECONDS
            # To the parser of forms this is how much it may hold at once.
            self.max_content_length = 8 * HELD


class HouseConnection(ASGIHTTPConnection):
    """Takes the next message of an upload only once there is room for it; the server then slows the sender down."""

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        if not isinstance(request.body, UploadBody):
            await super().handle_messages(request, receive)
            return
        while True:
            await request.body.room()
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if message["type"] == "http.request":
                request.body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    request.body.set_complete()
