"""Sessions in SQL: the truth. Reads answer login, session and whatever the app wants to know beside them in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, bindparam, exists, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock, from_unix_ms, to_unix_ms
from app.core.database import Database
from app.core.lookups import Lookup
from app.core.statements import as_columns, execute_dml, insert_into
from app.models.sessions import Login, Session, SessionBackend
from app.sessions.record import Record, SessionData, SessionLimits

NO_VERSION = 0


@dataclass(frozen=True)
class Fence:
    """The flag as a writer knew it; its write counts only while the flag still is this."""

    mode: Literal["redis", "sql"]
    epoch: int


@dataclass(frozen=True)
class ColdContext:
    """What the app wants answered by the same statement as a cold read: columns, and the outer joins (to `Login`) they need."""

    columns: Sequence[ColumnElement[Any]] = ()
    joins: Sequence[tuple[Any, ColumnElement[bool]]] = ()


@dataclass(frozen=True)
class ColdRead:
    """A live login, and its session unless that is absent or expired. `stale_version` is then what an expired row had."""

    login_id: int
    user_id: int
    record: Record | None
    stale_version: int
    touched_at: datetime | None
    # The row, with the columns of the app's own.
    context: Any
    blank: Record = field(repr=False)


class SqlSessions:
    """Sessions in one database.

    `indexed_keys` of the data have a column of the same name in `sessions`, so that the app finds all sessions with a value of one.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        limits: SessionLimits,
        context: ColdContext | None = None,
        indexed_keys: Sequence[str] = (),
    ) -> None:
        self.database = database
        self.clock = clock
        self.limits = limits
        self.cold_read = _cold_read(context or ColdContext())
        self.indexed_keys = tuple(indexed_keys)

    def within(self, db: AsyncSession, *, fence: Fence | None = None) -> "TransactionSessions":
        return TransactionSessions(self, db, fence)

    async def read(self, token_hash: str) -> ColdRead | None:
        """None: SQL says there is no such login, or it is over. Raises `DatabaseUnavailable`."""
        now = self.clock.now()
        row = await self.database.look_up(self.cold_read, token_hash=token_hash, now=now)
        return self.read_row(row, now)

    def read_row(self, row: Any | None, now: datetime) -> ColdRead | None:
        """What a row of `cold_read` says at `now`."""
        if row is None:
            return None
        login = {
            "login_id": row.login_id,
            "user_id": row.user_id,
            "login_idle_at": to_unix_ms(row.idle_expires_at),
            "login_ends_at": to_unix_ms(row.login_expires_at),
        }
        blank = Record(version=NO_VERSION, expires_at=to_unix_ms(now + self.limits.session_lifetime), data={}, **login)
        record = None
        if row.version is not None and row.session_expires_at > now:
            record = Record(version=row.version, expires_at=to_unix_ms(row.session_expires_at), data=row.data, **login)
        return ColdRead(
            login_id=row.login_id,
            user_id=row.user_id,
            record=record,
            stale_version=(row.version or NO_VERSION) if record is None else NO_VERSION,
            touched_at=row.touched_at,
            context=row,
            blank=blank,
        )

    async def insert(self, db: AsyncSession, record: Record, *, now: datetime) -> None:
        """The session of a login that is being made in this very transaction: nobody can know its token, so nothing guards it."""
        values = {"login_id": record.login_id, "user_id": record.user_id, "created_at": now} | self.row_of(record, now)
        await db.execute(insert(Session).values(**values))

    def row_of(self, record: Record, now: datetime) -> dict[str, Any]:
        """The columns that change with every version."""
        return {
            "version": record.version,
            "data": record.data,
            "touched_at": now,
            "expires_at": from_unix_ms(record.expires_at),
        } | self.indexed(record.data)

    def indexed(self, data: SessionData) -> dict[str, Any]:
        return {key: data.get(key) for key in self.indexed_keys}

    async def touch(self, login_id: int) -> None:
        """Note activity: the session and the idle clock of its login live on from now. Never revives what has ended."""
        now = self.clock.now()
        async with self.database.write() as db:
            alive = Login.ended_at.is_(None) & (Login.idle_expires_at > now) & (Login.expires_at > now)
            touched = update(Login).where(Login.id == login_id, alive).values(seen_at=now, idle_expires_at=now + self.limits.login_idle)
            if await execute_dml(db, touched):
                living = update(Session).where(Session.login_id == login_id, Session.expires_at > now)
                await execute_dml(db, living.values(touched_at=now, expires_at=now + self.limits.session_lifetime))


@dataclass(frozen=True)
class TransactionSessions:
    """Inside one transaction. The proof of a write is the version it was made from, `NO_VERSION` for none."""

    sql: SqlSessions
    db: AsyncSession
    fence: Fence | None = None

    async def read(self, token_hash: str, *, lock: bool = False) -> ColdRead | None:
        """`lock`: the session row stays as it is until the transaction ends."""
        now = self.sql.clock.now()
        if lock:
            mine = select(Login.id).where(Login.token_hash == token_hash).scalar_subquery()
            await self.db.execute(select(Session.id).where(Session.login_id == mine).with_for_update(key_share=True))
        row = (await self.db.execute(self.sql.cold_read.statement, {"token_hash": token_hash, "now": now})).first()
        return self.sql.read_row(row, now)

    async def write(self, token_hash: str, record: Record, proof: int) -> bool:
        """False: the row moved, the login ended, or the flag did (fence); the caller looks again."""
        return await (self._insert(token_hash, record) if proof == NO_VERSION else self._compare_and_set(record, proof))

    def fence_holds(self) -> ColumnElement[bool]:
        """Evaluated inside the transaction. On PostgreSQL the function first takes the lock that a rise of the flag takes alone."""
        if self.fence is None:
            return literal(True)
        if self.sql.database.dialect == "postgresql":
            return func.session_fence(self.fence.mode, self.fence.epoch)
        return exists().where(SessionBackend.mode == self.fence.mode, SessionBackend.epoch == self.fence.epoch)

    async def _compare_and_set(self, record: Record, base: int) -> bool:
        now = self.sql.clock.now()
        unchanged = (Session.login_id == record.login_id, Session.version == base, Session.expires_at > now, self.fence_holds())
        return bool(await execute_dml(self.db, update(Session).where(*unchanged).values(**self.sql.row_of(record, now))))

    async def _insert(self, token_hash: str, record: Record) -> bool:
        """A row for a login without one, or over an expired one, while the login is live and locked."""
        now = self.sql.clock.now()
        values = {"user_id": record.user_id, "created_at": now} | self.sql.row_of(record, now)
        live_login = (
            select(Login.id, *as_columns(Session, values))
            .where(
                Login.id == record.login_id,
                Login.token_hash == token_hash,
                Login.ended_at.is_(None),
                Login.expires_at > now,
                self.fence_holds(),
            )
            .with_for_update(read=True)
        )
        statement = insert_into(self.db, Session).from_select(["login_id", *values], live_login)
        new = statement.excluded
        over_expired = statement.on_conflict_do_update(
            index_elements=["login_id"],
            set_={name: new[name] for name in values if name != "user_id"},
            where=(Session.expires_at <= now) & (Session.version < new.version),
        )
        return bool(await execute_dml(self.db, over_expired))


def _cold_read(context: ColdContext) -> Lookup:
    """Of `token_hash` at `now`, its two parameters."""
    now: Any = bindparam("now")
    statement = (
        select(
            Login.id.label("login_id"),
            Login.user_id,
            Login.idle_expires_at,
            Login.expires_at.label("login_expires_at"),
            Session.version,
            Session.data,
            Session.touched_at,
            Session.expires_at.label("session_expires_at"),
            *context.columns,
        )
        .select_from(Login)
        .outerjoin(Session, Session.login_id == Login.id)
        .where(Login.token_hash == bindparam("token_hash"), Login.ended_at.is_(None), Login.expires_at > now, Login.idle_expires_at > now)
    )
    for table, condition in context.joins:
        statement = statement.outerjoin(table, condition)
    return Lookup(statement)
