"""The clean-up of sessions and logins: what is over goes, in batches; what is alive stays."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from app.core.database import Database
from app.models import Login, Organisation, Session, User
from app.sessions.expiry import LOGINS_REMEMBERED, Expired, expire_sessions
from tests.fakes import FakeClock

DAY = timedelta(days=1)


async def add_logins(
    database: Database, now: datetime, *, count: int = 1, ends: timedelta = DAY, session_ends: timedelta = DAY
) -> list[int]:
    """Logins with a session each, which end that much later than `now`."""
    async with database.write() as db:
        organisation = Organisation(name=f"{ends} {session_ends} {count}", created_at=now)
        db.add(organisation)
        await db.flush()
        user = User(organisation_id=organisation.id, email=f"{organisation.id}@x.example", name="X", password_hash="", created_at=now)
        db.add(user)
        await db.flush()
        logins = [
            Login(
                user_id=user.id,
                token_hash=f"{user.id}-{number}",
                created_at=now,
                seen_at=now,
                idle_expires_at=now + ends,
                expires_at=now + ends,
            )
            for number in range(count)
        ]
        db.add_all(logins)
        await db.flush()
        db.add_all(
            Session(login_id=login.id, user_id=user.id, version=1, data={}, created_at=now, touched_at=now, expires_at=now + session_ends)
            for login in logins
        )
        return [login.id for login in logins]


async def count(database: Database) -> tuple[int, int]:
    async with database.read() as db:
        sessions = await db.scalar(select(func.count()).select_from(Session))
        logins = await db.scalar(select(func.count()).select_from(Login))
    return sessions or 0, logins or 0


async def test_expired_session_goes_and_its_login_stays(database: Database, clock: FakeClock) -> None:
    await add_logins(database, clock.now())
    await add_logins(database, clock.now(), session_ends=timedelta(0))
    assert await expire_sessions(database, clock) == Expired(sessions=1)
    assert await count(database) == (1, 2)


async def test_login_that_ended_long_ago_goes_with_its_session(database: Database, clock: FakeClock) -> None:
    await add_logins(database, clock.now(), ends=-LOGINS_REMEMBERED)
    await add_logins(database, clock.now(), ends=-LOGINS_REMEMBERED + DAY)
    assert (await expire_sessions(database, clock)).logins == 1
    assert await count(database) == (1, 1)


async def test_more_than_a_batch_goes_in_several(database: Database, clock: FakeClock) -> None:
    await add_logins(database, clock.now(), count=25, session_ends=-DAY)
    await add_logins(database, clock.now(), count=3)
    assert await expire_sessions(database, clock, most=10) == Expired(sessions=25)
    assert await count(database) == (3, 28)


async def test_nothing_to_do_is_no_trouble_and_may_be_repeated(database: Database, clock: FakeClock) -> None:
    assert await expire_sessions(database, clock) == Expired()
    await add_logins(database, clock.now(), session_ends=-DAY)
    assert await expire_sessions(database, clock) == Expired(sessions=1)
    assert await expire_sessions(database, clock) == Expired()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_session_that_a_request_is_prolonging_is_left_alone(database: Database, clock: FakeClock) -> None:
    """On SQLite there is nothing to prove: the sweep waits for the one writer, and its condition stands in the DELETE."""
    [prolonged, _] = await add_logins(database, clock.now(), count=2, session_ends=timedelta(0))
    async with database.write() as db:
        later = update(Session).where(Session.login_id == prolonged).values(expires_at=clock.now() + DAY)
        await db.execute(later)
        assert await expire_sessions(database, clock) == Expired(sessions=1)
    assert await count(database) == (1, 2)
    assert await expire_sessions(database, clock) == Expired()
