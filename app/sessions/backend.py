"""The backend flag: one row in SQL that says whether sessions may be read from Redis, under which epoch, from which instance.

Anyone flips it down, in the transaction of a write that Redis did not take, and tells the others by a number in Redis before
that write is answered. It goes up only with a new epoch, so that what was left in Redis can never be read again, and only
under the lock that every write shares.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog
from sqlalchemy import func, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.breaker import Breaker
from app.core.clock import Clock
from app.core.database import COMMIT_SECONDS, Database
from app.core.errors import DatabaseUnavailable, StoreUnavailable, Unavailable
from app.core.metrics import METRICS
from app.core.redis import HEALTH_LIMIT, Instance, RedisClient, check_redis_health
from app.core.redis_keys import RedisKeys
from app.core.statements import execute_dml
from app.events.service import record_always
from app.models import SessionBackend, Switch
from app.sessions.fleet import Fleet, Pin, RedisView
from app.sessions.neighbours import Presence
from app.sessions.redis_store import RedisSessions
from app.sessions.sql_store import Fence
from app.sessions.standstill import Standstill

log = structlog.get_logger()

# The advisory lock of `session_fence()` in the migrations: writers share it, a rise takes it alone.
FAILBACK_LOCK = 7301
# Comes on top of a call of 250 ms that failed; who waits for both is to be answered within 400 ms.
ANNOUNCE_LIMIT = timedelta(milliseconds=100)
# Beyond this a clock is worth telling of. Nothing but logs and certificates goes by it.
SKEW_LIMIT = timedelta(seconds=1)
# Round trips of one look at Redis: SET, GET, DEL and two of INFO.
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


class BackendFlag:
    """This process's view of the flag and of Redis, kept fresh by a poll."""

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
    ) -> None:
        self.database = database
        self.redis = redis if pin != "sql" else None
        self.probe = probe
        self.keys = keys
        self.clock = clock
        self.pin: Pin = pin
        self.fleet = Fleet(database, clock=clock, kind=kind, pin=pin, poll=poll)
        self._presence = Presence(probe if kind != "cli" else None, keys, process=self.fleet.process_id, database=database.url)
        self.poll_interval = poll
        self.flag = Flag("sql", 0, None, "not read yet", clock.now())
        self.view = RedisView() if self.redis else RedisView(fault="no Redis is used")
        self.switches: dict[str, bool] = {}
        self._bootstrapped = False
        self._database_time = func.clock_timestamp() if database.dialect == "postgresql" else null()
        self._announced = ""
        self._is_skewed = False
        self._is_flag_unreadable = False
        self._standstill = Standstill(poll)
        self._sure_of = 0  # how often it had stood still by then, when the flag was read last
        self._poll_requested = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None
        self._stopping = False

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
        if self._standstill.count() == self._sure_of:
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

    async def start(self) -> None:
        """Check Redis before serving, take part in the fleet, and keep both views fresh. Survives Redis or SQL being away."""
        self._standstill.start()
        await self._poll_once(HEALTH_LIMIT)
        self._announce()
        self._poller = asyncio.create_task(self._poll_forever(), name="session-backend-poll")

    async def stop(self) -> None:
        self._standstill.stop()
        if self._poller:
            # A driver in the middle of something may swallow the cancellation, so the loop is told as well.
            self._stopping = True
            self.poll_now()
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        if self.view.instance:
            await self._presence.end()
        try:
            await self.fleet.leave()
        except Unavailable:
            log.warning("Heartbeat row not removed: the database is away. It counts for nothing in a few seconds.")

    def poll_now(self) -> None:
        """Something disagreed with this view of the flag: read it now rather than at the next poll."""
        self._poll_requested.set()

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
            self.breaker.tried(self.view.fault, timedelta(seconds=time.monotonic() - began) / TRIP_COUNT)
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
        stood_still = self._standstill.count()
        async with self.database.read() as db:
            self.switches = dict((await db.execute(select(Switch.name, Switch.enabled))).all())
            asked_at = self.clock.monotonic()  # the transaction has begun: nothing is waited for but this one answer
            row, time_there = (await db.execute(select(SessionBackend, self._database_time))).one()
        self.keys.learn(row.installation_id, row.redis_prefix)
        if time_there is not None:
            self.clock.synchronize(asked_at, time_there, self.clock.monotonic())
            self._log_skew()
        await self._adopt(row)
        self._sure_of = stood_still

    async def fail_over(self, fence: Fence, reason: str) -> None:
        """Flip down, in a transaction of its own, and tell everybody."""
        async with self.database.write() as db:
            await self.flip_down(db, fence, reason)
        await self.announce_failover(fence)

    async def announce_failover(self, fence: Fence) -> None:
        """After the commit of a fall from `fence`: this process and, by Redis, the others know of it when this returns, if they can."""
        try:
            async with asyncio.timeout(COMMIT_SECONDS):  # many may tell, and each waits for those before it
                await self.refresh(since=fence)
        except (DatabaseUnavailable, TimeoutError):
            METRICS.backend_unannounced.inc()
        self.poll_now()  # so that the probe knows at once what this process sees of Redis

    async def flip_down(self, db: AsyncSession, fence: Fence, reason: str) -> None:
        """Inside the caller's transaction; `announce_failover` after its commit. Never takes the rise's lock."""
        if fence.mode != "redis":
            return
        now = self.clock.now()
        flipped = (
            update(SessionBackend)
            .where(SessionBackend.mode == "redis", SessionBackend.epoch == fence.epoch)
            .values(mode="sql", reason=reason, changed_at=self.fleet.database_now(), changed_by=self.fleet.process_id)
        )
        if await execute_dml(db, flipped):
            # The probe measures its pauses by these.
            await record_always(db, "backend.flipped", at=now, mode="sql", epoch=fence.epoch, reason=reason)
            METRICS.backend_flips.labels("sql").inc()
            log.warning("Session backend goes to SQL for every process. It comes back by a new epoch.", epoch=fence.epoch, reason=reason)

    async def begin_epoch(self, instance: Instance, reason: str) -> bool:
        """Flip up, with a new epoch bound to `instance`, unless the flag moved since this process read it."""
        if self.redis is None or self.probe is None:
            return False
        known = self.flag  # the poll may go on to another one while this waits
        # Redis may have been told of a higher epoch by a database that is no more. Asked through the probe: the client
        # for sessions stays bound to the old instance until the new epoch is there.
        told = await self.redis.raise_epoch_floor(0, self.probe, known=known.epoch)
        now, epoch = self.clock.now(), max(known.epoch, told) + 1
        async with self.database.write() as db:
            if self.database.dialect == "postgresql":
                await db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FAILBACK_LOCK})
            risen = await execute_dml(
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
            if risen:
                await record_always(db, "backend.flipped", at=now, mode="redis", epoch=epoch, reason=reason)
                METRICS.backend_flips.labels("redis").inc()
        await self.refresh()
        return bool(risen)

    async def _poll_forever(self) -> None:
        while not self._stopping:
            try:
                async with asyncio.timeout(self.poll_interval.total_seconds()):
                    await self._poll_requested.wait()
            except TimeoutError:
                pass
            self._poll_requested.clear()
            try:
                await self._poll_once(self.probe.timeout if self.probe else HEALTH_LIMIT)
                self._announce()
            except Exception:  # whatever it was: without its poll a process would believe an old flag for ever
                log.exception("Backend poll failed; trying again at the next one.")

    async def _poll_once(self, limit: timedelta) -> None:
        looked_for = self.keys.are_known
        try:
            if not looked_for:
                await self.refresh()  # what one looks at has its name from there
                looked_for = self.keys.are_known
            await self.resolve_doubt()  # readers go to SQL until then, so this does not wait for Redis
        except DatabaseUnavailable as fault:
            self._log_outage_once(fault.detail)
        await self.probe_redis(limit)
        try:
            await self.refresh()
            if not looked_for:
                await self.probe_redis(limit)
            await self.fleet.beat(self.view, self.breaker.state if self.breaker else "closed")
            self._log_outage_once("")
            if not self._bootstrapped:
                await self._bootstrap_epoch()
            await self._mirror_epoch()
            if self.view.instance:
                await self._presence.show(self.clock.monotonic())
        except DatabaseUnavailable as fault:
            self._log_outage_once(fault.reason)
        except StoreUnavailable:
            pass  # Redis fails at this very moment: the next look says so
        METRICS.uses_redis.set(self.backend == "redis")
        METRICS.breaker_open.set(bool(self.breaker and self.breaker.is_open))

    async def _mirror_epoch(self) -> None:
        """Once a poll, so that Redis knows the epoch also after it lost all its keys, and its end also where that could not be told."""
        flag = self.flag
        if self.redis is None or self.probe is None:
            return
        if flag.mode == "sql" and self.view.instance:
            # Whoever ended the epoch told of it in the very hang that cost the hold; a process that stood still meanwhile believes in it.
            await self.redis.raise_epoch_floor(flag.epoch + 1, self.probe)
        if self.usable_epoch is None:
            return
        if await self.redis.raise_epoch_floor(flag.epoch, self.probe) > flag.epoch:
            # The database lost what it once knew, or Redis serves another one as well: nobody would believe this epoch any more.
            await self.fail_over(flag.fence, "Redis was told of a newer epoch than the database knows")

    async def _bootstrap_epoch(self) -> None:
        """While this process is young: begin an epoch where Redis serves and no older process of its kind lives.

        Later, and in a living fleet, coming back to Redis is for the worker's probe, which asks every process.
        """
        if (
            self.redis is None
            or (self.flag.mode == "redis" and self.flag.instance == self.view.instance)
            or self.clock.monotonic() - self.fleet.started_at > 3 * self.fleet.live_window.total_seconds()
        ):
            self._bootstrapped = True
        elif self.view.instance is None:
            return
        elif self.fleet.kind == "web" and not await self.fleet.an_older_one_lives():
            self._bootstrapped = await self.begin_epoch(self.view.instance, "start: Redis is healthy")

    async def _adopt(self, row: SessionBackend) -> None:
        instance = Instance(row.redis_run_id, row.redis_replid or "") if row.redis_run_id else None
        flag = Flag("redis" if row.mode == "redis" else "sql", row.epoch, instance, row.reason, row.changed_at)
        if self.redis and self.probe and flag.fence != self.flag.fence:
            # Before this process acts on it: what it writes from now on is not to be found under the epoch that is over.
            try:
                await self.redis.raise_epoch_floor(flag.epoch + (flag.mode == "sql"), self.probe, limit=ANNOUNCE_LIMIT)
            except StoreUnavailable:
                METRICS.backend_unannounced.inc()
        self.flag = flag
        if self.redis and flag.mode == "redis":
            self.redis.client.bind(instance)

    def _log_outage_once(self, fault: str) -> None:
        """Once an outage, not at every poll."""
        if fault and not self._is_flag_unreadable:
            log.warning("Backend flag cannot be read; the last known one stays in force until it can.", fault=fault)
        elif self._is_flag_unreadable and not fault:
            log.info("Backend flag can be read again.")
        self._is_flag_unreadable = bool(fault)

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

    def _announce(self) -> None:
        """The log line operators grep for, at the start and at each flip."""
        if self.backend == "redis":
            line = "Session backend: Redis (healthy)"
        elif self.redis is None:
            line = (
                "Session backend: SQLAlchemy (no Redis configured)"
                if self.pin != "sql"
                else "Session backend: SQLAlchemy (pinned by SESSION_BACKEND)"
            )
        else:
            line = "Session backend: SQLAlchemy (Redis unavailable)"
        if line != self._announced:
            self._announced = line
            log.info(line, epoch=self.flag.epoch, reason=self.redis_fault or self.flag.reason)
