"""One request through `HTTPConnection`: with a body or without, and for a client that leaves."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from markupsafe import Markup
from quart import request

from app.http.app import READ_FIRST_BYTES, WATCH_AFTER_SECONDS, HoldfastApp
from app.http.uploads import init_uploads


@pytest.fixture
def app() -> HoldfastApp:
    app = HoldfastApp(__name__)
    init_uploads(app)
    return app


async def call(
    app: HoldfastApp, method: str, messages: Iterable[dict[str, Any]], *headers: tuple[bytes, bytes], path: str = "/"
) -> list[dict[str, Any]]:
    """What is sent for these messages, as a server has them: once it is answered, the client is gone."""
    sent: list[dict[str, Any]] = []
    left, answered = list(messages), asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not left:
            await answered.wait()
            return {"type": "http.disconnect"}
        message = left.pop(0)
        await asyncio.sleep(message.pop("after", 0))
        return message

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            answered.set()

    scope: Any = {"type": "http", "method": method, "scheme": "http", "path": path, "query_string": b"", "http_version": "1.1"}
    await app(scope | {"headers": [(b"host", b"a"), *headers], "root_path": ""}, receive, send)  # type: ignore[arg-type]
    return sent


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "headers"),
    [
        ([body(b"hello")], [(b"content-length", b"5")]),
        ([body(b"hel", more=True), body(b"lo")], [(b"content-length", b"5")]),
        ([body(b"hel", more=True), body(b"lo")], [(b"transfer-encoding", b"chunked")]),
        ([body(b"hello")], []),
        ([body(b"hello" + b" " * READ_FIRST_BYTES)], [(b"content-length", str(5 + READ_FIRST_BYTES).encode())]),
    ],
    ids=["whole", "in pieces", "chunked", "undeclared", "large"],
)
async def test_body_is_read_however_it_comes(app: HoldfastApp, messages: Any, headers: Any) -> None:
    @app.post("/")
    async def read() -> bytes:
        data = await request.get_data(as_text=False)
        assert isinstance(data, bytes)
        return data.strip()

    start, *bodies = await call(app, "POST", messages, *headers)
    assert start["status"] == 200
    assert b"".join(each["body"] for each in bodies) == b"hello"


async def test_answer_is_one_message_with_the_headers_that_every_answer_has(app: HoldfastApp) -> None:
    app.constant_headers.append((b"x-always", b"1"))

    @app.get("/")
    async def show() -> dict[str, Any]:
        return {"b": "é", "a": 1}

    start, *bodies = await call(app, "GET", [])
    assert (b"x-always", b"1") in start["headers"]
    assert [each["body"] for each in bodies] == ['{"a":1,"b":"é"}'.encode()]


@pytest.mark.parametrize(
    ("value", "text"),
    [(Markup("<b>"), '"<b>"'), ({2: "b", 1: "a"}, '{"1":"a","2":"b"}'), ("\ud800", '"\\ud800"'), ((1, None), "[1,null]"), (1.5, "1.5")],
    ids=["markup", "numbers as keys", "half a pair", "tuple", "float"],
)
async def test_whatever_views_return_becomes_json(app: HoldfastApp, value: Any, text: str) -> None:
    @app.get("/")
    async def show() -> dict[str, Any]:
        return {"value": value}

    start, *bodies = await call(app, "GET", [])
    assert start["status"] == 200
    assert b"".join(each["body"] for each in bodies).strip().replace(b" ", b"") == f'{{"value":{text}}}'.encode()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_client_that_leaves_ends_what_it_waited_for(app: HoldfastApp, method: str) -> None:
    ended = asyncio.Event()

    @app.route("/", methods=["GET", "POST"])
    async def wait() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    first = [] if method == "GET" else [body(b"")]
    async with asyncio.timeout(20):
        sent = await call(app, method, [*first, {"type": "http.disconnect", "after": WATCH_AFTER_SECONDS}])
    assert ended.is_set()
    assert sent == []
