"""Rows to begin a test with. Each is written in a transaction of its own; names and addresses are made up and never repeat."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from argon2 import PasswordHasher
from sqlalchemy import inspect
from sqlalchemy.orm.attributes import set_committed_value

from app.core.database import Database
from app.models import Base, ChecklistItem, Deal, Finding, Login, Member, Organisation, User
from app.sessions.token import hash_token, new_token

PASSWORD = "correct-horse-battery"
# As cheap as argon2 goes: tests hash and verify thousands of times.
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)

_numbers = count(1)
_Row = TypeVar("_Row", bound=Base)


async def make_organisation(database: Database, *, name: str | None = None) -> Organisation:
    return await _insert(database, Organisation(name=name or f"Organisation {next(_numbers)}", created_at=_now()))


async def make_user(database: Database, organisation: Organisation | None = None, *, email: str | None = None, **values: Any) -> User:
    """A member of `organisation`, else of a new one, whose password is PASSWORD."""
    organisation = organisation or await make_organisation(database)
    number = next(_numbers)
    given = {"email": email or f"user{number}@test.example", "name": f"User {number}", "password_hash": PASSWORD_HASH} | values
    return await _insert(database, User(organisation_id=organisation.id, created_at=_now(), **given))


async def make_deal(database: Database, organisation: Organisation, *, owner: User | None = None, **values: Any) -> Deal:
    given = {"name": f"Deal {next(_numbers)}", "owner_id": owner.id if owner else None, "created_at": _now(), "updated_at": _now()} | values
    return await _insert(database, Deal(organisation_id=organisation.id, **given))


async def make_member(database: Database, deal: Deal, user: User, *, role: str = "viewer", expires_at: datetime | None = None) -> Member:
    return await _insert(database, Member(deal_id=deal.id, user_id=user.id, role=role, created_at=_now(), expires_at=expires_at))


async def make_work(database: Database, deal: Deal) -> tuple[Finding, ChecklistItem]:
    """One finding and one item of the checklist."""
    times = {"created_at": _now(), "updated_at": _now()}
    finding = Finding(deal_id=deal.id, number=1, title=f"Finding {next(_numbers)}", **times)
    item = ChecklistItem(deal_id=deal.id, section="Tax", title=f"Item {next(_numbers)}", position=1, **times)
    return await _insert(database, finding), await _insert(database, item)


async def make_login(database: Database, user: User, *, token: str | None = None, **values: Any) -> Login:
    """A live login without its session. Give `token` where a test presents it."""
    now = values.pop("at", _now())
    given = {"token_hash": hash_token(token or new_token()), "created_at": now, "seen_at": now}
    deadlines = {"idle_expires_at": now + timedelta(days=1), "expires_at": now + timedelta(days=30)}
    return await _insert(database, Login(user_id=user.id, **(given | deadlines | values)))


async def _insert(database: Database, row: _Row) -> _Row:
    async with database.write() as db:
        db.add(row)
        await db.flush()
        # Complete, since it is read after its transaction is over: INSERT … RETURNING brought what the database filled in.
        for name in inspect(row).unloaded.intersection(inspect(type(row)).column_attrs.keys()):
            set_committed_value(row, name, None)
    return row


def _now() -> datetime:
    return datetime.now(UTC)
