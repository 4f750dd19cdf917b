"""The backend flag: one row in SQL that says whether sessions may be read from Redis, under which epoch, from which instance.

Anyone flips it down, in the transaction of a write that Redis did not take, and announces that by a number in Redis before
the write is answered. It goes up only with a new epoch, so that what was left in Redis can never be read again, and only
under the lock that every write shares. `poll.py` keeps this view of it fresh.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog
from sqlalchemy import func, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.breaker import Breaker
from app.core.clock import Clock
from app.core.database import COMMIT_SECONDS, Database
from app.core.errors import DatabaseUnavailable, StoreUnavailable
from app.core.metrics import METRICS
from app.core.redis import Instance, RedisClient, check_redis_health
from app.core.redis_keys import RedisKeys
from app.core.statements import Running, execute_dml, run
from app.models.sessions import SessionBackend
from app.sessions import trace
from app.sessions.expectations import expect
from app.sessions.fleet import Fleet, Pin, RedisView
from app.sessions.redis_store import RedisSessions
from app.sessions.sql_store import Fence
from app.sessions.standstill import Standstill

log = structlog.get_logger()

# The advisory lock of `session_fence()` in the migrations: writers share it, a failback takes it alone.
FAILBACK_LOCK = 7301
# Comes on top of a call of 250 ms that failed; who waits for both is to be answered within 400 ms.
ANNOUNCE_LIMIT = timedelta(milliseconds=100)
# Beyond this a clock is worth a warning. Nothing but logs and certificates goes by it.
SKEW_LIMIT = timedelta(seconds=1)
# Round trips of one health check of Redis: SET, GET, DEL and two of INFO.
TRIP_COUNT = 5


@dataclass(frozen=True)
class Flag:
    """The row as this process last saw it."""

    mode: Literal["redis", "sql"]
    epoch: int
    instance: Instance | None
    reason: str
    changed_at: datetime

    @property
    def fence(self) -> Fence:
        return Fence(self.mode, self.epoch)


@dataclass(frozen=True)
class Flip:
    """A move of the flag."""

    at: datetime
    mode: Literal["redis", "sql"]
    epoch: int
    reason: str


# What the app writes down of a flip, in the transaction that makes it.
RecordFlip = Callable[[Running, Flip], Awaitable[None]]
# What the app wants read by every poll, in the transaction that reads the flag.
ReadAlong = Callable[[AsyncSession], Awaitable[None]]


class BackendFlag:
    """This process's view of the flag and of Redis."""

    def __init__(
        self,
        database: Database,
        redis: RedisSessions | None,
        probe: RedisClient | None,
        *,
        keys: RedisKeys,
        clock: Clock,
        kind: str,
        pin: Pin,
        poll: timedelta,
        record_flip: RecordFlip,
        read_along: ReadAlong | None = None,
    ) -> None:
        self.database = database
        self.redis = redis if pin != "sql" else None
        self.probe = probe
        self.keys = keys
        self.clock = clock
        self.pin: Pin = pin
        self.fleet = Fleet(database, clock=clock, kind=kind, pin=pin, poll=poll)
        self.poll_interval = poll
        self.flag = Flag("sql", 0, None, "not read yet", clock.now())
        self.view = RedisView() if self.redis else RedisView(fault="no Redis is used")
        self._record_flip = record_flip
        self._read_along = read_along
        self._database_time = func.clock_timestamp() if database.dialect == "postgresql" else null()
        self._is_skewed = False
        self.standstill = Standstill(poll)
        self._standstills_at_read = 0  # how many there had been when the flag was read last
        self.poll_requested = asyncio.Event()
        self._refreshing = asyncio.Lock()

    @property
    def breaker(self) -> Breaker | None:
        return self.redis.client.breaker if self.redis else None

    @property
    def redis_fault(self) -> str:
        """Why this process would not use Redis even where the flag allows it; empty when nothing stands against it."""
        if self.breaker and self.breaker.is_open:
            return self.breaker.open_reason
        if self.view.fault:
            return self.view.fault
        return "this Redis is not the one the epoch is bound to" if self._is_foreign else ""

    @property
    def _is_foreign(self) -> bool:
        return self.flag.mode == "redis" and self.view.instance is not None and self.view.instance != self.flag.instance

    @property
    def usable_epoch(self) -> int | None:
        """The epoch under which this process may use Redis now, or None."""
        if self.redis is None or self.flag.mode != "redis" or self._is_foreign or (self.breaker and self.breaker.is_open):
            return None
        return None if self.in_doubt else self.flag.epoch

    @property
    def in_doubt(self) -> bool:
        """This process stood still since it read the flag: an epoch may have ended, and been forgotten by Redis, meanwhile."""
        if self.standstill.count() == self._standstills_at_read:
            return False
        self.poll_now()
        return True

    @property
    def backend(self) -> Literal["redis", "sqlalchemy"]:
        return "redis" if self.usable_epoch is not None and not self.redis_fault else "sqlalchemy"

    @property
    def status(self) -> Literal["healthy", "degraded"]:
        """Degraded: Redis is configured and meant to be used, and is not."""
        return "healthy" if self.backend == "redis" or not self.redis else "degraded"

    def poll_now(self) -> None:
        """Something disagreed with this view of the flag: read it now rather than at the next poll."""
        self.poll_requested.set()

    async def probe_redis(self, limit: timedelta) -> RedisView:
        """One trial in the background: it feeds the view and the breaker, so that no request has to."""
        if self.redis is None or self.probe is None:
            return self.view
        began = time.monotonic()
        try:
            self.view = RedisView(await check_redis_health(self.probe, limit=limit), "")
        except StoreUnavailable as fault:
            self.view = RedisView(None, fault.detail)
        if self.breaker:
            self.breaker.record_trial(self.view.fault, timedelta(seconds=time.monotonic() - began) / TRIP_COUNT)
        return self.view

    async def refresh(self, *, since: Fence | None = None) -> Flag:
        """Read the flag. That an epoch is over the other processes know by Redis before this returns, if it can be reached.

        `since`: only if this process knows of no other flag than that yet, since many may find out at once.
        Raises `DatabaseUnavailable`; the view then stays what it was.
        """
        async with self._refreshing:  # one after the other, so that no older answer is adopted after a newer one
            if since not in (None, self.flag.fence):
                return self.flag
            await self._read_flag()
            return self.flag

    async def resolve_doubt(self) -> None:
        """Before a write: a process in doubt would take no hold, and so end the epoch for everybody. Raises `DatabaseUnavailable`."""
        if self.in_doubt:
            async with self._refreshing:
                if self.in_doubt:  # many may have waited for the first of them
                    await self._read_flag()

    async def _read_flag(self) -> None:
        standstills = self.standstill.count()
        trace.step("reads the flag")
        async with self.database.read() as db:
            if self._read_along:
                await self._read_along(db)
            asked_at = self.clock.monotonic()  # the transaction has begun: nothing is waited for but this one answer
            row, time_there = (await db.execute(select(SessionBackend, self._database_time))).one()
        trace.step("read the flag", row.mode, row.epoch, row.redis_run_id)
        self.keys.learn(row.installation_id, row.redis_prefix)
        if time_there is not None:
            self.clock.synchronize(asked_at, time_there, self.clock.monotonic())
            self._log_skew()
        await self._adopt(row)
        self._standstills_at_read = standstills

    async def fail_over(self, fence: Fence, reason: str) -> None:
        """Flip down, in a transaction of its own, and announce it."""
        trace.step("fails over", fence.mode, fence.epoch)
        async with self.database.write() as db:
            await self.flip_down(db, fence, reason)
        trace.step("failed over")
        await self.announce_failover(fence)

    async def announce_failover(self, fence: Fence) -> None:
        """After the commit of a failover from `fence`: this process and, by Redis, the others know of it when this returns, if they can."""
        try:
            async with asyncio.timeout(COMMIT_SECONDS):  # many may announce it, and each waits for those before it
                await self.refresh(since=fence)
        except (DatabaseUnavailable, TimeoutError):
            trace.step("could not announce")
            METRICS.backend_unannounced.inc()
        self.poll_now()  # so that the probe knows at once what this process sees of Redis

    async def flip_down(self, db: Running, fence: Fence, reason: str) -> None:
        """Inside the caller's transaction; `announce_failover` after its commit. Never takes the lock of a failback."""
        if fence.mode != "redis":
            return
        now = self.clock.now()
        flipped = (
            update(SessionBackend)
            .where(SessionBackend.mode == "redis", SessionBackend.epoch == fence.epoch)
            .values(mode="sql", reason=reason, changed_at=self.fleet.database_now(), changed_by=self.fleet.process_id)
        )
        if await run(db, flipped):
            trace.step("flips", fence.epoch)
            await self._record_flip(db, Flip(now, "sql", fence.epoch, reason))
            METRICS.backend_flips.labels("sql").inc()
            log.warning("Session backend goes to SQL for every process. It comes back by a new epoch.", epoch=fence.epoch, reason=reason)

    async def begin_epoch(self, instance: Instance, reason: str) -> bool:
        """Flip up, with a new epoch bound to `instance`, unless the flag moved since this process read it."""
        if self.redis is None or self.probe is None:
            return False
        known = self.flag  # the poll may go on to another one while this waits
        # Redis may hold a higher epoch of a database that is no more. Asked through the probe: the client for sessions stays
        # bound to the old instance until the new epoch is there.
        floor = await self.redis.raise_epoch_floor(0, self.probe, known=known.epoch)
        now, epoch = self.clock.now(), max(known.epoch, floor) + 1
        trace.step("begins an epoch", known.mode, known.epoch, epoch, instance.run_id)
        async with self.database.write() as db:
            if self.database.dialect == "postgresql":
                await db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FAILBACK_LOCK})
            flipped = await execute_dml(
                db,
                update(SessionBackend)
                .where(SessionBackend.mode == known.mode, SessionBackend.epoch == known.epoch)
                .values(
                    mode="redis",
                    epoch=epoch,
                    redis_run_id=instance.run_id,
                    redis_replid=instance.replid,
                    reason=reason,
                    changed_at=self.fleet.database_now(),
                    changed_by=self.fleet.process_id,
                ),
            )
            if flipped:
                await self._record_flip(db, Flip(now, "redis", epoch, reason))
                METRICS.backend_flips.labels("redis").inc()
        trace.step("began an epoch", epoch, bool(flipped))
        await self.refresh()
        return bool(flipped)

    async def _adopt(self, row: SessionBackend) -> None:
        instance = Instance(row.redis_run_id, row.redis_replid or "") if row.redis_run_id else None
        flag = Flag("redis" if row.mode == "redis" else "sql", row.epoch, instance, row.reason, row.changed_at)
        if self.redis and self.probe and flag.fence != self.flag.fence:
            # Before this process acts on it: what it writes from now on is not to be found under the epoch that is over.
            try:
                await self.redis.raise_epoch_floor(flag.epoch + (flag.mode == "sql"), self.probe, limit=ANNOUNCE_LIMIT)
            except StoreUnavailable:
                METRICS.backend_unannounced.inc()
        expect(flag.epoch >= self.flag.epoch, "epoch_fell", known=self.flag.epoch, read=flag.epoch)
        self.flag = flag
        trace.step("adopted", flag.mode, flag.epoch)
        if self.redis and flag.mode == "redis":
            self.redis.client.bind(instance)

    def _log_skew(self) -> None:
        skew = self.clock.skew or timedelta(0)
        METRICS.clock_skew.set(abs(skew).total_seconds())
        if (is_skewed := abs(skew) > SKEW_LIMIT) != self._is_skewed:
            self._is_skewed = is_skewed
            if is_skewed:
                what = "The clock of this machine and the database's differ; Holdfast goes by the database's. Set both by NTP (chrony)."
                log.warning(what, seconds_ahead=round(skew.total_seconds(), 1))
            else:
                log.info("The clock of this machine and the database's agree again.")
