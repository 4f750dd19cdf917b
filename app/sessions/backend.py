"""The backend flag: one row in SQL that says whether sessions may be read from Redis, under which epoch, from which instance.

Anyone flips it down, in the transaction of a write that Redis did not take. It goes up only with a new epoch, so that what
was left in Redis can never be read again, and only under the lock that every write shares.
"""

import asyncio
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from secrets import token_hex
from typing import Any, Literal

import structlog
from sqlalchemy import ColumnElement, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.clock import Clock
from app.database import Database, upsert
from app.errors import StoreUnavailable, Unavailable
from app.events.service import record_event
from app.metrics import METRICS
from app.models import Process, SessionBackend, Switch
from app.redis import Instance, RedisClient, check_redis_health
from app.sessions.redis_store import EPOCH_KEY, RedisSessions
from app.sessions.sql_store import Fence

log = structlog.get_logger()

# The advisory lock of `session_fence()` in the migrations: writers share it, a rise takes it alone.
RISE_LOCK = 7301
Pin = Literal["auto", "redis", "sql"]


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
    """This process's view of the flag, kept fresh by a poll, and its own sign of life."""

    def __init__(
        self,
        database: Database,
        redis: RedisSessions | None,
        probe: RedisClient | None,
        *,
        clock: Clock,
        kind: str,
        pin: Pin,
        poll: timedelta,
    ) -> None:
        self.database = database
        self.redis = redis if pin != "sql" else None
        self.probe = probe
        self.clock = clock
        self.kind = kind
        self.pin: Pin = pin
        self.poll_interval = poll
        # Live means: a heartbeat within this window.
        self.live_window = max(timedelta(seconds=5), 5 * poll)
        self.process_id = f"{socket.gethostname()}:{os.getpid()}:{token_hex(3)}"
        self.flag = Flag("sql", 0, None, "not read yet", clock.now())
        self.switches: dict[str, bool] = {}
        self.redis_fault = "" if redis else "no Redis is configured"
        self._started_at = clock.now()
        self._beat_at: datetime | None = None
        self._settled = False
        self._announced = ""
        self._look_now = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def usable_epoch(self) -> int | None:
        """The epoch under which this process may use Redis now, or None."""
        return self.flag.epoch if self.redis and self.flag.mode == "redis" else None

    @property
    def backend(self) -> Literal["redis", "sqlalchemy"]:
        return "redis" if self.usable_epoch is not None and not self.redis_fault else "sqlalchemy"

    @property
    def status(self) -> Literal["healthy", "degraded"]:
        """Degraded: Redis is configured and meant to be used, and is not."""
        return "healthy" if self.backend == "redis" or not self.redis else "degraded"

    async def start(self) -> None:
        """Check Redis before serving, take part in the fleet, and keep the view of the flag fresh. Survives SQL being away."""
        self._started_at = self.clock.now()
        await self._poll_once()
        self._announce()
        self._poller = asyncio.create_task(self._poll_forever(), name="session-backend-poll")

    async def stop(self) -> None:
        if self._poller:
            # A driver in the middle of something may swallow the cancellation, so the loop is told as well.
            self._stopping = True
            self.look_again()
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        try:
            async with self.database.write() as db:
                await db.execute(delete(Process).where(Process.id == self.process_id))
        except Unavailable:
            log.warning("The sign of life stays behind: the database is away. It counts for nothing in a few seconds.")

    def look_again(self) -> None:
        """Something disagreed with this view of the flag: read it now rather than at the next poll."""
        self._look_now.set()

    async def refresh(self) -> Flag:
        """Read the flag. Raises `DatabaseUnavailable`; the view then stays what it was."""
        async with self.database.read() as db:
            row = (await db.execute(select(SessionBackend))).scalar_one()
            self.switches = dict((await db.execute(select(Switch.name, Switch.enabled))).all())
        await self._adopt(row)
        return self.flag

    async def flip_down(self, db: AsyncSession, fence: Fence, reason: str) -> None:
        """Inside the caller's transaction: from its commit on nobody reads Redis. Never takes the rise's lock."""
        if fence.mode != "redis":
            return
        now = self.clock.now()
        flipped = await db.execute(
            update(SessionBackend)
            .where(SessionBackend.mode == "redis", SessionBackend.epoch == fence.epoch)
            .values(mode="sql", reason=reason, changed_at=now, changed_by=self.process_id)
        )
        if flipped.rowcount:  # type: ignore[attr-defined]
            await record_event(db, "backend.flipped", at=now, mode="sql", epoch=fence.epoch, reason=reason)
            METRICS.backend_flips.labels("sql").inc()
            log.warning(
                "Session backend goes to SQL: Redis did not take a write. It comes back by a new epoch.", epoch=fence.epoch, reason=reason
            )
        self.look_again()

    async def begin_epoch(self, instance: Instance) -> bool:
        """Flip up, with a new epoch bound to `instance`, unless the flag moved since this process read it."""
        if self.probe is None:
            return False
        # Redis may have been told of a higher epoch by a database that is no more. Asked through the probe: the client
        # for sessions stays bound to the old instance until the new epoch is there.
        async with self.probe.deadline() as commands:
            told = int(await commands.get(EPOCH_KEY) or 0)
        now, epoch = self.clock.now(), max(self.flag.epoch, told) + 1
        async with self.database.write() as db:
            if self.database.dialect == "postgresql":
                await db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": RISE_LOCK})
            risen = await db.execute(
                update(SessionBackend)
                .where(SessionBackend.mode == self.flag.mode, SessionBackend.epoch == self.flag.epoch)
                .values(
                    mode="redis",
                    epoch=epoch,
                    redis_run_id=instance.run_id,
                    redis_replid=instance.replid,
                    reason="Redis is healthy",
                    changed_at=now,
                    changed_by=self.process_id,
                )
            )
            if risen.rowcount:  # type: ignore[attr-defined]
                await record_event(db, "backend.flipped", at=now, mode="redis", epoch=epoch, reason="Redis is healthy")
                METRICS.backend_flips.labels("redis").inc()
        await self.refresh()
        return bool(risen.rowcount)  # type: ignore[attr-defined]

    async def _poll_forever(self) -> None:
        while not self._stopping:
            try:
                async with asyncio.timeout(self.poll_interval.total_seconds()):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            try:
                await self._poll_once()
                self._announce()
            except Exception:  # whatever it was: without its poll a process would believe an old flag for ever
                log.exception("The session backend could not be looked at; trying again at the next poll.")

    async def _poll_once(self) -> None:
        try:
            await self._beat()
            await self.refresh()
            if not self._settled:
                await self._settle()
            await self._keep_mirrored()
        except Unavailable as fault:
            log.warning("The session backend could not be looked at; the last view of it stays.", fault=fault.detail)

    async def _settle(self) -> None:
        """Until this process has been on a backend it may keep: check Redis, and begin an epoch where no older process lives."""
        if self.redis is None or self.probe is None:
            self._settled = True
            return
        try:
            instance = await check_redis_health(self.probe)
        except StoreUnavailable as fault:
            self.redis_fault = fault.detail
            # Redis was away at the start. Coming back to it later is for the probe, which asks the whole fleet.
            self._settled = self.clock.now() - self._started_at > 3 * self.live_window
            return
        if self.flag.mode == "redis" and self.flag.instance == instance:
            self._settled = True
        elif self.kind == "web" and not await self._older_process_lives():
            self._settled = await self.begin_epoch(instance)

    async def _adopt(self, row: SessionBackend) -> None:
        instance = Instance(row.redis_run_id, row.redis_replid or "") if row.redis_run_id else None
        before, self.flag = self.flag, Flag("redis" if row.mode == "redis" else "sql", row.epoch, instance, row.reason, row.changed_at)
        if self.redis is None:
            return
        if row.mode == "redis":
            await self.redis.client.bind(instance)
        elif before.mode == "redis":
            try:
                await self.redis.forget_epoch()
            except StoreUnavailable as fault:
                self.redis_fault = fault.detail

    async def _keep_mirrored(self) -> None:
        """Once a poll: Redis knows the epoch also after it lost all keys, and this process knows whether Redis serves."""
        if self.redis is None or self.flag.mode != "redis":
            return
        try:
            await self.redis.mirror_epoch(self.flag.epoch)
            self.redis_fault = ""
        except StoreUnavailable as fault:
            self.redis_fault = fault.detail

    async def _beat(self) -> None:
        """The sign of life. Three in a live window, not one each poll: on SQLite each is a turn of the only writer."""
        now = self.clock.now()
        if self._beat_at and now - self._beat_at < self.live_window / 3:
            return
        values: dict[str, Any] = {
            "id": self.process_id,
            "kind": self.kind,
            "version": version("holdfast"),
            "started_at": self._started_at,
            "heartbeat_at": self._database_now(),
            "pinned": self.pin,
            "redis_view": self.redis_fault[:200] or "serves",
        }
        async with self.database.write() as db:
            await db.execute(upsert(db, Process, values, key=["id"]))
        self._beat_at = now

    async def _older_process_lives(self) -> bool:
        async with self.database.read() as db:
            older = await db.scalar(
                select(Process.id)
                .where(Process.id != self.process_id, Process.kind == self.kind)
                .where(Process.heartbeat_at > self._database_now() - self.live_window)
                .where(
                    (Process.started_at < self._started_at) | ((Process.started_at == self._started_at) & (Process.id < self.process_id))
                )
                .limit(1)
            )
        return older is not None

    def _database_now(self) -> ColumnElement[datetime] | datetime:
        # The fleet's clocks differ, the database's does not; SQLite has no clock of its own, and all its processes share a machine.
        return func.now() if self.database.dialect == "postgresql" else self.clock.now()

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
