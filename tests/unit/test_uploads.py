"""Bodies too large to be held."""

import asyncio
from typing import Any

import pytest
from quart import Quart, request
from werkzeug.exceptions import RequestEntityTooLarge

from app.http.uploads import HELD, MAX_DISCARDED_BODY, MAX_FILE, RequestBody, UploadBody, init_uploads
from app.imports.incoming import clean_filename
from tests.waiting import until

PIECE = b"x" * HELD


async def call(app: Quart, receive: Any, send: Any = None) -> None:
    """A POST of a file, as a server passes it on."""

    async def drop(_message: Any) -> None: ...

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/imports",
        "raw_path": b"/imports",
    }
    scope |= {"query_string": b"", "root_path": "", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "asgi": {}}
    await app.asgi_app(scope, receive, send or drop)  # type: ignore[arg-type]


async def test_next_piece_is_taken_once_there_is_room_for_it() -> None:
    app, taken, sizes = Quart(__name__), 0, []
    init_uploads(app)
    may_read = asyncio.Event()

    @app.post("/imports")
    async def take() -> str:
        await may_read.wait()
        sizes.extend([len(piece) async for piece in request.body])
        return "taken"

    async def receive() -> Any:
        nonlocal taken
        if taken == 6:
            await asyncio.Event().wait()  # until the connection is closed
        taken += 1
        return {"type": "http.request", "body": PIECE, "more_body": taken < 6}

    serving = asyncio.create_task(call(app, receive))
    await until(lambda: taken == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert taken == 2, "the sender waits until somebody reads"
    may_read.set()
    await until(lambda: sum(sizes) == 6 * HELD)
    assert max(sizes) <= 3 * HELD
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_request_ends_where_nobody_reads_its_upload() -> None:
    """A file sent by somebody who may not send one: the answer comes, and nothing goes on waiting for a reader."""
    app, sent = Quart(__name__), []
    init_uploads(app)
    answered = asyncio.Event()

    @app.post("/imports")
    async def refuse() -> tuple[str, int]:
        await until(lambda: received > 2)
        return "no", 403

    received = 0

    async def receive() -> Any:
        nonlocal received
        received += 1
        if answered.is_set():
            return {"type": "http.disconnect"}
        await asyncio.sleep(0)
        return {"type": "http.request", "body": PIECE[: HELD // 2], "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    async with asyncio.timeout(5):
        await call(app, receive, send)
    assert sent[0]["status"] == 403


async def test_body_nobody_reads_is_bounded() -> None:
    """As Quart 0.23's own is not: an endless body to a route that never looks at it would fill the memory."""
    body = RequestBody(None, 1000)
    for _ in range(100):
        await body.put(b"x" * 100)
    assert len(body._data) <= 1000
    with pytest.raises(RequestEntityTooLarge):
        await body


async def test_body_that_turns_out_too_large_is_no_short_file() -> None:
    """What came before the limit must not pass for the whole, not even for a reader who was waiting for more."""
    body, size = UploadBody(None), 0
    while size < MAX_FILE:
        body.append(PIECE)
        size += len(await anext(body))
    waiting = asyncio.create_task(anext(body))
    await asyncio.sleep(0)
    body.append(PIECE)
    await asyncio.sleep(0)
    assert not waiting.done(), "it is read to its end, so that the browser gets to see the answer"
    body.set_complete()
    with pytest.raises(RequestEntityTooLarge):
        await waiting


async def test_body_beyond_all_bounds_is_refused_at_once() -> None:
    with pytest.raises(RequestEntityTooLarge):
        await anext(UploadBody(MAX_DISCARDED_BODY + 1))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("deals.csv", "deals.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\deals\\a.csv", "a.csv"),
        ("a\r\nb\x00.csv", "a  b .csv"),
        ("", "deals.csv"),
        ("/", "deals.csv"),
        ("x" * 300, "x" * 200),
    ],
)
def test_name_of_a_file_is_its_last_part_on_one_line(given: str, kept: str) -> None:
    assert clean_filename(given) == kept
