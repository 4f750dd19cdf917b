"""The sealed chain: it names the row somebody changed, removed or inserted by hand, and does not accuse a late commit."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

from app.cli import cli
from app.core.clock import Clock
from app.core.database import Database
from app.events.audit import Fault, seal, verify
from app.models import Event, EventSeal

CLOCK = Clock()


async def happen(database: Database, *organisations: int | None, **values: Any) -> list[int]:
    """Events of these organisations, each in a transaction of its own. Their ids."""
    ids = []
    for organisation in organisations:
        async with database.write() as db:
            row = {"kind": "deal.selected", "at": datetime.now(UTC), "organisation_id": organisation, "payload": {"n": [1.5, "é"]}}
            ids.append((await db.execute(insert(Event).values(row | values).returning(Event.id))).scalar_one())
    return ids


@asynccontextmanager
async def unguarded(database: Database, table: str) -> AsyncIterator[Any]:
    """A transaction in which somebody with full rights has taken the triggers away."""
    if database.dialect == "postgresql":
        drops = [f"DROP TRIGGER {table}_refuse_change ON {table}"]
    else:
        drops = [f"DROP TRIGGER {table}_refuse_{what}" for what in ("update", "delete")]
    async with database.write() as db:
        for statement in drops:
            await db.execute(text(statement))
        yield db


async def first_fault(database: Database) -> Fault:
    verdict = await verify(database, CLOCK)
    assert not verdict.is_sound
    return verdict.faults[0]


async def test_one_chain_an_organisation_and_one_for_none(database: Database) -> None:
    ids = await happen(database, 1, 2, 1, None, 2, 1)
    assert await seal(database, CLOCK) == 6
    assert await seal(database, CLOCK) == 0
    await happen(database, None)
    verdict = await verify(database, CLOCK)
    assert (verdict.events, verdict.faults) == (7, [])
    assert {chain: sequence for chain, (sequence, _) in verdict.heads.items()} == {0: 2, 1: 3, 2: 2}
    async with database.read() as db:
        chain = (await db.scalars(select(EventSeal).where(EventSeal.organisation_id == 1).order_by(EventSeal.sequence))).all()
    assert [link.event_id for link in chain] == [ids[0], ids[2], ids[5]]
    assert [link.previous_hash for link in chain] == ["0" * 64, chain[0].hash, chain[1].hash]


@pytest.mark.parametrize(
    ("table", "statement", "problem"),
    [
        ("events", "UPDATE events SET kind = 'deal.cleared' WHERE id = {id}", "changed"),
        ("events", 'UPDATE events SET payload = \'{{"n":[1.5,"e"]}}\' WHERE id = {id}', "changed"),
        ("events", "UPDATE events SET organisation_id = 2 WHERE id = {id}", "changed"),
        ("events", "DELETE FROM events WHERE id = {id}", "removed"),
        ("event_seals", "UPDATE event_seals SET hash = previous_hash WHERE event_id = {id}", "changed"),
        ("event_seals", "UPDATE event_seals SET previous_hash = hash WHERE event_id = {id}", "broken_seal"),
        ("event_seals", "DELETE FROM event_seals WHERE event_id = {id}", "inserted"),
    ],
)
async def test_the_row_somebody_touched_is_named(database: Database, table: str, statement: str, problem: str) -> None:
    ids = await happen(database, 1, 1, 2, 1, 1)
    await seal(database, CLOCK)
    async with unguarded(database, table) as db:
        await db.execute(text("DELETE FROM outbox"))
        await db.execute(text(statement.format(id=ids[1]).replace(":", "\\:")))
    fault = await first_fault(database)
    assert (fault.event_id, fault.problem, fault.organisation_id) == (ids[1], problem, 1)
    assert f"event {ids[1]} of organisation 1" in str(fault)


async def test_an_event_slipped_in_is_named_and_not_sealed(database: Database) -> None:
    ids = await happen(database, 1)
    hole = ids[0] + 1
    await happen(database, 1, id=hole + 1)
    await seal(database, CLOCK)
    await happen(database, 1, id=hole)
    await happen(database, 1, id=hole + 2)
    fault = await first_fault(database)
    assert (fault.event_id, fault.problem) == (hole, "inserted")


async def test_seals_cannot_be_rewritten(database: Database) -> None:
    await happen(database, 1, 1)
    await seal(database, CLOCK)
    for statement in ("UPDATE event_seals SET hash = ''", "DELETE FROM event_seals"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.write() as db:
                await db.execute(text(statement))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_late_commit_is_waited_for(database: Database) -> None:
    """Its id is lower than one that is committed already. The seal waits; the writer waits for nobody."""
    async with database.write() as late:
        await late.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1min'"))
        [early] = (await late.execute(insert(Event).values(kind="a", at=datetime.now(UTC), payload={}).returning(Event.id))).scalars()
        ids = await happen(database, 1)
        assert ids[0] > early
        assert await seal(database, CLOCK) == 0
    assert await seal(database, CLOCK) == 2
    assert (await verify(database, CLOCK)).is_sound


async def test_four_sealers_at_once_make_one_chain(database: Database) -> None:
    await happen(database, *[1, None] * 10)
    while sum(await asyncio.gather(*[seal(database, CLOCK) for _ in range(4)])):
        pass
    verdict = await verify(database, CLOCK)
    assert (verdict.events, verdict.faults) == (20, [])
    async with database.read() as db:
        assert await db.scalar(select(func.count()).select_from(EventSeal)) == 20


async def test_the_command_says_sound_or_names_the_first_bad_row(database: Database, environ: dict[str, str]) -> None:
    ids = await happen(database, 1, 1, 2)
    status, said = await run_verify(environ)
    assert (status, said) == (0, "Sound: 3 events in 2 chains.\n")
    async with unguarded(database, "events") as db:
        await db.execute(text(f"UPDATE events SET user_id = 7 WHERE id >= {ids[1]}"))
    status, said = await run_verify(environ)
    assert status == 1
    assert said.startswith(f"event {ids[1]} of organisation 1: it is not what was sealed")
    status, said = await run_verify(environ, "--json")
    told = json.loads(said)
    assert (status, told["sound"], told["faults"][0]["event_id"]) == (1, False, ids[1])
    assert [head["events"] for head in told["heads"]] == [2, 1]


async def run_verify(environ: dict[str, str], *options: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["audit", "verify", *options], env=environ)
    return result.exit_code, result.stdout
