"""What `/ops/streams` shows: backlog of the outbox, the stream and its groups, and dead letters."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from app.events.measures import EVERYTHING
from app.events.service import record_event
from app.events.statistics import read_figures
from app.events.streams import DEAD_STREAM, MAX_COUNTED, STREAM, StreamState, list_dead_letters, read_stream_state, requeue_dead_letters
from app.http.ids import MAX_ID
from app.http.web import UserCard
from app.ops.statistics.windows import WindowName
from app.resources import Resources

LETTERS_PAGE = 25
Group = Literal["analytics", "notify"]


def _digits(value: object) -> object:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()) or len(value) > 19:
            raise ValueError("must be a whole number")
        return int(value)
    return value


class StreamsQuery(BaseModel):
    """Of the dead letters: of which group, and after which id the page begins."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    window: WindowName = "24h"
    group: Group | None = None
    before: Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(_digits)] | None = None


class GroupView(BaseModel):
    """`lag`, `pending`, `oldest_pending_seconds` and `consumers` are null while Redis, which alone knows them, does not answer."""

    name: str
    behind: int
    lag: int | None
    pending: int | None
    oldest_pending_seconds: float | None
    consumers: int | None
    dead_letters: int


class DeadLetterView(BaseModel):
    id: int
    group: str
    entry_id: str
    event_id: int | None
    error: str
    deliveries: int
    dead_at: datetime
    requeued_at: datetime | None
    requeued_by: str


class EventBucket(BaseModel):
    start: datetime
    events: int


class StreamsView(BaseModel):
    """A number above `most_counted` means "more than"."""

    at: datetime
    window: str
    stream: str
    dead_stream: str
    redis: str
    length: int | None
    outbox_backlog: int
    outbox_oldest_at: datetime | None
    most_counted: int
    groups: list[GroupView]
    dead_letters: int
    letters: list[DeadLetterView]
    next_before: int | None
    events: list[EventBucket]


def _shown(resources: Resources, key: str) -> str:
    return resources.keys.name(key) if resources.keys.are_known else f"hf:{key}"


async def view_streams(resources: Resources, query: StreamsQuery) -> StreamsView:
    now = resources.clock.now()
    state: StreamState = await read_stream_state(resources.database, resources.redis, now=now)
    async with resources.database.read() as db:
        letters = await list_dead_letters(db, group=query.group, before=query.before, limit=LETTERS_PAGE + 1)
        figures = await read_figures(db, query.window, now=now)
    shown = letters[:LETTERS_PAGE]
    return StreamsView(
        at=now,
        window=query.window,
        stream=_shown(resources, STREAM),
        dead_stream=_shown(resources, DEAD_STREAM),
        redis=state.redis,
        length=state.length,
        outbox_backlog=state.outbox_backlog,
        outbox_oldest_at=state.outbox_oldest_at,
        most_counted=MAX_COUNTED,
        groups=[
            GroupView(
                name=each.name,
                behind=each.behind,
                lag=each.lag,
                pending=each.pending,
                oldest_pending_seconds=each.oldest_pending.total_seconds() if each.oldest_pending is not None else None,
                consumers=each.consumers,
                dead_letters=each.dead_letters,
            )
            for each in state.groups
        ],
        dead_letters=state.dead_letters,
        letters=[
            DeadLetterView(
                group=each.consumer_group, **{name: getattr(each, name) for name in DeadLetterView.model_fields if name != "group"}
            )
            for each in shown
        ],
        next_before=shown[-1].id if len(letters) > LETTERS_PAGE else None,
        events=[EventBucket(start=each.start, events=each.of(EVERYTHING)) for each in figures.periods],
    )


async def requeue(resources: Resources, *, letter_id: int | None, group: Group | None, by: UserCard) -> int:
    """One letter, or all of a group; how many will be tried again."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        number = await requeue_dead_letters(
            db, None if letter_id is None else [letter_id], group=group, by=by.email, actor_id=by.id, now=now
        )
        await _audit(db, number, letter_id, group, by, now)
    return number


async def _audit(db: AsyncSession, number: int, letter_id: int | None, group: str | None, by: UserCard, now: datetime) -> None:
    """That an operator asked, also where nothing was left to do."""
    await record_event(db, "ops.dead_letters_requeued", at=now, actor_id=by.id, letter_id=letter_id, group=group, count=number)
