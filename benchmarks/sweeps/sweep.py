"""One sweep in a process of its own, as the worker does it, each of its transactions timed; prints what it did as JSON."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import click
from sqlalchemy import event, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.clock import Clock
from app.core.database import Database
from app.current_deal.sweep import sweep_stale_deals
from app.models import Session
from app.sessions.expiry import expire_sessions

SWEEPS = {"expire_sessions": expire_sessions, "sweep_stale_deals": sweep_stale_deals}


class TimedDatabase(Database):
    """Knows how long each writing transaction lasted: from the moment it had its turn until its commit was on the disk."""

    def __init__(self, url: str) -> None:
        super().__init__(url, name="holdfast-worker")
        self.times: list[float] = []
        self._began = 0.0
        # After the listener that says BEGIN IMMEDIATE, and so after the wait for it.
        for engine in self.engines:
            event.listen(engine.sync_engine, "begin", self._begin)

    def _begin(self, _connection: Any) -> None:
        self._began = time.perf_counter()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with super().write() as db:
            yield db
        self.times.append(time.perf_counter() - self._began)


async def sweep(name: str, url: str) -> dict[str, Any]:
    database = TimedDatabase(url)
    try:
        alone = await one_row_each(database)
        began = time.perf_counter()
        done: Any = await SWEEPS[name](database, Clock())
        seconds = time.perf_counter() - began
    finally:
        await database.close()
    return {"seconds": seconds, "alone": alone, "batches": database.times, "did": asdict(done)}


async def one_row_each(database: TimedDatabase) -> list[float]:
    """What a transaction of a single row lasts on this machine at this hour: nothing can be quicker."""
    for number in range(1, 301):
        async with database.write() as db:
            await db.execute(update(Session).where(Session.id == number).values(touched_at=Clock().now()))
    times, database.times = database.times, []
    return times


@click.command()
@click.argument("name", type=click.Choice(list(SWEEPS)))
@click.argument("url")
def main(name: str, url: str) -> None:
    click.echo(json.dumps(asyncio.run(sweep(name, url))))


if __name__ == "__main__":
    main()
