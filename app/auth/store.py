"""Queries on people and their logins."""

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, case, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.email_address import MAX_EMAIL, spellings_of
from app.auth.own_words import own_words
from app.core.database import Database
from app.core.lookups import Lookup
from app.core.statements import execute_dml, fetch
from app.models import NOW, USER_ID, Login, Organisation, User

_LIVE = and_(Login.ended_at.is_(None), Login.expires_at > NOW, Login.idle_expires_at > NOW)
# The newest first.
_LIVE_LOGINS = select(Login).where(Login.user_id == USER_ID, _LIVE).order_by(Login.created_at.desc(), Login.id.desc())
_LIVE_LOGINS_BEYOND = Lookup(_LIVE_LOGINS.with_only_columns(Login.id).offset(bindparam("most")))
_LOGIN_FROM = select(Login.id).where(Login.user_id == USER_ID, Login.address == bindparam("address")).limit(1)
_INSERT_LOGIN = insert(Login).returning(Login.id)
_LOCK_UNCHANGED = (
    select(User.id)
    .where(User.id == USER_ID, User.auth_version == bindparam("as_read"), User.disabled_at.is_(None))
    .with_for_update(read=True)
)
_LOGIN_BEFORE = select(Login).where(Login.user_id == USER_ID, Login.id < bindparam("login_id")).order_by(Login.id.desc()).limit(1)


class Account(NamedTuple):
    """What checking a password needs, read before the transaction that acts on it: hence `auth_version`."""

    id: int
    organisation_id: int
    email: str
    password_hash: str
    auth_version: int
    is_disabled: bool


async def words_of(db: AsyncSession, user_id: int) -> frozenset[str]:
    """The words this person must not use as a password."""
    known = select(User.email, User.name, Organisation.name).join(Organisation, Organisation.id == User.organisation_id)
    row = (await db.execute(known.where(User.id == user_id))).one_or_none()
    return own_words(email=row[0], name=row[1], organisation=row[2]) if row else frozenset()


async def find_account(db: AsyncSession, which: ColumnElement[bool]) -> Account | None:
    """The account matched by a condition over `User`, disabled or not."""
    row = (await db.execute(_accounts().where(which))).first()
    return Account(*row) if row else None


def _accounts() -> Select[int, int, str, str, int, bool]:
    return select(User.id, User.organisation_id, User.email, User.password_hash, User.auth_version, User.disabled_at.is_not(None))


async def find_account_by_email(db: AsyncSession, email: str) -> Account | None:
    """By any of its spellings. None also for text that is no address or that PostgreSQL cannot store."""
    if not email.strip() or len(email) > MAX_EMAIL or not email.strip().isprintable():
        return None
    spellings = spellings_of(email)
    rows = await fetch(db, _by_email(len(spellings)), **{f"spelling_{place}": each for place, each in enumerate(spellings)})
    return Account(*rows[0]) if rows else None


@cache
def _by_email(spellings: int) -> Select[int, int, str, str, int, bool]:
    """The first of so many spellings that there is."""
    each: list[BindParameter[str]] = [bindparam(f"spelling_{place}", type_=User.__table__.c.email.type) for place in range(spellings)]
    first = case(*((User.email == spelling, place) for place, spelling in enumerate(each)))
    return _accounts().where(User.email.in_(each)).order_by(first).limit(1)


async def is_still_valid(db: AsyncSession, account: Account) -> bool:
    """Whether the account's logins are still valid since it was read. Locks the row until the transaction ends."""
    return bool(await fetch(db, _LOCK_UNCHANGED, user_id=account.id, as_read=account.auth_version))


async def update_account(db: AsyncSession, account: Account, **values: object) -> bool:
    """Update the account and its `auth_version`. False if it was changed concurrently."""
    as_read = update(User).where(User.id == account.id, User.auth_version == account.auth_version)
    return bool(await execute_dml(db, as_read.values(auth_version=account.auth_version + 1, **values)))


async def has_signed_in_from(db: AsyncSession, user_id: int, address: str) -> bool:
    return bool(await fetch(db, _LOGIN_FROM, user_id=user_id, address=address))


async def insert_login(db: AsyncSession, **values: Any) -> Login:
    """The new row; its object belongs to no session."""
    return Login(id=(await fetch(db, _INSERT_LOGIN, **values))[0].id, **values)


async def list_live_logins(db: AsyncSession, user_id: int, *, now: datetime) -> list[Login]:
    return list(await db.scalars(_LIVE_LOGINS, {"user_id": user_id, "now": now}))


async def find_login_before(db: AsyncSession, user_id: int, login_id: int) -> Login | None:
    """The previous sign-in, live or ended, so that a person can check whether it was theirs."""
    return await db.scalar(_LOGIN_BEFORE, {"user_id": user_id, "login_id": login_id})


async def list_ids_beyond(database: Database, most: int, user_id: int, *, now: datetime) -> list[int]:
    """The oldest live logins of a person who has more than `most`."""
    return [row.id for row in await database.look_up_all(_LIVE_LOGINS_BEYOND, user_id=user_id, now=now, most=most)]


async def find_live_login(db: AsyncSession, login_id: int) -> Login | None:
    return await db.scalar(select(Login).where(Login.id == login_id, Login.ended_at.is_(None)))


async def find_organisation(db: AsyncSession, name: str) -> Organisation | None:
    return await db.scalar(select(Organisation).where(Organisation.name == name))
