"""The live processes: each writes to SQL that it lives and what it sees of Redis, for the others to read."""

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from secrets import token_hex
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.database import Database
from app.core.redis import Instance
from app.core.statements import execute_dml, insert_into
from app.models.sessions import Process, SessionBackend

Pin = Literal["auto", "redis", "sql"]


@dataclass(frozen=True)
class RedisView:
    """What the last health check of Redis found: the instance that served, or the fault."""

    instance: Instance | None = None
    fault: str = "not looked at yet"


async def ask_time(db: AsyncSession, clock: Clock) -> datetime:
    """By the clock of the heartbeats: the database's, as `Fleet.database_now` has it inside a statement."""
    if db.get_bind().dialect.name != "postgresql":
        return clock.now()
    now: datetime = (await db.execute(select(func.now()))).scalar_one()
    return now


class Fleet:
    """This process among the others. Live means: a heartbeat within `live_window`, by the database's clock."""

    def __init__(self, database: Database, *, clock: Clock, kind: str, pin: Pin, poll: timedelta) -> None:
        self.database = database
        self.clock = clock
        self.kind = kind
        self.pin: Pin = pin
        self.live_window = max(timedelta(seconds=5), 5 * poll)
        self.process_id = f"{socket.gethostname()}:{os.getpid()}:{token_hex(3)}"
        self.started_at = clock.monotonic()
        self._last_beat: tuple[RedisView, str] | None = None
        self._last_beat_at = self.started_at

    async def beat(self, view: RedisView, breaker: str) -> None:
        """The heartbeat: at once when something changed, else three in a live window. Raises `DatabaseUnavailable`."""
        now = self.clock.monotonic()
        if self._last_beat == (view, breaker) and now - self._last_beat_at < self.live_window.total_seconds() / 3:
            return
        serves_since = self.database_now() if view.instance else None
        values: dict[str, Any] = {
            "id": self.process_id,
            "kind": self.kind,
            "version": version("holdfast"),
            "started_at": self.database_now(),
            "heartbeat_at": self.database_now(),
            "pinned": self.pin,
            "redis_run_id": view.instance.run_id if view.instance else None,
            "redis_ok_since": serves_since,
            "redis_fault": view.fault[:200],
            "breaker": breaker,
            "clock_skew_ms": self._clock_skew_ms(),
        }
        async with self.database.write() as db:
            insert = insert_into(db, Process).values(**values)
            unbroken = (Process.redis_run_id == insert.excluded.redis_run_id) & Process.redis_ok_since.is_not(None)
            changed: dict[str, Any] = {name: insert.excluded[name] for name in values if name not in ("id", "started_at")}
            changed["redis_ok_since"] = case((unbroken, Process.redis_ok_since), else_=insert.excluded.redis_ok_since)
            await db.execute(insert.on_conflict_do_update(index_elements=["id"], set_=changed))
        self._last_beat, self._last_beat_at = (view, breaker), now

    def _clock_skew_ms(self) -> int | None:
        return None if self.clock.skew is None else self.clock.skew // timedelta(milliseconds=1)

    async def leave(self) -> None:
        async with self.database.write() as db:
            await execute_dml(db, delete(Process).where(Process.id == self.process_id))

    async def has_older_peer(self) -> bool:
        """Of this kind, other than this process; by the database's clock, since a server's may be behind."""
        mine = select(Process.started_at).where(Process.id == self.process_id).scalar_subquery()
        since = func.coalesce(mine, self.database_now())
        older = (Process.started_at < since) | ((Process.started_at == since) & (Process.id < self.process_id))
        async with self.database.read() as db:
            found = await db.scalar(select(Process.id).where(self.is_live(), Process.kind == self.kind, older).limit(1))
        return found is not None

    async def find_objection(self, instance: Instance, *, steady_for: timedelta) -> str | None:
        """A live process that has not been served by `instance` for so long, or wants no Redis, and why; None when all consent."""
        agrees = (
            (Process.redis_run_id == instance.run_id)
            & (Process.redis_ok_since <= self.database_now() - steady_for)
            & (Process.pinned != "sql")
        )
        async with self.database.read() as db:
            objecting = select(Process.id, Process.redis_fault).where(self.is_live(), Process.kind != "cli", func.coalesce(~agrees, True))
            row = (await db.execute(objecting.limit(1))).first()
        return None if row is None else f"{row.id}: {row.redis_fault or 'not steady yet'}"

    async def has_been_still_for(self, pause: timedelta) -> bool:
        """Whether the flag has not moved for so long."""
        async with self.database.read() as db:
            return bool(await db.scalar(select(SessionBackend.changed_at <= self.database_now() - pause)))

    def database_now(self) -> Any:
        # The fleet's clocks differ, the database's does not; SQLite has no clock of its own, and all its processes share a machine.
        return func.now() if self.database.dialect == "postgresql" else self.clock.now()

    def is_live(self) -> ColumnElement[bool]:
        """Over `Process`."""
        recent: datetime = self.database_now() - self.live_window
        return Process.heartbeat_at > recent
