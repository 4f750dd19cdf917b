"""Live updates for signed-in people: one poll of SQL a second per process, for all of them.

Messages state the access as it is now. An event only says which people and deals to check, so that neither a
late nor a repeated one can mislead.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import reach_of
from app.http.live import Live, Message
from app.models import Event, NoticeCounter, Session, User
from app.notices.schemas import NoticeQuery
from app.notices.store import list_notices
from app.resources import Resources

KINDS = ("member.granted", "member.changed", "member.revoked", "deal.deleted", "deal.undeleted", "deal.transferred")
# What changes something that a form of a deal is about; told to whoever sees the deal.
EDITS = (
    "deal.updated",
    *(f"finding.{verb}" for verb in ("updated", "deleted", "undeleted")),
    *(f"checklist.item_{verb}" for verb in ("updated", "done", "reopened", "moved", "deleted", "undeleted")),
)
# About everybody who can reach the deal, whom the event does not name.
_FOR_ALL = ("deal.deleted", "deal.undeleted")
# Ids are given out before their transactions commit. A change of access commits within 5 s of its hold or not at all
# (sessions/holds.py), so an id that is absent for longer stays so.
OVERLAP_SECONDS = 30
# How many events back a reconnecting browser may have stopped.
MAX_REPLAYED = 20_000
# How many events the first poll goes back, so that access withdrawn while a page loads is still sent.
INITIAL_LOOKBACK = 200


@dataclass(frozen=True)
class Place:
    """Where a login's session is: version and, as its card has it, deal."""

    version: int
    deal: Mapping[str, Any] | None
    source: str
    notice: str | None


@dataclass(frozen=True)
class AccessChange:
    """The access of one person to one deal, as it was found after an event. No `role`: there is none any more."""

    event_id: int
    name: str
    user_id: int
    deal_id: int
    role: str | None
    by: int | None
    at: float

    def message(self) -> Message:
        if self.role is None:
            return Message("deal.unavailable", {"deal_id": self.deal_id}, self.event_id)
        return Message(self.name, {"deal_id": self.deal_id, "role": self.role, "by": self.by}, self.event_id)


@dataclass(frozen=True)
class Edit:
    """Somebody saved what a form is about. `user_ids`: those of the listeners who see the deal."""

    event_id: int
    user_ids: frozenset[int]
    deal_id: int
    form: str
    by: Mapping[str, Any] | None
    at: float

    def message(self) -> Message:
        """Without an id: who comes back asks for what there is now, and is sent the changes of access since the last of those."""
        return Message("deal.edited", {"deal_id": self.deal_id, "form": self.form, "by": self.by})


@dataclass(frozen=True)
class Snapshot:
    """The result of one poll, for everybody listening by then."""

    logins: frozenset[int] = frozenset()
    places: Mapping[int, Place] = field(default_factory=dict)
    notices: Mapping[int, int] = field(default_factory=dict)
    changes: tuple[AccessChange, ...] = ()
    edits: tuple[Edit, ...] = ()
    # Not compared: by itself it is no change.
    newest: int = field(default=0, compare=False)


class _Listener:
    """What has been sent to one stream."""

    def __init__(self, login_id: int, user_id: int) -> None:
        self.login_id = login_id
        self.user_id = user_id
        self.last: Snapshot | None = None
        self.notices = 0
        self._sent: set[int] = set()
        self._edits: set[int] = set()

    def news(self, found: Snapshot, missed: Iterable[AccessChange]) -> Iterator[Message]:
        mine = {each.event_id: each for each in (*missed, *found.changes) if each.user_id == self.user_id}
        if self.last is None:
            yield Message("hello", _state(found, self.login_id, self.user_id), found.newest)
            self.notices = found.notices.get(self.user_id, 0)
            # A page just loaded shows these already, unless they were withdrawn since.
            early = {each.event_id for each in missed}
            self._sent = {each.event_id for each in mine.values() if each.role is not None} - early
            self._edits = {each.event_id for each in found.edits}
        elif (place := found.places.get(self.login_id)) is not None and place != self.last.places.get(self.login_id):
            # (Without a session the login is over, or the next request begins another one; neither is a choice of no deal.)
            yield Message("selection", _selection(place))
        for change in mine.values():
            if change.event_id not in self._sent:
                yield change.message()
        self._sent = set(mine)
        for edit in found.edits:
            if edit.event_id not in self._edits and self.user_id in edit.user_ids:
                yield edit.message()
        self._edits = {each.event_id for each in found.edits}
        self.last = found


class Updates:
    """The poll that all streams of this process share."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._listeners: Counter[tuple[int, int]] = Counter()
        self._reset()

    async def listen(self, live: Live, *, login_id: int, user_id: int, since: int | None) -> AsyncGenerator[Message, None]:
        """Messages for this login: the state, then every change. `since`: the last event sent to its browser."""
        if not self._listeners:
            self._reset()
        self._listeners[login_id, user_id] += 1
        listener = _Listener(login_id, user_id)
        try:
            async with aclosing(live.watch("updates", self.poll)) as snapshots:
                async for found in snapshots:
                    if login_id not in found.logins:
                        continue  # a poll that began before this stream did
                    missed = await self._missed(user_id, since) if since is not None and listener.last is None else []
                    for message in listener.news(found, missed):
                        yield message
                    if found.notices.get(user_id, 0) > listener.notices:
                        seen, listener.notices = listener.notices, found.notices[user_id]
                        yield await self._notices(user_id, seen)
        finally:
            self._listeners[login_id, user_id] -= 1
            self._listeners += Counter()  # without what has come to nothing

    async def _notices(self, user_id: int, after: int) -> Message:
        async with self.resources.database.read() as db:
            new = await list_notices(db, user_id, NoticeQuery(), after=after, now=self.resources.clock.now())
        return Message("notices", new.model_dump(mode="json", exclude={"next_cursor"}))

    async def poll(self) -> Snapshot:
        """Raises `Unavailable`; nothing is lost, the next poll finds it."""
        listeners = list(self._listeners)
        logins, users = frozenset(login for login, _ in listeners), {user for _, user in listeners}
        now = self.resources.clock.now()
        async with self.resources.database.read() as db:
            newest = await db.scalar(select(func.coalesce(func.max(Event.id), 0))) or 0
            events = await self._new_events(db, newest)
            found = await _changes(db, [each for each in events if each.kind in KINDS], users, now=now)
            edits = await _edits(db, [each for each in events if each.kind in EDITS], users, now=now)
            places = await self._read_places(db, logins)
            counters = select(NoticeCounter.user_id, NoticeCounter.last).where(NoticeCounter.user_id.in_(users))
            notices = {row.user_id: row.last for row in await db.execute(counters)}
        self._note(newest, events, found, edits)
        return Snapshot(logins, places, notices, self._changes, self._edits, newest)

    def _reset(self) -> None:
        self._places: dict[int, Place] = {}
        self._changes: tuple[AccessChange, ...] = ()
        self._edits: tuple[Edit, ...] = ()
        # When what was found, by this process's own time: the clocks of a fleet differ, and jump.
        self._seen: dict[int, float] = {}
        self._tops: list[tuple[float, int]] = []

    async def _new_events(self, db: AsyncSession, newest: int) -> Sequence[Event]:
        """Those not seen yet, among them the ones whose transactions took their time."""
        passed = [top for at, top in self._tops if at <= _time() - OVERLAP_SECONDS]
        low = passed[-1] if passed else (self._tops[0][1] if self._tops else newest) - INITIAL_LOOKBACK
        recent = select(Event).where(Event.id > low, Event.kind.in_((*KINDS, *EDITS))).order_by(Event.id)
        return [event for event in await db.scalars(recent) if event.id not in self._seen]

    def _note(self, newest: int, events: Iterable[Event], changes: Iterable[AccessChange], edits: Iterable[Edit]) -> None:
        now = _time()
        self._tops = [*[each for each in self._tops if each[0] > now - 2 * OVERLAP_SECONDS], (now, newest)]
        self._seen = {event_id: at for event_id, at in self._seen.items() if at > now - 4 * OVERLAP_SECONDS}
        self._seen |= {each.id: now for each in events}
        self._changes = (*(each for each in self._changes if each.at > now - OVERLAP_SECONDS), *changes)
        self._edits = (*(each for each in self._edits if each.at > now - OVERLAP_SECONDS), *edits)

    async def _read_places(self, db: AsyncSession, logins: frozenset[int]) -> dict[int, Place]:
        """The data of a session is read only where its version is another one."""
        versions = {
            row.login_id: row.version
            for row in await db.execute(select(Session.login_id, Session.version).where(Session.login_id.in_(logins)))
        }
        moved = [login for login, version in versions.items() if login not in self._places or self._places[login].version != version]
        places = {login: place for login, place in self._places.items() if login in versions}
        if moved:
            for login, version, data in await db.execute(
                select(Session.login_id, Session.version, Session.data).where(Session.login_id.in_(moved))
            ):
                places[login] = _place(version, data)
        self._places = places
        return dict(places)

    async def _missed(self, user_id: int, since: int) -> list[AccessChange]:
        """The changes that a reconnecting browser has missed."""
        now = self.resources.clock.now()
        async with self.resources.database.read() as db:
            newest = await db.scalar(select(func.max(Event.id))) or 0
            if newest - since > MAX_REPLAYED:
                return []
            missed = select(Event).where(Event.id > since, Event.kind.in_(KINDS)).order_by(Event.id).limit(MAX_REPLAYED)
            return await _changes(db, list(await db.scalars(missed)), {user_id}, now=now)


async def _changes(db: AsyncSession, events: Sequence[Event], users: set[int], *, now: datetime) -> list[AccessChange]:
    """How those of `users` whom these events concern stand to the deals now."""
    concerned = {event: _people_in(event) & users for event in events if event.deal_id is not None}
    if not any(people or event.kind in _FOR_ALL for event, people in concerned.items()):
        return []
    deal_ids = {event.deal_id for event in concerned if event.deal_id is not None}
    rows = (await db.execute(reach_of(users, deal_ids, now=now))).all()
    roles = {(row.user_id, row.deal_id): None if row.deleted_at else row.role for row in rows}
    changes = []
    for event, named in concerned.items():
        everybody = {user_id for user_id, deal_id in roles if deal_id == event.deal_id} if event.kind in _FOR_ALL else set()
        for user_id in sorted(named | everybody):
            role = roles.get((user_id, event.deal_id or 0))
            if role is None or event.actor_id != user_id:
                changes.append(AccessChange(event.id, _name(event, user_id), user_id, event.deal_id or 0, role, event.actor_id, _time()))
    return changes


async def _edits(db: AsyncSession, events: Sequence[Event], users: set[int], *, now: datetime) -> list[Edit]:
    """Who of `users` sees what these events changed, and who did it."""
    deal_ids = {event.deal_id for event in events if event.deal_id is not None}
    if not deal_ids or not users:
        return []
    seen: dict[int, set[int]] = {deal_id: set() for deal_id in deal_ids}
    for row in await db.execute(reach_of(users, deal_ids, now=now)):
        if row.deleted_at is None:
            seen[row.deal_id].add(row.user_id)
    actors = select(User.id, User.name).where(User.id.in_({event.actor_id for event in events if event.actor_id is not None}))
    names = {row.id: {"id": row.id, "name": row.name} for row in await db.execute(actors)}
    return [
        Edit(event.id, frozenset(seen[event.deal_id]), event.deal_id, _form(event), names.get(event.actor_id or 0), _time())
        for event in events
        if event.deal_id is not None
    ]


def _form(event: Event) -> str:
    """The form that is about it, as its page calls it."""
    for name, form in (("finding_id", "finding"), ("item_id", "item")):
        if name in event.payload:
            return f"{form}-{event.payload[name]}"
    return "deal"


def _time() -> float:
    return asyncio.get_running_loop().time()


def _name(event: Event, user_id: int) -> str:
    if event.kind == "deal.undeleted":
        return "deal.returned"
    given = event.kind in ("member.granted", "deal.transferred") and event.user_id == user_id
    return "deal.shared" if given else "deal.changed"


def _people_in(event: Event) -> set[int]:
    return {user_id for user_id in (event.user_id, event.payload.get("from_user_id")) if isinstance(user_id, int)}


def _place(version: int, data: Mapping[str, Any]) -> Place:
    card = data.get("deal")
    deal = {key: card[key] for key in ("id", "name", "role")} if card else None
    return Place(version, deal, data.get("source", "none"), (data.get("notice") or {}).get("code"))


def _selection(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {"version": None, "deal": None, "source": "none", "notice": None}
    return {"version": place.version, "deal": place.deal, "source": place.source, "notice": place.notice}


def _state(found: Snapshot, login_id: int, user_id: int) -> dict[str, Any]:
    return {"selection": _selection(found.places.get(login_id)), "notices": {"last": found.notices.get(user_id, 0)}}
