"""What every connection to the database is, however the server is set up, and what its errors tell."""

import pytest
from sqlalchemy import bindparam, insert, make_url, select, text, update
from sqlalchemy.exc import IntegrityError

from app.core.clock import Clock
from app.core.database import CONNECTIONS, Database
from app.core.errors import DatabaseUnavailable
from app.core.statements import fetch, run
from app.core.time_budget import set_time_budget
from app.models import Organisation
from tests.servers.postgresql import PostgresServer


async def test_errors_do_not_tell_values(database: Database) -> None:
    statement = insert(Organisation).values({"id": 7, "name": "hunter2", "created_at": Clock().now()})
    async with database.write() as db:
        await db.execute(statement)
        with pytest.raises(IntegrityError, match="organisations") as raised:
            await db.execute(statement)
        await db.rollback()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_isolation_is_ours_whatever_the_server_prefers(postgres: PostgresServer, database_url: str) -> None:
    """The fence needs each statement to see what is committed by then."""
    postgres.execute(f"ALTER DATABASE {make_url(database_url).database} SET default_transaction_isolation = 'repeatable read'")
    database = Database(database_url, name="holdfast-test")
    try:
        async with database.write() as db:
            assert await db.scalar(text("SHOW transaction_isolation")) == "read committed"
    finally:
        await database.close()


ADD = insert(Organisation).inline()
RENAME = update(Organisation).where(Organisation.id == bindparam("at")).values(name=bindparam("new_name"))
NAMES = select(Organisation.name).order_by(Organisation.id)


async def test_a_transaction_on_the_driver_is_a_transaction(database: Database, database_url: str) -> None:
    """Kept as a whole or not at all, with the errors of SQLAlchemy, and its connection always comes back."""
    one = {"id": 7, "name": "hunter2", "created_at": Clock().now()}

    async def names() -> list[str]:
        async with database.read() as db:
            return [row.name for row in await fetch(db, NAMES)]

    async with database.transaction() as db:
        assert await run(db, ADD, **one) == 1
        assert [row.name for row in await fetch(db, NAMES)] == ["hunter2"]

    async def rename_and_fail() -> None:
        async with database.transaction() as db:
            assert await run(db, RENAME, at=7, new_name="lost") == 1
            await run(db, ADD, **one)

    with pytest.raises(IntegrityError, match="organisations") as raised:
        await rename_and_fail()
    assert "hunter2" not in str(raised.value)
    assert await names() == ["hunter2"]
    async with database.transaction() as db:
        # The one that changes nothing is the last.
        steps = [(RENAME, {"at": at, "new_name": f"by the one at {at}"}) for at in (7, 8, 7)]
        assert await db.run_in_turn(*steps) == 1
    assert await names() == ["by the one at 7"]

    other = Database(database_url, name="holdfast-test-other")
    async with other.write() as held:
        await run(held, RENAME, at=7, new_name="held")
        for _ in range(2 if database.dialect == "sqlite" else CONNECTIONS + 1):  # more than there are connections
            set_time_budget(0.05)
            with pytest.raises(DatabaseUnavailable):
                async with database.transaction() as db:
                    await run(db, RENAME, at=7, new_name="waited in vain")
    set_time_budget(None)
    async with database.transaction() as db:
        assert await run(db, RENAME, at=7, new_name="last") == 1
    assert await names() == ["last"]
    await other.close()
