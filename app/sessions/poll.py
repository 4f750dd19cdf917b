"""The poll of the backend flag: once a second each process reads the flag, checks Redis, and writes down what it sees.

It shows what it sees to the other processes in SQL (the heartbeat) and keeps `hf:epoch` in Redis as the flag says.
"""

import asyncio
from datetime import timedelta

import structlog

from app.core.errors import DatabaseUnavailable, StoreUnavailable, Unavailable
from app.core.metrics import METRICS
from app.core.redis import HEALTH_LIMIT
from app.sessions.backend import BackendFlag
from app.sessions.neighbours import Presence

log = structlog.get_logger()


class BackendPoll:
    """Keeps the `backend` of a process fresh, from its start to its stop."""

    def __init__(self, backend: BackendFlag) -> None:
        self.backend = backend
        client = backend.probe if backend.fleet.kind != "cli" else None
        self._presence = Presence(client, backend.keys, process=backend.fleet.process_id, database=backend.database.url)
        self._bootstrapped = False
        self._logged = ""
        self._is_flag_unreadable = False
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Check Redis before serving, take part in the fleet, and keep both views fresh. Survives Redis or SQL being away."""
        self.backend.standstill.start()
        await self.run_once(HEALTH_LIMIT)
        self._log_backend()
        self._task = asyncio.create_task(self._run_forever(), name="session-backend-poll")

    async def stop(self) -> None:
        self.backend.standstill.stop()
        if self._task:
            # A driver in the middle of something may swallow the cancellation, so the loop also has a flag to end by.
            self._stopping = True
            self.backend.poll_now()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.backend.view.instance:
            await self._presence.end()
        try:
            await self.backend.fleet.leave()
        except Unavailable:
            log.warning("Heartbeat row not removed: the database is away. It counts for nothing in a few seconds.")

    async def _run_forever(self) -> None:
        backend = self.backend
        while not self._stopping:
            try:
                async with asyncio.timeout(backend.poll_interval.total_seconds()):
                    await backend.poll_requested.wait()
            except TimeoutError:
                pass
            backend.poll_requested.clear()
            try:
                await self.run_once(backend.probe.timeout if backend.probe else HEALTH_LIMIT)
                self._log_backend()
            except Exception:  # whatever it was: without its poll a process would believe an old flag for ever
                log.exception("Backend poll failed; trying again at the next one.")

    async def run_once(self, limit: timedelta) -> None:
        """One poll, with `limit` for the health check of Redis."""
        backend = self.backend
        keys_were_known = backend.keys.are_known
        try:
            if not keys_were_known:
                await backend.refresh()  # the prefix of the keys in Redis is read along with the flag
                keys_were_known = backend.keys.are_known
            await backend.resolve_doubt()  # readers go to SQL until then, so this does not wait for Redis
        except DatabaseUnavailable as fault:
            self._log_outage_once(fault.detail)
        await backend.probe_redis(limit)
        try:
            await backend.refresh()
            if not keys_were_known:
                await backend.probe_redis(limit)
            await backend.fleet.beat(backend.view, backend.breaker.state if backend.breaker else "closed")
            self._log_outage_once("")
            if not self._bootstrapped:
                await self._bootstrap_epoch()
            await self._mirror_epoch()
            if backend.view.instance:
                await self._presence.show(backend.clock.monotonic())
        except DatabaseUnavailable as fault:
            self._log_outage_once(fault.reason)
        except StoreUnavailable:
            pass  # Redis fails at this very moment: the next health check says so
        METRICS.uses_redis.set(backend.backend == "redis")
        METRICS.breaker_open.set(bool(backend.breaker and backend.breaker.is_open))

    async def _mirror_epoch(self) -> None:
        """Write the epoch to Redis at every poll: it may have lost all its keys, or the end of an epoch may not have reached it."""
        backend, flag = self.backend, self.backend.flag
        if backend.redis is None or backend.probe is None:
            return
        if flag.mode == "sql" and backend.view.instance:
            # The announcement may have been lost in the very hang that cost the hold; a process that stood still meanwhile missed it.
            await backend.redis.raise_epoch_floor(flag.epoch + 1, backend.probe)
        if backend.usable_epoch is None:
            return
        if await backend.redis.raise_epoch_floor(flag.epoch, backend.probe) > flag.epoch:
            # The database lost what it once knew, or Redis serves another one as well: nobody would believe this epoch any more.
            await backend.fail_over(flag.fence, "Redis was told of a newer epoch than the database knows")

    async def _bootstrap_epoch(self) -> None:
        """While this process is young: begin an epoch where Redis serves and no older process of its kind lives.

        Later, and in a living fleet, coming back to Redis is for the worker's probe, which asks every process.
        """
        backend = self.backend
        if (
            backend.redis is None
            or (backend.flag.mode == "redis" and backend.flag.instance == backend.view.instance)
            or backend.clock.monotonic() - backend.fleet.started_at > 3 * backend.fleet.live_window.total_seconds()
        ):
            self._bootstrapped = True
        elif backend.view.instance is None:
            return
        elif backend.fleet.kind == "web" and not await backend.fleet.has_older_peer():
            self._bootstrapped = await backend.begin_epoch(backend.view.instance, "start: Redis is healthy")

    def _log_outage_once(self, fault: str) -> None:
        """Once an outage, not at every poll."""
        if fault and not self._is_flag_unreadable:
            log.warning("Backend flag cannot be read; the last known one stays in force until it can.", fault=fault)
        elif self._is_flag_unreadable and not fault:
            log.info("Backend flag can be read again.")
        self._is_flag_unreadable = bool(fault)

    def _log_backend(self) -> None:
        """The log line operators grep for, at the start and at each flip."""
        backend = self.backend
        if backend.backend == "redis":
            line = "Session backend: Redis (healthy)"
        elif backend.redis is None:
            line = (
                "Session backend: SQLAlchemy (no Redis configured)"
                if backend.pin != "sql"
                else "Session backend: SQLAlchemy (pinned by SESSION_BACKEND)"
            )
        else:
            line = "Session backend: SQLAlchemy (Redis unavailable)"
        if line != self._logged:
            self._logged = line
            log.info(line, epoch=backend.flag.epoch, reason=backend.redis_fault or backend.flag.reason)
