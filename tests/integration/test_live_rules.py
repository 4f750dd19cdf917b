"""When a stream goes on and when it ends, rule by rule, without a server around it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta

import pytest
from quart import Quart
from sqlalchemy import update

from app.core.errors import NotFound, Unavailable
from app.http.live import Check, Live, Message, Source, Stream
from app.models import User
from app.resources import Resources
from app.sessions.token import hash_token
from tests.factories import make_login, make_user
from tests.waiting import until

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.parametrize("redis_url", ["none"], indirect=True),
]
TOKEN = "a token"


@pytest.fixture
def live(app: Quart) -> Live:
    live: Live = app.extensions["live"]
    live.heartbeat, live.check_every = timedelta(milliseconds=20), timedelta(0)
    return live


@pytest.fixture
async def user(app: Quart) -> User:
    resources: Resources = app.extensions["holdfast"]
    user = await make_user(resources.database, is_operator=True)
    await make_login(resources.database, user, token=TOKEN, at=resources.clock.now())
    return user


@pytest.fixture
async def stream(user: User) -> Stream:
    return Stream(1, user.id, hash_token(TOKEN), operators_only=False, allowed=None)


async def nothing() -> AsyncGenerator[Message, None]:
    await asyncio.Event().wait()
    yield Message("never", {})


async def fails(error: Exception) -> AsyncGenerator[Message, None]:
    yield Message("first", {"n": 1}, 7)
    raise error


async def ends_soon() -> AsyncGenerator[Message, None]:
    yield Message("lines", {"text": "a\nb"})


async def read(live: Live, stream: Stream, source: Source) -> list[str]:
    async with asyncio.timeout(10):
        return [frame.decode() async for frame in live.frames(stream, source)]


def end(reason: str, *, again: bool) -> str:
    return f'event: end\ndata: {{"reason":"{reason}","again":{str(again).lower()}}}\n\n'


async def test_what_goes_over_the_wire(live: Live, stream: Stream) -> None:
    frames = await read(live, stream, ends_soon())
    assert 1000 <= int(frames[0].removeprefix("retry: ")) <= 5000
    assert frames[1:] == ['event: lines\ndata: {"text":"a\\nb"}\n\n', end("done", again=False)]
    assert live.streams == []


@pytest.mark.parametrize(
    ("error", "last"),
    [
        (NotFound(), end("refused", again=False)),
        (Unavailable(), end("unavailable", again=True)),
        (ValueError("a bug"), end("unavailable", again=True)),
    ],
)
async def test_a_source_that_fails_ends_its_stream_in_its_own_way(live: Live, stream: Stream, error: Exception, last: str) -> None:
    frames = await read(live, stream, fails(error))
    assert frames[1:] == ['event: first\ndata: {"n":1}\nid: 7\n\n', last]


async def test_silence_is_filled_and_access_is_asked_again(live: Live, user: User, stream: Stream) -> None:
    asked = 0

    async def allowed() -> bool:
        nonlocal asked
        asked += 1
        return asked < 3

    check: Check = allowed
    stream.allowed = check
    frames = await read(live, stream, nothing())
    assert frames[-1] == end("refused", again=False)
    assert frames[1:-1] == [": still here\n\n"] * len(frames[1:-1])
    assert (asked, len(frames) > 3) == (3, True)


async def test_an_operators_stream_ends_with_the_role(live: Live, app: Quart, user: User, stream: Stream) -> None:
    stream.operators_only = True
    reading = asyncio.create_task(read(live, stream, nothing()))
    async with app.extensions["holdfast"].database.write() as db:
        await db.execute(update(User).values(is_operator=False))
    assert (await reading)[-1] == end("refused", again=False)


async def test_what_nobody_can_check_any_more_ends(live: Live, stream: Stream) -> None:
    """The database is away for longer than a proof lives."""

    async def cannot_say() -> bool:
        raise Unavailable

    stream.allowed = cannot_say
    stream.allowed_at -= 3600
    assert (await read(live, stream, nothing()))[-1] == end("unavailable", again=True)


async def test_a_server_that_stops_opens_no_stream(live: Live, stream: Stream, app: Quart) -> None:
    live.end_all()
    assert (await read(live, stream, nothing()))[-1] == end("shutdown", again=True)


async def test_watchers_share_one_look_and_hear_of_changes_only(live: Live) -> None:
    looks, found = 0, 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise Unavailable  # is waited out
        return found

    async def first(watch: AsyncIterator[int]) -> int:
        async with asyncio.timeout(5):
            return await anext(watch)

    one, two = [live.watch("key", look, every=timedelta(milliseconds=5)) for _ in range(2)]
    assert [await first(one), await first(two)] == [0, 0]
    both = [asyncio.create_task(first(each)) for each in (one, two)]
    await until(lambda: looks > 5)
    assert not any(each.done() for each in both), "nothing is new"
    found = 3
    assert await asyncio.gather(*both) == [3, 3]
    await one.aclose()
    await two.aclose()
    seen = looks
    await asyncio.sleep(0.05)
    assert looks <= seen + 1, "nobody watches, nobody looks"
