"""Server-sent events: streams that know when to end.

A route hands `event_stream` an async generator of `Message`s. A stream ends by itself when its login is over or was given
another token, when its viewer may no longer see it, when the server stops, and when the person opens too many. It is no
activity for the idle clock, and it needs SQL alone. docs/events.md has what a browser sees.
"""

import asyncio
import json
import random
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar, cast

import structlog
from quart import Quart, Response, current_app, request
from sqlalchemy import select

from app.core.clock import Clock
from app.core.database import Database
from app.core.errors import AppError, Unavailable
from app.core.metrics import METRICS
from app.http.shared_polls import SharedPolls, create_detached_task
from app.http.web import Access, access_of_request
from app.models import Login, User
from app.resources import Resources
from app.sessions.interface import current_session

log = structlog.get_logger()
T = TypeVar("T")

# Below the 30 to 60 s after which proxies take a silent connection for a dead one.
HEARTBEAT = timedelta(seconds=15)
# How old the last proof of a stream's login and access may be. An outage of SQL proves nothing, so it ends streams too.
PROOF_LIFE = timedelta(seconds=15)
# How often access is asked about, which costs a statement a stream; logins are looked up all at once.
CHECK_EVERY = timedelta(seconds=10)
# Of one person in one process. A browser has one for all of its tabs, and one more for each page that watches something.
MAX_STREAMS = 12
# After which a browser comes back to a stream that broke off: not all of them at once when a server was restarted.
RETRY_MS = (1000, 5000)


@dataclass(frozen=True)
class Message:
    """One event. `data` is sent as JSON; `id` is what the browser gives back as `Last-Event-ID` when it reconnects."""

    event: str
    data: Any
    id: int | None = None

    def encode(self) -> bytes:
        lines = [f"event: {self.event}", f"data: {json.dumps(self.data, separators=(',', ':'))}"]
        return "\n".join([*lines, *([] if self.id is None else [f"id: {self.id}"]), "", ""]).encode()


@dataclass(frozen=True)
class Ending:
    """Why a stream ends. `again`: the browser may come back at once; else it would only meet the same end."""

    reason: str
    again: bool = False

    def encode(self) -> bytes:
        return Message("end", {"reason": self.reason, "again": self.again}).encode()


SHUTDOWN = Ending("shutdown", again=True)
OUTAGE = Ending("unavailable", again=True)
DONE = Ending("done")
SIGNED_OUT = Ending("signed_out")
# After a change of password or role: this browser may hold the new token, whoever copied the old one does not.
ROTATED = Ending("rotated", again=True)
REFUSED = Ending("refused")
REPLACED = Ending("too_many")

Source = AsyncGenerator[Message, None]
# Whether the viewer may still see what the stream is about. Raises `Unavailable` when nobody can say.
Check = Callable[[], Awaitable[bool]]


@dataclass(eq=False)
class Stream:
    """One open connection. `proven_at` is loop time."""

    login_id: int
    user_id: int
    token_hash: str
    operators_only: bool
    allowed: Check | None
    ended: asyncio.Future[Ending] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    proven_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    allowed_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def end(self, ending: Ending) -> None:
        if not self.ended.done():
            self.ended.set_result(ending)


async def event_stream(source: Source, *, allowed: Check | None = None) -> Response:
    """The answer of a signed-in route: `source` until it ends, or the stream must. Raises `Unavailable` while the server stops.

    `allowed` is asked again every `CHECK_EVERY`; that the login lives, and for operators' routes that it is an operator's, is
    seen to once a second anyway. `source` runs outside of the request: take from it what is needed before.
    """
    live, session = current_live(), current_session()
    if live.stopping:
        raise Unavailable("This server is stopping; another one answers in a moment.")
    token_hash = session.loaded.token_hash if session.loaded else ""
    operators_only = access_of_request() is Access.OPERATORS
    stream = Stream(session.login_id, session.user_id, token_hash, operators_only, allowed)
    response = Response("" if request.method == "HEAD" else live.frames(stream, source), content_type="text/event-stream; charset=utf-8")
    response.timeout = None  # Quart would end it after RESPONSE_TIMEOUT
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx keeps what it is sent until it is worth passing on
    return response


def current_live() -> "Live":
    return cast(Live, current_app.extensions["live"])


def last_event_id() -> int | None:
    """What the browser saw last, where it comes back to a stream that broke off."""
    given = request.headers.get("Last-Event-ID", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def init_live(app: Quart, resources: Resources) -> None:
    """Call it before what closes `resources`: streams end first."""
    # As often as this process polls the backend flag: once a second.
    live = Live(resources.database, resources.clock, poll_interval=resources.backend.poll_interval)
    app.extensions["live"] = live
    app.before_serving(live.start)
    app.after_serving(live.stop)


class Live:
    """The open streams of this process and what they share."""

    def __init__(self, database: Database, clock: Clock, *, poll_interval: timedelta) -> None:
        self.database = database
        self.clock = clock
        self.poll_interval = poll_interval
        self.heartbeat, self.check_every = HEARTBEAT, CHECK_EVERY
        self.stopping = False
        self.streams: list[Stream] = []
        self._shared: dict[str, Any] = {}
        self._polls = SharedPolls()
        self._logins: asyncio.Task[None] | None = None
        self._handlers: dict[int, Any] = {}

    async def start(self) -> None:
        """Hear of the end as soon as the server does: it waits for open answers before it tells the app."""
        self.stopping = False
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                self._handlers[number] = before
                signal.signal(number, _then(before, lambda: loop.call_soon_threadsafe(self.end_all)))

    async def stop(self) -> None:
        for number, before in self._handlers.items():
            signal.signal(number, before)
        self._handlers.clear()
        self.end_all()
        tasks = self._polls.tasks + ([self._logins] if self._logins else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end_all(self) -> None:
        self.stopping = True
        for stream in self.streams:
            stream.end(SHUTDOWN)

    async def frames(self, stream: Stream, source: Source) -> AsyncGenerator[bytes, None]:
        """What goes over the wire. Entered and left with the connection."""
        self._enter(stream)
        upcoming = asyncio.create_task(_pull(source))
        try:
            yield f"retry: {random.randint(*RETRY_MS)}\n\n".encode()
            while not stream.ended.done():
                either: set[asyncio.Future[Any]] = {upcoming, stream.ended}
                await asyncio.wait(either, timeout=self.heartbeat.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
                if stream.ended.done():
                    break
                if not upcoming.done():
                    yield b": still here\n\n"
                elif message := _next_or_end(upcoming, stream):
                    yield message.encode()
                    upcoming = asyncio.create_task(_pull(source))
            yield stream.ended.result().encode()
        finally:
            self._leave(stream)
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
            await source.aclose()

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """The one object of this name in this process, made when first asked for."""
        if name not in self._shared:
            self._shared[name] = make()
        return cast(T, self._shared[name])

    def watch(self, key: Hashable, read: Callable[[], Awaitable[T]], *, every: timedelta | None = None) -> AsyncGenerator[T, None]:
        """As `SharedPolls.watch`, once a second unless `every` says otherwise."""
        return self._polls.watch(key, read, every=every or self.poll_interval)

    def _enter(self, stream: Stream) -> None:
        mine = [each for each in self.streams if each.user_id == stream.user_id and not each.ended.done()]
        # The oldest goes: it may be one whose browser is long gone, and refusing the newest would lock its person out.
        for surplus in mine[: max(0, len(mine) - MAX_STREAMS + 1)]:
            surplus.end(REPLACED)
        self.streams.append(stream)
        METRICS.event_streams.inc()
        if self.stopping:
            stream.end(SHUTDOWN)
        if self._logins is None or self._logins.done():
            self._logins = create_detached_task(self._check_logins_forever(), name="event-streams-logins")

    def _leave(self, stream: Stream) -> None:
        self.streams.remove(stream)
        METRICS.event_streams.dec()

    async def _check_logins_forever(self) -> None:
        """As long as anybody listens."""
        while self.streams:
            await asyncio.sleep(self.poll_interval.total_seconds())
            try:
                await self._check_logins(list(self.streams))
            except Unavailable as outage:
                log.warning("The logins behind open event streams cannot be checked.", fault=outage.detail)
            except Exception:  # without this loop no stream would end
                log.exception("The check of the logins behind event streams failed.")
            oldest = asyncio.get_running_loop().time() - PROOF_LIFE.total_seconds()
            for stream in self.streams:
                if stream.proven_at < oldest or (stream.allowed and stream.allowed_at < oldest):
                    stream.end(OUTAGE)

    async def _check_logins(self, streams: Iterable[Stream]) -> None:
        loop = asyncio.get_running_loop()
        began, now = loop.time(), self.clock.now()
        alive = (
            select(Login.id, Login.token_hash, User.is_operator)
            .join(User, User.id == Login.user_id)
            .where(Login.id.in_({stream.login_id for stream in streams}), User.disabled_at.is_(None))
            .where(Login.ended_at.is_(None), Login.idle_expires_at > now, Login.expires_at > now)
        )
        async with self.database.read() as db:
            found = {row.id: row for row in await db.execute(alive)}
        for stream in streams:
            row = found.get(stream.login_id)
            if row is None:
                stream.end(SIGNED_OUT)
            elif row.token_hash != stream.token_hash:
                stream.end(ROTATED)
            elif stream.operators_only and not row.is_operator:
                stream.end(REFUSED)
            else:
                stream.proven_at = began
        for stream in streams:
            if stream.allowed and began - stream.allowed_at >= self.check_every.total_seconds():
                await _ask_again(stream, stream.allowed, began)


async def _ask_again(stream: Stream, allowed: Check, now: float) -> None:
    try:
        if not await allowed():
            stream.end(REFUSED)
        stream.allowed_at = now
    except Unavailable:
        log.info("Whether an event stream may go on cannot be said; it may for a while.", user_id=stream.user_id)
    except Exception:
        log.exception("The question whether an event stream may go on failed; it ends.", user_id=stream.user_id)
        stream.end(OUTAGE)


def _next_or_end(upcoming: asyncio.Task[Message | None], stream: Stream) -> Message | None:
    """What the source gave; None where that was its end, or an error, which ends the stream in its own way."""
    try:
        message = upcoming.result()
    except Unavailable:
        stream.end(OUTAGE)
    except AppError:
        stream.end(REFUSED)
    except Exception:
        log.exception("Unhandled error in an event stream.")
        stream.end(OUTAGE)
    else:
        if message is None:
            stream.end(DONE)
        return message
    return None


def _then(before: Callable[[int, FrameType | None], Any], do: Callable[[], Any]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        do()
        before(number, frame)

    return handle


async def _pull(source: Source) -> Message | None:
    """The next message; None at the end."""
    async for message in source:
        return message
    return None
