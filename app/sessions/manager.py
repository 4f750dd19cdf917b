"""Reading and changing sessions so that nothing is lost and nothing comes back: the protocol of docs/sessions.md.

    read    MGET hf:epoch key ──┬─ record of this epoch, not older than the cookie ──► served
                                ├─ hold, other epoch, fault ──► SQL
                                └─ nothing ──► SET key lease NX ──► SQL ──► key = record, if my lease is still there

    write   SET key hold ∥ SQL statements ──► both done? ──► COMMIT ──► my hold becomes the record ──► answer

A change of many sessions takes all holds, runs one transaction, and leaves nothing in Redis; the next read refills.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import structlog
from sqlalchemy import ColumnElement, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.breaker import Busy
from app.core.clock import Clock, to_unix_ms
from app.core.database import Contended, Database
from app.core.errors import DatabaseUnavailable, StoreUnavailable
from app.core.metrics import METRICS
from app.core.statements import execute_dml, fetch, run, run_many
from app.core.transactions import Transaction
from app.models.sessions import Login, Session
from app.sessions import trace
from app.sessions.backend import BackendFlag
from app.sessions.expectations import expect
from app.sessions.holds import WriteHolds
from app.sessions.matching import DELETE_SESSIONS, LoginsWhere, SessionsWhere
from app.sessions.notes import notes_of_request
from app.sessions.record import Lease, Record, SessionData, next_version
from app.sessions.sql_store import NO_VERSION, ColdRead, SqlSessions

log = structlog.get_logger()
T = TypeVar("T")

# From a session's data to its new data, or None to leave it as it is. May run again, on newer data, after a conflict.
Change = Callable[[SessionData], SessionData | None]
# What belongs into the same transaction, before the session is written, or the sessions. May run again likewise.
AlsoOfOne = Callable[[Transaction], Awaitable[Any]]
Also = Callable[[AsyncSession], Awaitable[Any]]

ATTEMPTS = 5
NO_VALUES: Mapping[str, Any] = {}


class Outcome(Enum):
    """What a read found out. Only GONE, which SQL alone can say, may clear a cookie."""

    FOUND = "found"
    ABSENT = "absent"  # a live login without a session yet
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Loaded:
    """A session as a request found it. `context` is there after a cold read: the app's columns of that statement."""

    outcome: Outcome
    token_hash: str
    record: Record | None = None
    context: Any | None = None
    # What to build on when there is no record: the login's identity and deadlines, and the version an expired row had.
    blank: Record | None = None
    stale_version: int = NO_VERSION
    # SQL holds less than the cookie says (it was restored from a backup): SQL is right, the cookie is to be corrected.
    cookie_ahead: bool = False


class _Moved(Exception):
    """The row, or the flag, is not what this attempt was made from."""


class SessionManager:
    def __init__(self, sql: SqlSessions, backend: BackendFlag, *, database: Database, clock: Clock) -> None:
        self.sql = sql
        self.backend = backend
        self.database = database
        self.clock = clock
        self._unfinished: set[asyncio.Task[Any]] = set()

    async def read(self, token_hash: str, *, cookie_version: int = 0, quiet: bool = False) -> Loaded:
        """The session of a login, never older than `cookie_version`, the newest this browser was shown. Never raises for an outage.

        `quiet`: no activity is noted. Nor is anything refilled then, since a record in Redis stands for activity that was.
        """
        lease, in_redis = None, NO_VERSION
        epoch = self.backend.usable_epoch
        trace.step("read", token_hash, cookie_version, epoch)
        if epoch is not None and self.backend.redis:
            sessions = self.backend.redis.within(epoch)
            try:
                seen = await sessions.get_entry(token_hash)
                trace.step("looked", seen.epoch_is_current, seen.entry)
                if not seen.epoch_is_current:
                    self.backend.poll_now()
                elif isinstance(seen.entry, Record):
                    in_redis = seen.entry.version
                    if seen.entry.version >= cookie_version and seen.entry.is_live(self.clock.unix_ms()):
                        METRICS.session_reads.labels("redis").inc()
                        trace.step("served", seen.entry.version)
                        return Loaded(Outcome.FOUND, token_hash, seen.entry)
                elif seen.entry is None and not quiet:
                    lease = await sessions.lease(token_hash)
                    trace.step("leased", lease)
            except StoreUnavailable as fault:
                if not isinstance(fault, Busy):  # else the write of this request may still wait for Redis: without it the flag falls
                    notes_of_request().redis_failed = True
                METRICS.session_reads.labels("redis_failed").inc()
        try:
            loaded = await self._read_sql(token_hash, cookie_version, lease, epoch, quiet=quiet)
            expect(loaded.record is None or loaded.record.version >= in_redis, "behind_redis")
            return loaded
        except DatabaseUnavailable as fault:
            METRICS.session_reads.labels("unknown").inc()
            log.error("Nobody can say what this session is: Redis has no proof and SQL is away. The cookie is kept.", fault=fault.detail)
            return Loaded(Outcome.UNKNOWN, token_hash)

    async def write(self, loaded: Loaded, change: Change, *, also: AlsoOfOne | None = None) -> Record | None:
        """Change one session. The record as committed, or as found when `change` left it; None when its login is over.

        Keys are merged one by one: `change` runs again on what a concurrent writer left.
        Raises `Unavailable`; then nothing was acknowledged.
        """
        return await self.finish(self._write(loaded, change, also))

    async def insert(self, db: AsyncSession, *, login: Login, data: SessionData, now: datetime) -> Record:
        """The first session of a login that is being made in this transaction."""
        record = Record(
            version=next_version(NO_VERSION, to_unix_ms(now)),
            login_id=login.id,
            user_id=login.user_id,
            login_idle_at=to_unix_ms(login.idle_expires_at),
            login_ends_at=to_unix_ms(login.expires_at),
            expires_at=to_unix_ms(now + self.sql.limits.session_lifetime),
            data=data,
        )
        await self.sql.insert(db, record, now=now)
        trace.step("inserted", login.token_hash, login.id, record.version)
        return record

    async def change_sessions(
        self, which: ColumnElement[bool] | SessionsWhere, change: Change, *, also: Also | None = None, **values: Any
    ) -> dict[str, Record]:
        """Change every session matched by `which` (a condition over `Session`, with these values of its parameters), in one
        transaction with `also`.

        Expired ones too: by the clock of another server they may be alive. Returns the new records by token hash.
        What Redis held of them is gone before this returns.
        """
        matched = which if isinstance(which, SessionsWhere) else SessionsWhere(which)

        async def work(db: AsyncSession) -> dict[str, Record | None]:
            changed: dict[str, Record | None] = {}
            rows: list[dict[str, Any]] = []
            # Locked before they are read: a wait for the lock would bring the session as it is now, but the token as it was.
            locked = {row.id for row in await fetch(db, matched.lock, **values)}
            for row in await fetch(db, matched.rows, **values):
                data = change(dict(row.data)) if row.id in locked else None
                if data is None:
                    continue
                version = next_version(row.version, self.clock.unix_ms())
                written = {"version": version, "data": data} | self.sql.indexed(data)
                rows.append({"row_id": row.id} | {f"new_{name}": value for name, value in written.items()})
                idle_ms, ends_ms, expires_ms = map(to_unix_ms, (row.idle_expires_at, row.login_expires_at, row.expires_at))
                changed[row.token_hash] = Record(version, row.login_id, row.user_id, idle_ms, ends_ms, expires_ms, data)
            if rows:
                await run_many(db, self.sql.rewrite, rows)
            return changed

        written = await self.finish(self._write_many(matched.keys, work, also, values))
        changed = {key: record for key, record in written.items() if record}
        notes_of_request().changed |= {key: record.version for key, record in changed.items()}
        return changed

    async def end_logins(self, which: ColumnElement[bool] | LoginsWhere, *, also: Also | None = None, **values: Any) -> list[int]:
        """End every live login matched by `which` (a condition over `Login`, with these values of its parameters) and delete its
        session, in one transaction with `also`.

        Returns the ids of the logins ended. No request that starts after this returns is served by one of them.
        """
        logins = which if isinstance(which, LoginsWhere) else LoginsWhere(which)
        ended: list[int] = []

        async def work(db: AsyncSession) -> dict[str, Record | None]:
            ended.clear()
            await _lock_logins(db, logins, values)
            rows = await fetch(db, logins.end, **values, now=self.clock.now())
            ended.extend(row.id for row in rows)
            if ended:
                await run(db, DELETE_SESSIONS, login_ids=ended)
            return {row.token_hash: None for row in rows}

        await self.finish(self._write_many(logins.keys, work, also, values))
        return ended

    async def rotate(
        self, login_id: int, old_hash: str, new_hash: str, *, ending: ColumnElement[bool] | None = None, also: Also | None = None
    ) -> bool:
        """Give a live login another token; the old one is dead at once. Ends the logins matched by `ending` with it. False: it was over."""
        rotated = False
        mine = (Login.id == login_id) & (Login.token_hash == old_hash) & Login.ended_at.is_(None)
        concerned = LoginsWhere(mine if ending is None else mine | ending)

        async def swap(db: AsyncSession) -> None:
            nonlocal rotated
            if also:
                await also(db)
            await _lock_logins(db, concerned, NO_VALUES)
            rotated = bool(await execute_dml(db, update(Login).where(mine).values(token_hash=new_hash)))
            # A write under way that was made from the old token's session is not to be published under that token any more.
            moved = update(Session).where(Session.login_id == login_id).values(version=Session.version + 1)
            await execute_dml(db, moved)
            trace.step("rotated", old_hash, new_hash, rotated)

        async def work(db: AsyncSession) -> dict[str, Record | None]:
            await swap(db)
            dropped: dict[str, Record | None] = {old_hash: None}
            if ending is not None:
                rows = await fetch(db, LoginsWhere(ending & (Login.id != login_id)).end, now=self.clock.now())
                await run(db, DELETE_SESSIONS, login_ids=[row.id for row in rows])
                dropped |= {row.token_hash: None for row in rows}
            return dropped

        await self.finish(self._write_many(concerned.keys, work, None))
        return rotated

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end even if the request that asked for it is cancelled: nothing stops between commit and publish."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """At shutdown: wait for writes whose requests have gone away."""
        await asyncio.gather(*self._unfinished, return_exceptions=True)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever still waits gets it, a request that was cancelled does not want it

    async def _read_sql(
        self, token_hash: str, cookie_version: int, lease: Lease | None, epoch: int | None, *, quiet: bool = False
    ) -> Loaded:
        cold = await self.sql.read(token_hash)
        trace.step("asked SQL", cold and (cold.record.version if cold.record else NO_VERSION))
        if cold is None:
            METRICS.session_reads.labels("gone").inc()
            return Loaded(Outcome.GONE, token_hash)
        METRICS.session_reads.labels("sql").inc()
        if cold.record is None:
            return Loaded(Outcome.ABSENT, token_hash, None, cold.context, cold.blank, cold.stale_version)
        record = cold.record if quiet else await self._touch(cold, cold.record)
        if lease and epoch is not None and self.backend.redis:
            with suppress(StoreUnavailable):  # then the next read refills
                trace.step("refilled", await self.backend.redis.within(epoch).write(token_hash, record, lease))
        return Loaded(Outcome.FOUND, token_hash, record, cold.context, cookie_ahead=record.version < cookie_version)

    async def _touch(self, cold: ColdRead, record: Record) -> Record:
        """Note activity, throttled; a cold read is due at the latest when the record in Redis runs out."""
        now = self.clock.now()
        if cold.touched_at is None or now - cold.touched_at < self.sql.limits.touch_interval:
            return record
        try:
            await self.sql.touch(cold.login_id)
        except DatabaseUnavailable as fault:
            log.warning("Activity could not be noted; the session lives on unchanged.", fault=fault.detail)
            return record
        idle_at = to_unix_ms(now + self.sql.limits.login_idle)
        expires_at = to_unix_ms(now + self.sql.limits.session_lifetime)
        return Record(record.version, record.login_id, record.user_id, idle_at, record.login_ends_at, expires_at, record.data)

    async def _write(self, loaded: Loaded, change: Change, also: AlsoOfOne | None) -> Record | None:
        for attempt in range(ATTEMPTS):
            plan = self._plan(loaded, change)
            if plan is None:
                return loaded.record
            if not attempt and also is None and loaded.context is None:
                # Nobody has asked SQL yet. If it is away, a hold would hide the record for its life from those who still can read it.
                await self.database.ping()
            trace.step("write", loaded.token_hash, plan[1], plan[0].version)
            await self.backend.resolve_doubt()
            holds = WriteHolds(self.backend, [loaded.token_hash])
            try:
                record = await self._commit(holds, loaded.token_hash, plan, change, also)
            except (_Moved, Contended):
                trace.step("starts over")
                await self.backend.refresh(since=holds.fence)
                loaded = await self._reload(loaded.token_hash)
                continue
            trace.step("committed")
            await holds.publish({loaded.token_hash: record})
            METRICS.session_writes.labels("committed").inc()
            trace.step("answered")
            return record
        raise StoreUnavailable("This session is being changed by too many requests at once.")

    def _plan(self, loaded: Loaded, change: Change) -> tuple[Record, int] | None:
        """The next record and the version it is made from; None where there is nothing to write."""
        base = loaded.record or loaded.blank
        data = change(dict(base.data)) if base else None
        if base is None or data is None:
            return None
        return self._next(base, data, loaded.stale_version), base.version

    async def _commit(self, holds: WriteHolds, token_hash: str, plan: tuple[Record, int], change: Change, also: AlsoOfOne | None) -> Record:
        """Where somebody was quicker, `plan` is made anew from the locked row, so that each of many writers loses no more than once."""
        if self.database.dialect == "sqlite":
            # One writer at a time: it must not make the others wait for Redis.
            await holds.ready()
        async with self.database.transaction() as db:
            if also:
                await also(db)
            sessions = self.sql.within(db, fence=holds.fence)
            if await sessions.write(token_hash, *plan):
                trace.step("written", plan[1], plan[0].version)
                await holds.await_holds(db)
                return plan[0]
            METRICS.session_writes.labels("conflict").inc()
            anew = self._plan(_as_loaded(token_hash, await sessions.read(token_hash, lock=True)), change)
            trace.step("locked", anew and anew[1])
            if anew is None:
                raise _Moved
            await holds.add([token_hash])
            if not await sessions.write(token_hash, *anew):
                raise _Moved
            trace.step("written", anew[1], anew[0].version)
            await holds.await_holds(db)
            return anew[0]

    async def _write_many(
        self,
        keys: Any,
        work: Callable[[AsyncSession], Awaitable[dict[str, Record | None]]],
        also: Also | None,
        values: Mapping[str, Any] = NO_VALUES,
    ) -> dict[str, Record | None]:
        """Holds for all keys, one transaction, then nothing is left of them in Redis: the next read refills."""
        for _ in range(ATTEMPTS):
            async with self.database.read() as db:
                concerned = [row[0] for row in await fetch(db, keys, **values)]
            await self.backend.resolve_doubt()
            trace.step("bulk", concerned)
            holds = WriteHolds(self.backend, concerned)
            await holds.ready()
            try:
                async with self.database.write() as db:
                    if also:
                        await also(db)
                    changed = await work(db)
                    trace.step("changed", changed)
                    await holds.add(changed)
                    if not await self.sql.within(db, fence=holds.fence).fence_holds():
                        raise _Moved
                    trace.step("fenced")
                    if changed:  # else Redis knows nothing that is over now
                        await holds.await_holds(db)
            except (_Moved, Contended):
                trace.step("starts over")
                await self.backend.refresh(since=holds.fence)
                continue
            trace.step("committed")
            await holds.publish(dict.fromkeys(changed))
            trace.step("answered")
            return changed
        raise StoreUnavailable("These sessions are being changed by too many requests at once.")

    async def _reload(self, token_hash: str) -> Loaded:
        return _as_loaded(token_hash, await self.sql.read(token_hash))

    def _next(self, base: Record, data: SessionData, stale_version: int) -> Record:
        now_ms = self.clock.unix_ms()
        expires_at = now_ms + int(self.sql.limits.session_lifetime.total_seconds() * 1000)
        version = next_version(max(base.version, stale_version), now_ms)
        expect(version > max(base.version, stale_version), "version_stays")
        return Record(version, base.login_id, base.user_id, base.login_idle_at, base.login_ends_at, expires_at, data)


async def _lock_logins(db: AsyncSession, logins: LoginsWhere, values: Mapping[str, Any]) -> None:
    """Keep them as they are, and then their sessions. SQLite has one writer as it is."""
    if db.get_bind().dialect.name == "postgresql":
        await fetch(db, logins.lock, **values)
        await fetch(db, logins.lock_sessions, **values)


def _as_loaded(token_hash: str, cold: ColdRead | None) -> Loaded:
    if cold is None:
        return Loaded(Outcome.GONE, token_hash)
    outcome = Outcome.FOUND if cold.record else Outcome.ABSENT
    return Loaded(outcome, token_hash, cold.record, cold.context, cold.blank, cold.stale_version)
