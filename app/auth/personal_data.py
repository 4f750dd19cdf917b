"""Export and erasure of all data about one person.

Both follow the foreign keys to `users`, so a new table that refers to people is covered from the start.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import structlog
from sqlalchemy import Row, Select, Table, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.email_address import spellings_of
from app.auth.links import links_through
from app.auth.service import change_and_end_all, get_account
from app.core.statements import execute_dml
from app.events.service import record_event
from app.models import Base, OneTimeLink, Organisation, User
from app.resources import Resources

log = structlog.get_logger()

# Credentials, columns without meaning outside the application, and what a deal said where its person began to type.
SECRET = frozenset({"password_hash", "token_hash", "auth_version", "last_deal_version", "drawn", "writer"})
ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class UserReference:
    """A column that refers to people. `is_theirs`: the row is deleted with the person; otherwise it only names them."""

    table: Table
    column: str
    is_theirs: bool

    @property
    def name(self) -> str:
        return self.table.name if self.is_theirs else f"{self.table.name}.{self.column}"


def references_to_people() -> list[UserReference]:
    """Of every table, by name."""
    tables = sorted(Base.metadata.tables.values(), key=lambda each: each.name)
    keys = [(table, column, key) for table in tables for column in table.columns for key in column.foreign_keys]
    return [UserReference(table, column.name, key.ondelete == "CASCADE") for table, column, key in keys if key.column.table.name == "users"]


async def export_person(resources: Resources, user_id: int) -> AsyncIterator[str]:
    """Everything about a person as one JSON object, streamed with a few hundred rows in memory."""
    async with resources.database.read() as db:
        user = (await db.execute(select(User.__table__).where(User.id == user_id))).one()
        organisation = await db.scalar(select(Organisation.name).where(Organisation.id == user.organisation_id))
    head = {"exported_at": resources.clock.now(), "organisation": organisation, "user": _plain(user)}
    yield _json(head)[:-1]
    for each in references_to_people():
        keys = list(each.table.primary_key.columns)
        shown = list(each.table.columns) if each.is_theirs else [*keys, each.table.c[each.column]]
        async for piece in _rows(resources, each.name, select(*shown).where(each.table.c[each.column] == user_id), keys):
            yield piece
    events = Base.metadata.tables["events"]
    audited = select(events).where(or_(events.c.actor_id == user_id, events.c.user_id == user_id))
    async for piece in _rows(resources, "events", audited, [events.c.id]):
        yield piece
    yield "}\n"


async def erase_person(resources: Resources, email: str) -> int:
    """Delete a person. Only their id remains, in the audit trail; returns it.

    Their grants, logins and preferences go; what they made stays, made by nobody; their deals have no owner, and the
    administrators of the organisation go on managing them. Raises LookupError.
    """
    account = await get_account(resources, email)
    # First, and in the way that Redis hears of: no session outlives its person, and no sign-in under way makes another.
    await change_and_end_all(resources, account, event=None, reason="erased", disabled_at=resources.clock.now())
    now = resources.clock.now()
    async with resources.database.write() as db:
        theirs = or_(OneTimeLink.email.in_(spellings_of(account.email)), links_through(account.id))
        await execute_dml(db, delete(OneTimeLink).where(theirs))
        as_left = (User.id == account.id, User.auth_version == account.auth_version + 1)  # whoever enables them moves it
        if not await execute_dml(db, delete(User).where(*as_left)):
            raise LookupError(f"{email} was changed at this very moment. Erase them once more.")
        await record_event(db, "user.erased", at=now, organisation_id=account.organisation_id, user_id=account.id)
    log.info("A person was erased.", user_id=account.id)
    return account.id


async def count_administrators(db: AsyncSession, organisation_id: int) -> int:
    administrators = (User.organisation_id == organisation_id, User.role == "admin", User.disabled_at.is_(None))
    return await db.scalar(select(func.count()).select_from(User).where(*administrators)) or 0


async def _rows(resources: Resources, name: str, mine: Select[Any], keys: list[Any]) -> AsyncIterator[str]:
    """`,"name":[…]` in pieces, by the primary key."""
    yield f",{json.dumps(name)}:["
    last: Row[Any] | None = None
    while True:
        wanted = mine.order_by(*keys).limit(ROWS_AT_ONCE)
        if last is not None:
            wanted = wanted.where(_after(keys, last))
        async with resources.database.read() as db:
            rows = (await db.execute(wanted)).all()
        for row in rows:
            yield ("" if last is None else ",") + "\n" + _json(_plain(row))
            last = row
        if len(rows) < ROWS_AT_ONCE:
            break
    yield "]"


def _after(keys: list[Any], last: Row[Any]) -> Any:
    """The rows after `last` in the order of the primary key."""
    conditions = []
    for index, key in enumerate(keys):
        same = [earlier == last._mapping[earlier.name] for earlier in keys[:index]]
        beyond = key > last._mapping[key.name]
        for condition in same:
            beyond = beyond & condition
        conditions.append(beyond)
    return or_(*conditions)


def _plain(row: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name not in SECRET and not isinstance(value, bytes)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_as_text)


def _as_text(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be exported")
