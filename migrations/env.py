"""Alembic's way in: hands over to `app.core.migrate`, which knows how each database is migrated inside one transaction."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.core.config import load_settings
from app.core.migrate import connected
from app.models import Base


def run(connection: Connection) -> None:
    # The connection already is in a transaction, so Alembic begins and commits none of its own.
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        on_version_apply=context.config.attributes.get("on_version_apply"),
    )
    context.run_migrations()


async def main() -> None:
    async with connected(context.config.attributes.get("url") or load_settings().database_url) as connection:
        await connection.run_sync(run)


if context.is_offline_mode():
    raise SystemExit("--sql is not supported: what a migration does depends on the database it meets")
asyncio.run(main())
