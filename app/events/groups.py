"""A consumer of the event stream: reads for its group, claims entries of dead consumers, moves poison to the dead letters, and trims."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.core.clock import Clock
from app.core.database import Database
from app.core.errors import StoreUnavailable
from app.core.redis import RedisClient
from app.events.effects import BATCH, TRANSIENT_ERRORS, TRIES, apply, dead_letter
from app.events.streams import DEAD_STREAM, GROUPS, STREAM

log = structlog.get_logger()

# An entry that comes up more often than this without ever failing takes its consumer down with it.
MAX_DELIVERIES = 10 * TRIES
# For inspection only; SQL has all of them.
MAX_DEAD_ENTRIES = 1000
NO_ENTRY = "0-0"

Entry = tuple[bytes, Mapping[bytes, bytes]]


@dataclass(frozen=True)
class StreamTimeouts:
    """How long to wait for entries, when one counts as left behind, and when a consumer counts as gone."""

    block: timedelta = timedelta(seconds=1)
    claim_after: timedelta = timedelta(seconds=30)
    forget_after: timedelta = timedelta(minutes=10)


class MalformedEntry(Exception):
    """An entry that names no event."""


class Consumer:
    """One consumer of one group, under a unique name. `lost` is set when the stream turns out to be a new one."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        redis: RedisClient,
        *,
        group: str,
        name: str,
        lost: asyncio.Event,
        timeouts: StreamTimeouts | None = None,
    ) -> None:
        self.database = database
        self.clock = clock
        self.redis = redis
        self.group = group
        self.name = name
        self.lost = lost
        self.timeouts = timeouts or StreamTimeouts()
        # How many effects were new, in this life.
        self.applied = 0
        self._claim_at = 0.0

    async def step(self) -> bool:
        """Process at most a batch; returns whether there was any entry. On `Unavailable` the entries stay pending."""
        try:
            if asyncio.get_running_loop().time() >= self._claim_at:
                if await self._claim_stale():
                    return True
                self._claim_at = asyncio.get_running_loop().time() + self.timeouts.claim_after.total_seconds() / 2
            entries = await self._read()
        except StoreUnavailable as fault:
            if not is_no_group(fault):
                raise
            await self._make_group()
            return True
        await self._handle(entries, {})
        return bool(entries)

    @property
    def _stream(self) -> str:
        return self.redis.keys.name(STREAM)

    async def _read(self) -> list[Entry]:
        async with self.redis.deadline(self.redis.timeout + self.timeouts.block) as commands:
            block = max(1, int(self.timeouts.block.total_seconds() * 1000))
            answer = await commands.xreadgroup(self.group, self.name, {self._stream: ">"}, count=BATCH, block=block)
        return answer[0][1] if answer else []

    async def _claim_stale(self) -> bool:
        """Entries delivered but not acknowledged within `claim_after`: their consumer died, or we failed."""
        async with self.redis.deadline() as commands:
            idle = int(self.timeouts.claim_after.total_seconds() * 1000)
            _, claimed, *_ = await commands.xautoclaim(self._stream, self.group, self.name, idle, NO_ENTRY, count=BATCH)
            if not claimed:
                return False
            pending = await commands.xpending_range(self._stream, self.group, claimed[0][0], claimed[-1][0], BATCH * 5, self.name)
        deliveries = {each["message_id"]: int(each["times_delivered"]) for each in pending}
        suspects = [entry for entry in claimed if deliveries.get(entry[0], 1) >= TRIES]
        await self._handle([entry for entry in claimed if entry not in suspects], deliveries)
        for entry in suspects:
            await self._handle([entry], deliveries)
        return True

    async def _handle(self, entries: Sequence[Entry], deliveries: Mapping[bytes, int]) -> None:
        """All at once; if one fails, each half separately, down to the one that fails."""
        if not entries:
            return
        try:
            if len(entries) == 1 and deliveries.get(entries[0][0], 1) > MAX_DELIVERIES:
                raise RuntimeError("its consumer died of it again and again")
            self.applied += await apply(self.database, self.clock, self.group, [_event_id(fields) for _, fields in entries])
        except TRANSIENT_ERRORS:
            raise
        except Exception as error:
            if (half := len(entries) // 2) > 0:
                await self._handle(entries[:half], deliveries)
                await self._handle(entries[half:], deliveries)
                return
            if not await self._dead_letter(entries[0], error, deliveries.get(entries[0][0], 1)):
                return
        async with self.redis.deadline() as commands:
            await commands.xack(self._stream, self.group, *[entry_id for entry_id, _ in entries])

    async def _dead_letter(self, entry: Entry, error: Exception, deliveries: int) -> bool:
        """After `TRIES` deliveries. False: it stays pending and is tried again in a while."""
        entry_id, fields = entry[0].decode(), entry[1]
        log.warning("An entry of the event stream failed.", group=self.group, entry=entry_id, error=repr(error), deliveries=deliveries)
        if deliveries < TRIES:
            return False
        with suppress(MalformedEntry):
            event_id = None
            event_id = _event_id(fields)
        content = {"fields": {_shown(key): _shown(value) for key, value in fields.items()}}
        facts: dict[str, Any] = {"event_id": event_id, "error": error, "deliveries": deliveries, "content": content}
        if await dead_letter(self.database, self.clock, self.group, entry_id=entry_id, **facts):
            async with self.redis.deadline() as commands:
                dead: dict[Any, Any] = {"group": self.group, "entry": entry_id, "event": event_id or "", "error": repr(error)[:500]}
                await commands.xadd(self.redis.keys.name(DEAD_STREAM), dead, maxlen=MAX_DEAD_ENTRIES)
        return True

    async def _make_group(self) -> None:
        """Without the group this is a new stream: read it from its beginning, and let SQL supply what the old one held."""
        with suppress(StoreUnavailable):  # another consumer made it at the same moment; the next step checks
            async with self.redis.deadline() as commands:
                await commands.xgroup_create(self._stream, self.group, id="0", mkstream=True)
            log.info("Consumer group created; events of an earlier stream come from SQL.", group=self.group)
        self.lost.set()


async def trim(redis: RedisClient, *, timeouts: StreamTimeouts | None = None) -> int:
    """Drop entries that every group has processed, and consumers that are gone. Returns how many entries were dropped."""
    forget_ms = (timeouts or StreamTimeouts()).forget_after.total_seconds() * 1000
    async with redis.deadline() as commands:
        stream = redis.keys.name(STREAM)
        try:
            groups = {each["name"].decode(): each for each in await commands.xinfo_groups(stream)}
        except ResponseError:
            return 0  # there is no stream
        if not groups.keys() >= set(GROUPS):
            return 0  # one of them has read nothing at all
        needed = min([await _first_needed(commands, stream, name, facts) for name, facts in groups.items()], key=_order)
        dropped: int = await commands.xtrim(stream, minid=needed, approximate=False)
        for name in GROUPS:
            for consumer in await commands.xinfo_consumers(stream, name):
                if consumer["pending"] == 0 and consumer["idle"] > forget_ms:
                    await commands.xgroup_delconsumer(stream, name, consumer["name"])
    return dropped


def is_no_group(fault: StoreUnavailable) -> bool:
    return isinstance(fault.__cause__, ResponseError) and str(fault.__cause__).startswith("NOGROUP")


async def _first_needed(commands: Redis, stream: str, group: str, facts: Mapping[str, Any]) -> str:
    """The oldest entry this group may still need: its oldest pending one, else the last delivered."""
    last: bytes = facts["last-delivered-id"]
    if facts["pending"]:
        last = (await commands.xpending(stream, group))["min"] or last
    return last.decode()


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def _event_id(fields: Mapping[bytes, bytes]) -> int:
    given = (fields or {}).get(b"event", b"")
    if not given.isdigit() or len(given) > 18:
        raise MalformedEntry(f"the entry names no event: {_shown(given)!r}")
    return int(given)


def _shown(value: bytes) -> str:
    return value[:500].decode(errors="replace").replace("\x00", "�")
