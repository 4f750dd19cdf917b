"""Sessions in Redis: an accelerator in front of SQL that can be proven behind.

Keys are `hf:s:{epoch}:{token hash}`; `hf:epoch` mirrors the epoch of the flag in SQL (`hf:{prefix}:…` where the installation has
one). An entry is a record, a hold or a lease.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from secrets import token_hex

import structlog

from app.core.clock import Clock
from app.core.errors import StoreUnavailable
from app.core.metrics import METRICS
from app.core.redis import RedisClient, describe_fault
from app.sessions import codec, trace
from app.sessions.record import Entry, Hold, Lease, Record, SessionLimits

log = structlog.get_logger()

EPOCH = "epoch"
# A hold must outlive every transaction: those end after 5 s, and the manager looks at the hold's age before it commits.
HOLD_LIFE = timedelta(seconds=10)
LEASE_LIFE = timedelta(seconds=2)
# So many take a few milliseconds, far from the deadline of a call: a change of thousands of sessions is no reason to leave Redis.
HOLDS_AT_ONCE = 500
# A database restored from a backup may be behind Redis by the returns since, one a minute at most. Beyond two years of them it was not us.
MAX_AHEAD = 1_000_000

# My hold becomes the record (or nothing); another writer's hold is left to that writer; a lease or a record that somebody
# put where my hold was is not to be trusted.
_PUBLISH = """
local now = redis.call('GET', KEYS[1])
if now == ARGV[1] then
  if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
  return 1
end
if now and string.sub(now, 1, 1) ~= 'H' then redis.call('DEL', KEYS[1]) end
return 0
"""
_DROP = """
for i, key in ipairs(KEYS) do
  local now = redis.call('GET', key)
  if now and (now == ARGV[i] or string.sub(now, 1, 1) ~= 'H') then redis.call('DEL', key) end
end
"""
_REFILL = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
# What is no number of ours, whatever its type, is none: 2^63, which nothing exceeds, would keep everybody from Redis for ever.
_RAISE_FLOOR = """
local now = redis.pcall('GET', KEYS[1])
if type(now) ~= 'string' or #now > 15 or not string.match(now, '^[1-9]%d*$') then now = '0' end
now = tonumber(now)
if now > tonumber(ARGV[2]) then now = 0 end
if now < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return math.max(now, tonumber(ARGV[1]))
"""
_REMOVE_LONG = """
if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[1]) then redis.call('DEL', KEYS[1]) end
"""


@dataclass(frozen=True)
class Seen:
    """What one MGET found: the entry under the key, and whether Redis itself is at the epoch asked for."""

    entry: Entry | None
    epoch_is_current: bool


class RedisSessions:
    """Sessions in the Redis of one client. All methods raise `StoreUnavailable` when it does not serve."""

    def __init__(self, client: RedisClient, *, clock: Clock, limits: SessionLimits, secrets: Sequence[str]) -> None:
        self.client = client
        self.clock = clock
        self.limits = limits
        self.codec = codec.Codec(secrets)
        # Each call says by which client: the one they are made with is left when Redis becomes another instance.
        self.publish_script = client.commands.register_script(_PUBLISH)
        self.drop_script = client.commands.register_script(_DROP)
        self.refill_script = client.commands.register_script(_REFILL)
        self._raise_floor_script = client.commands.register_script(_RAISE_FLOOR)
        self.remove_long_script = client.commands.register_script(_REMOVE_LONG)
        self._waiting: dict[str, list[asyncio.Future[list[bytes | None]]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def within(self, epoch: int) -> "EpochSessions":
        return EpochSessions(self, epoch)

    async def raise_epoch_floor(self, epoch: int, through: RedisClient, *, known: int = 0, limit: timedelta | None = None) -> int:
        """Raise the number in Redis to the epoch of the flag, or after a failover to the next one. It never falls; returns the highest.

        Whoever still believes in a lower one reads in SQL and polls the flag. After a failover the number is raised and not
        deleted: a process that has not polled yet would put it back. `through` a client that neither a breaker nor the
        instance of an epoch keeps from it. `known`: the epoch of the flag, where `epoch` is another.
        """
        trace.step("tells Redis", epoch)
        async with through.deadline(limit) as commands:
            key, most = self.client.keys.name(EPOCH), max(epoch, known) + MAX_AHEAD
            highest = int(await self._raise_floor_script(keys=[key], args=[epoch, most], client=commands))
        trace.step("told Redis", epoch, highest)
        return highest

    async def get_with_epoch(self, key: str) -> list[bytes | None]:
        """The mirrored epoch and the value of `key`. What is asked for in the same tick goes out as one MGET."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[bytes | None]] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send_waiting)
        self._waiting.setdefault(key, []).append(answer)
        return await answer

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        task = asyncio.get_running_loop().create_task(self._fetch(waiting))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _fetch(self, waiting: dict[str, list[asyncio.Future[list[bytes | None]]]]) -> None:
        fault: StoreUnavailable | None = None
        values: list[bytes | None] = []
        try:
            async with self.client.deadline() as commands:
                values = await commands.mget(self.client.keys.name(EPOCH), *waiting)
        except StoreUnavailable as error:
            fault = error
        except Exception as error:  # whatever it was: those who wait here would wait for ever
            fault = StoreUnavailable(f"Redis does not serve: {describe_fault(error)}.")
        for position, answers in enumerate(waiting.values(), start=1):
            for answer in answers:
                if answer.done():  # its request was cancelled meanwhile
                    continue
                if fault:
                    answer.set_exception(type(fault)(fault.detail))
                else:
                    answer.set_result([values[0], values[position]])


@dataclass(frozen=True)
class EpochSessions:
    """Under one epoch. The proof of a write is one's own hold (publish) or lease (refill); False where somebody came between.

    What is missing, damaged or forged is no entry, never an error.
    """

    redis: RedisSessions
    epoch: int

    async def get_entry(self, token_hash: str) -> Seen:
        key = self._key(token_hash)
        held_epoch, raw = await self.redis.get_with_epoch(key)
        current = held_epoch == str(self.epoch).encode()
        if raw is None:
            return Seen(None, current)
        now, most = self.redis.clock.unix_ms(), int(self.redis.limits.touch_interval.total_seconds() * 1000)
        try:
            return Seen(self.redis.codec.decode(raw, under=key, now_ms=now, most_ms=most), current)
        except codec.Damaged as damaged:
            METRICS.session_reads.labels("damaged").inc()
            if isinstance(damaged, codec.TooLong):
                log.error("Somebody else writes to this Redis: an entry longer than any of ours was taken away.", bytes=len(raw))
                async with self.redis.client.deadline() as commands:
                    await self.redis.remove_long_script(keys=[key], args=[codec.MAX_BYTES], client=commands)
            return Seen(None, current)

    async def hold(self, token_hashes: list[str]) -> dict[str, Hold]:
        """Mark keys for a write, whatever is there. A hold is never taken back: it becomes the record, or it lapses."""
        holds = {token_hash: Hold(token_hex(16)) for token_hash in token_hashes}
        entries = iter(holds.items())
        while batch := list(islice(entries, HOLDS_AT_ONCE)):
            async with self.redis.client.deadline(essential=True) as commands:
                if len(batch) == 1:
                    [(token_hash, hold)] = batch
                    await commands.set(self._key(token_hash), codec.encode_marker(hold), px=HOLD_LIFE)
                    break
                pipeline = commands.pipeline(transaction=False)
                for token_hash, hold in batch:
                    pipeline.set(self._key(token_hash), codec.encode_marker(hold), px=HOLD_LIFE)
                await pipeline.execute()
        return holds

    async def drop(self, holds: dict[str, Hold]) -> None:
        """Publish nothing in the place of many holds, or of what has come there since."""
        entries = iter(holds.items())
        while batch := list(islice(entries, HOLDS_AT_ONCE)):
            async with self.redis.client.deadline(essential=True) as commands:
                keys, args = [self._key(token_hash) for token_hash, _ in batch], [codec.encode_marker(hold) for _, hold in batch]
                await self.redis.drop_script(keys=keys, args=args, client=commands)

    async def lease(self, token_hash: str) -> Lease | None:
        """Mark a missing key before reading SQL; None where somebody else has something there."""
        lease = Lease(token_hex(16))
        async with self.redis.client.deadline() as commands:
            taken = await commands.set(self._key(token_hash), codec.encode_marker(lease), nx=True, px=LEASE_LIFE)
        return lease if taken else None

    async def write(self, token_hash: str, record: Record, proof: Hold | Lease) -> bool:
        """`record` in the place of one's own hold or lease. It is never extended: reading SQL again afterwards is the touch."""
        now, key = self.redis.clock.unix_ms(), self._key(token_hash)
        life = self.redis.limits.record_life_ms(record, now)
        if life <= 0:
            return await self._replace(token_hash, b"", 0, proof)
        return await self._replace(token_hash, self.redis.codec.encode(record, under=key, until_ms=now + life), life, proof)

    async def _replace(self, token_hash: str, payload: bytes, life_ms: int, proof: Hold | Lease) -> bool:
        is_hold = isinstance(proof, Hold)
        script = self.redis.publish_script if is_hold else self.redis.refill_script
        async with self.redis.client.deadline(essential=is_hold) as commands:
            args: list[bytes | int] = [codec.encode_marker(proof), payload, life_ms]
            return bool(await script(keys=[self._key(token_hash)], args=args, client=commands))

    def _key(self, token_hash: str) -> str:
        return self.redis.client.keys.name(f"s:{self.epoch}:{token_hash}")
