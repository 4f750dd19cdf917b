"""What every connection to the database is, however the server is set up, and what its errors tell."""

import pytest
from sqlalchemy import insert, make_url, text
from sqlalchemy.exc import IntegrityError

from app.core.clock import Clock
from app.core.database import Database
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
