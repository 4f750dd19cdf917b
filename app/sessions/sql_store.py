"""Sessions in SQL: the truth. Reads answer login, session and whatever the app wants to know beside them in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Insert, String, and_, bindparam, exists, func, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock, from_unix_ms, to_unix_ms
from app.core.database import Database
from app.core.lookups import Lookup
from app.core.statements import Running, fetch, insert_of, new, run
from app.models.parameters import NOW
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
        self.fenced, self.unfenced = (_Writes(database.dialect, self.indexed_keys, is_fenced=fenced) for fenced in (True, False))

        # Of `row_id`, in a change of many.
        changed = new(Session, "version", "data", *indexed_keys)
        self.rewrite = update(Session).where(Session.id == bindparam("row_id", type_=Session.__table__.c.id.type)).values(changed)

    def within(self, db: Running, *, fence: Fence | None = None) -> "TransactionSessions":
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
        await run(db, _INSERT, **values)

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
        async with self.database.transaction() as db:
            of_login = {"of_login": login_id, "now": now}
            if await run(db, _TOUCH_LOGIN, **of_login, new_idle_expires_at=now + self.limits.login_idle):
                await run(db, _TOUCH_SESSION, **of_login, new_expires_at=now + self.limits.session_lifetime)


@dataclass(frozen=True)
class TransactionSessions:
    """Inside one transaction. The proof of a write is the version it was made from, `NO_VERSION` for none."""

    sql: SqlSessions
    db: Running
    fence: Fence | None = None

    async def read(self, token_hash: str, *, lock: bool = False) -> ColdRead | None:
        """`lock`: the session row stays as it is until the transaction ends."""
        now = self.sql.clock.now()
        if lock:
            await fetch(self.db, _LOCK_SESSION, token_hash=token_hash)
        row = next(iter(await fetch(self.db, self.sql.cold_read.statement, token_hash=token_hash, now=now)), None)
        return self.sql.read_row(row, now)

    async def write(self, token_hash: str, record: Record, proof: int) -> bool:
        """False: the row moved, the login ended, or the flag did (fence); the caller looks again."""
        now = self.sql.clock.now()
        values = {f"new_{name}": value for name, value in self.sql.row_of(record, now).items() if name != "touched_at"}
        values |= {"of_login": record.login_id, "now": now} | self._fence_values
        if proof == NO_VERSION:
            return bool(await run(self.db, self._writes.insert, **values, token_hash=token_hash, new_user_id=record.user_id))
        return bool(await run(self.db, self._writes.compare_and_set, **values, proof=proof))

    async def fence_holds(self) -> bool:
        """On PostgreSQL this first takes the lock that a rise of the flag takes alone."""
        return bool((await fetch(self.db, self._writes.fence, **self._fence_values))[0][0])

    @property
    def _writes(self) -> "_Writes":
        return self.sql.fenced if self.fence else self.sql.unfenced

    @property
    def _fence_values(self) -> dict[str, Any]:
        return {"fence_mode": self.fence.mode, "fence_epoch": self.fence.epoch} if self.fence else {}


class _Writes:
    """How one session is written: with the fence, or where no flag is known, as in tests, without."""

    def __init__(self, dialect: str, indexed_keys: Sequence[str], *, is_fenced: bool) -> None:
        columns = new(Session, "version", "data", "expires_at", *indexed_keys) | {"touched_at": NOW}
        holds = _fence(dialect) if is_fenced else true()
        self.fence = select(holds)
        mine = (Session.login_id == _LOGIN_ID, Session.version == bindparam("proof"), Session.expires_at > NOW)
        self.compare_and_set = update(Session).where(*mine, holds).values(columns)
        self.insert = _insert_for_live_login(dialect, columns, holds)


def _fence(dialect: str) -> ColumnElement[bool]:
    """Evaluated inside the transaction."""
    mode, epoch = bindparam("fence_mode", type_=String()), bindparam("fence_epoch", type_=BigInteger())
    if dialect == "postgresql":
        return func.session_fence(mode, epoch)
    return exists().where(SessionBackend.mode == mode, SessionBackend.epoch == epoch)


def _insert_for_live_login(dialect: str, columns: dict[str, Any], holds: ColumnElement[bool]) -> Insert:
    """A row for a login without one, or over an expired one, while the login is live and locked."""
    columns = {"login_id": Login.id} | new(Session, "user_id") | columns | {"created_at": NOW}
    live_login = (
        select(*(column.label(name) for name, column in columns.items()))
        .where(
            Login.id == _LOGIN_ID,
            Login.token_hash == bindparam("token_hash"),
            Login.ended_at.is_(None),
            Login.expires_at > NOW,
            holds,
        )
        .with_for_update(read=True)
    )
    statement = insert_of(dialect, Session).from_select(list(columns), live_login)
    excluded = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["login_id"],
        set_={name: excluded[name] for name in columns if name not in ("login_id", "user_id")},
        where=(Session.expires_at <= NOW) & (Session.version < excluded.version),
    )


_LOGIN_ID: BindParameter[int] = bindparam("of_login", type_=Login.__table__.c.id.type)
_INSERT = insert(Session).inline()
_LOCK_SESSION = (
    select(Session.id)
    .where(Session.login_id == select(Login.id).where(Login.token_hash == bindparam("token_hash")).scalar_subquery())
    .with_for_update(key_share=True)
)
_LIVE_LOGIN = and_(Login.ended_at.is_(None), Login.expires_at > NOW, Login.idle_expires_at > NOW)
_TOUCH_LOGIN = update(Login).where(Login.id == _LOGIN_ID, _LIVE_LOGIN).values(new(Login, "idle_expires_at") | {"seen_at": NOW})
_TOUCH_SESSION = (
    update(Session).where(Session.login_id == _LOGIN_ID, Session.expires_at > NOW).values(new(Session, "expires_at") | {"touched_at": NOW})
)


def _cold_read(context: ColdContext) -> Lookup:
    """Of `token_hash` at `now`, its two parameters."""
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
        .where(Login.token_hash == bindparam("token_hash"), _LIVE_LOGIN)
    )
    for table, condition in context.joins:
        statement = statement.outerjoin(table, condition)
    return Lookup(statement)
