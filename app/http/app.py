"""Quart with less work around each request: no task where nothing runs beside it, one message for one answer, nothing looked up twice.

What is overridden is the same in Quart 0.22 and 0.23, which `tests/architecture/test_internals.py` guards.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any, cast

import msgspec
from flask.json.provider import DefaultJSONProvider
from quart import Quart, Response
from quart.asgi import ASGIHTTPConnection, _handle_exception
from quart.wrappers import base
from quart.wrappers.response import DataBody
from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadHost
from werkzeug.routing import MapAdapter
from werkzeug.sansio.utils import get_host

from app.http.busy_answers import BusyAnswers
from app.http.templates import Environment
from app.server.overload import ALWAYS_LET_IN, RECEIVED_AT, Overload

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Whoever leaves sooner has been answered before anybody could notice.
WATCH_AFTER_SECONDS = 0.1
# A body up to here is complete before the request is worked on; a larger one is read beside it.
READ_FIRST_BYTES = 64 * 1024
# Quart 0.23 says by it that the client has left.
_CLIENT_LEFT: Any = getattr(base, "ClientDisconnectedError", ())


class HTTPConnection(ASGIHTTPConnection):
    """One request, in the server's own task. A client that leaves while it takes long cancels it."""

    app: "HoldfastApp"
    _has_left = False

    async def __call__(self, receive: Receive, send: Send) -> None:  # type: ignore[override]
        scope: Message = cast(Any, self.scope)
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        if path.startswith(ALWAYS_LET_IN):
            self._has_left = True
        elif not await self.app.overload.enter(scope["method"], scope.get(RECEIVED_AT)):
            headers, sent = self.app.busy_answers.make(path, root)
            await send({"type": "http.response.start", "status": 503, "headers": headers + self.app.constant_headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else sent, "more_body": False})
            return
        try:
            await self._serve(receive, send)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Once: with its answer, or without one."""
        if not self._has_left:
            self._has_left = True
            self.app.overload.leave()

    async def _serve(self, receive: Receive, send: Send) -> None:
        body = b""
        if (declared := self._declared_length()) != 0:
            if declared is None or declared > READ_FIRST_BYTES:
                await super().__call__(receive, send)  # type: ignore[arg-type]
                return
            first = await receive()
            if first["type"] == "http.disconnect":
                return
            if first.get("more_body", False):
                await super().__call__(_replayed(first, receive), send)  # type: ignore[arg-type]
                return
            body = first.get("body", b"")
        request = self._create_request_from_scope(send)
        if body:
            request.body.append(body)
        request.body.set_complete()
        watch = _Watch(receive)
        try:
            await self.handle_request(request, send)
        except asyncio.CancelledError:
            if not watch.client_left:
                raise
        finally:
            watch.stop()

    def _declared_length(self) -> int | None:
        """Of the body, in bytes; None where only its end will tell. A method that usually has no body has none unless it says so."""
        length = 0 if self.scope["method"] in ("GET", "HEAD") else READ_FIRST_BYTES
        for name, value in self.scope["headers"]:
            if name == b"transfer-encoding":
                return None
            if name == b"content-length":
                return int(value) if value.isdigit() else None
        return length

    def _create_request_from_scope(self, send: Any) -> Any:
        scope: Any = self.scope
        client, root, path = scope.get("client"), scope.get("root_path", ""), scope["path"]
        received = [("Remote-Addr", client[0] if client else "<local>")]
        received += [(_header_name(name), value.decode("latin1")) for name, value in scope["headers"]]
        if scope["http_version"] < "1.1" and not any(name == "Host" for name, _ in received):
            received.append(("Host", ""))
        headers = ReceivedHeaders(received)
        if root:
            path = path.removeprefix(root) if path != root and path.startswith(root) else " "  # which no route matches
        return self.app.request_class(
            scope["method"],
            scope["scheme"],
            path,
            scope["query_string"],
            headers,
            root,
            scope["http_version"],
            scope,
            max_content_length=self.app.config["MAX_CONTENT_LENGTH"],
            body_timeout=self.app.config["BODY_TIMEOUT"],
            send_push_promise=partial(self._send_push_promise, send),
        )

    async def handle_request(self, request: Any, send: Send) -> None:  # type: ignore[override]
        try:
            response: Any = await self.app.handle_request(request)
        except _CLIENT_LEFT:
            return
        except Exception as error:
            response = await _handle_exception(self.app, error)
        finally:
            self._leave()  # what is left costs next to nothing, and a stream goes on for hours
        body = response.response
        if isinstance(body, DataBody):  # in memory, so that the server's own limits on a slow reader are all there is to wait for
            headers = [(_lower(name), value.encode()) for name, value in response.headers]
            headers += self.app.constant_headers
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": body.data[body.begin : body.end], "more_body": False})
            return
        response.headers.extend((name.decode(), value.decode()) for name, value in self.app.constant_headers)
        timeout = getattr(response, "timeout", ...)
        try:
            async with asyncio.timeout(self.app.config["RESPONSE_TIMEOUT"] if timeout is ... else timeout):
                await self._send_response(send, response)  # type: ignore[arg-type]
        except TimeoutError:
            pass


class ReceivedHeaders(Headers):
    """A request's. Each is looked at for several that mostly are not there, which costs the library a walk and an exception."""

    def __init__(self, received: list[tuple[str, str]]) -> None:
        self._list = received
        self._first: dict[str, str] = {name.lower(): value for name, value in reversed(received)}

    def get(self, key: str, default: Any = None, type: Any = None) -> Any:  # type: ignore[override]  # noqa: A002
        if type is not None:
            return super().get(key, default, type)
        return self._first.get(key.lower(), default)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._first


class HoldfastApp(Quart):
    asgi_http_class = HTTPConnection  # type: ignore[assignment]
    jinja_environment = Environment
    busy_answers: BusyAnswers

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.json: Any = FastJSON(self)
        # On every answer, ready-made.
        self.constant_headers: list[tuple[bytes, bytes]] = []
        self.overload = Overload()
        self.ensure_async = lru_cache(maxsize=1024)(super().ensure_async)  # type: ignore[method-assign]

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        if request is None:
            return None
        host = _server_name(request.scheme, request.headers.get("Host", ""))
        query = request.query_string.decode()
        return MapAdapter(self.url_map, host, f"{request.root_path}/", "", request.scheme, request.path, request.method, query)


class FastJSON(DefaultJSONProvider):
    """What views return as dicts and lists, by msgspec. What that cannot write, such as `Markup`, the standard library does."""

    _encoder = msgspec.json.Encoder(order="sorted")

    def response(self, *args: Any, **values: Any) -> Any:
        value = self._prepare_response_obj(args, values)
        try:
            data = self._encoder.encode(value)
        except (TypeError, ValueError, RecursionError):
            data = self.dumps(value).encode()
        return Response(data, content_type="application/json")


class _Watch:
    """Cancels the current task once the client has left; begins to look when the request has taken a while."""

    def __init__(self, receive: Receive) -> None:
        self.client_left = False
        self._receive = receive
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._start)

    def stop(self) -> None:
        self._timer.cancel()
        if self._watcher:
            self._watcher.cancel()

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task:
            self.client_left = True
            self._task.cancel()


def _replayed(first: Message, receive: Receive) -> Receive:
    messages = [first]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


@lru_cache(maxsize=1024)
def _header_name(name: bytes) -> str:
    return name.decode("latin1").title()


@lru_cache(maxsize=1024)
def _lower(name: str) -> bytes:
    return name.lower().encode()


@lru_cache(maxsize=1024)
def _server_name(scheme: str, host: str) -> str:
    """As Werkzeug has it. Raises `BadHost` for what can be none."""
    name, colon, port = get_host(scheme, host).lower().partition(":")
    try:
        return f"{name.encode('idna').decode()}{colon}{port}"
    except UnicodeError as error:
        raise BadHost from error
