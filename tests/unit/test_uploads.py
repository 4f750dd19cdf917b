"""Bodies too large to be held."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from app.imports.incoming import clean_filename
from app.uploads import HELD, LARGEST_DISCARDED, LARGEST_FILE, HouseConnection, UploadBody

PIECE = b"x" * HELD


async def test_next_piece_is_taken_once_there_is_room_for_it() -> None:
    body, taken = UploadBody(None), 0

    async def receive() -> Any:
        nonlocal taken
        if taken == 6:
            await asyncio.Event().wait()  # until the connection is closed
        taken += 1
        return {"type": "http.request", "body": PIECE, "more_body": taken < 6}

    connection = HouseConnection(cast(Any, None), cast(Any, {"type": "http"}))
    receiving = asyncio.create_task(connection.handle_messages(cast(Any, SimpleNamespace(body=body)), cast(Any, receive)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert taken == 2, "the sender waits until somebody reads"
    size = 0
    async for piece in body:
        assert len(piece) <= 3 * HELD
        size += len(piece)
        await asyncio.sleep(0)
    assert size == 6 * HELD
    receiving.cancel()


async def test_body_that_turns_out_too_large_is_no_short_file() -> None:
    """What came before the limit must not pass for the whole, not even for a reader who was waiting for more."""
    body, size = UploadBody(None), 0
    while size < LARGEST_FILE:
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
        await anext(UploadBody(LARGEST_DISCARDED + 1))


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
