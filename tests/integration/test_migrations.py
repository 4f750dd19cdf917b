"""Migrations on real databases, up and down with data in them."""

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from app.core.database import Database
from app.core.migrate import MigrationError, downgrade, head_revision, upgrade
from tests.servers.process import free_port
from tests.servers.web import ROOT

ALL = [f"{number:04}" for number in range(1, 18)]
NOW = "'2026-01-01 00:00:00'"
# What people would have in each version, in the words of that version alone.
PEOPLE_AND_DEALS = (
    f"INSERT INTO organisations (id, name, created_at) VALUES (1, 'Initech', {NOW})",
    f"INSERT INTO users (id, organisation_id, email, name, password_hash, created_at) VALUES (1, 1, 'a@test.example', 'A', 'x', {NOW})",
    f"INSERT INTO deals (id, organisation_id, owner_id, name, created_at, updated_at) VALUES (1, 1, 1, 'Mojang', {NOW}, {NOW})",
    f"INSERT INTO members (deal_id, user_id, role, created_at) VALUES (1, 1, 'editor', {NOW})",
    f"INSERT INTO visits VALUES (1, 1, {NOW})",
    f"INSERT INTO pins VALUES (1, 1, {NOW})",
)
LAST_DEAL = (f"UPDATE users SET last_deal_id = 1, last_deal_accessed_at = {NOW}, last_deal_version = 3, remember_last_deal = false",)
SESSIONS = (
    f"INSERT INTO logins (id, user_id, token_hash, created_at, seen_at, idle_expires_at, expires_at) "
    f"VALUES (1, 1, 'h', {NOW}, {NOW}, {NOW}, {NOW})",
    f"INSERT INTO sessions (login_id, user_id, version, data, current_deal_id, created_at, touched_at, expires_at) "
    f"VALUES (1, 1, 1, '{{}}', 1, {NOW}, {NOW}, {NOW})",
)
EVENT = f"INSERT INTO events (kind, at, user_id, deal_id, payload) VALUES ('deal.selected', {NOW}, 1, 1, '{{}}')"
JOBS = (
    f"INSERT INTO job_runs (name, trigger, due_at, payload, queued_at, counts, earlier_attempts) "
    f"VALUES ('sweep', 'schedule', {NOW}, '{{}}', {NOW}, '{{}}', '[]')",
)
IMPORT = (
    f"INSERT INTO imports (id, organisation_id, user_id, filename, size, state, layout, found, counts, created_at, updated_at) "
    f"VALUES (1, 1, 1, 'deals.csv', 1, 'draft', '{{}}', '{{}}', '{{}}', {NOW}, {NOW})",
    "INSERT INTO import_problems (import_id, kind, line, message) VALUES (1, 'refused', 2, 'x')",
    "UPDATE deals SET import_id = 1",
)
LINK = (
    f"INSERT INTO one_time_links (kind, token_hash, organisation_id, created_at, expires_at) VALUES ('invitation', 'h', 1, {NOW}, {NOW})",
    "UPDATE organisations SET auto_restore_deal = false",
)
NOTICE = (
    f"INSERT INTO user_notices (user_id, sequence, kind, event_id, payload, created_at) VALUES (1, 1, 'deal.shared', 1, '{{}}', {NOW})",
    "INSERT INTO notice_counters VALUES (1, 1)",
)
TRAFFIC = ("INSERT INTO traffic (minute, requests) VALUES (29449440, 7)",)
BROWSER = (f"INSERT INTO known_browsers (user_id, token_hash, created_at, used_at) VALUES (1, 'h', {NOW}, {NOW})",)
WORK = (
    f"INSERT INTO findings (deal_id, number, title, owner_id, created_at, updated_at) VALUES (1, 1, 'Churn', 1, {NOW}, {NOW})",
    f"INSERT INTO checklist_items (deal_id, section, title, position, created_at, updated_at) VALUES (1, 'Tax', 'VAT', 1, {NOW}, {NOW})",
    f"UPDATE visits SET last_page = 'findings', findings_seen_at = {NOW}",
)
SKEW = (
    f"INSERT INTO processes (id, kind, version, started_at, heartbeat_at, clock_skew_ms) VALUES ('p', 'web', '1', {NOW}, {NOW}, -8000)",
)
INSTALLATION = ("UPDATE session_backend SET redis_prefix = 'mine'",)
DRAFT = (
    f"INSERT INTO drafts (user_id, deal_id, form, fields, drawn, version, writer, created_at, updated_at) "
    f"VALUES (1, 1, 'deal', '{{}}', '{{}}', 1, 'tab', {NOW}, {NOW})",
)
PLACE = (f"INSERT INTO places (user_id, deal_id, page, listing, seen_at) VALUES (1, 1, 'findings', '{{}}', {NOW})",)
REVISION = (
    f"INSERT INTO revisions (deal_id, kind, item_id, version, verb, at, by_id, before) "
    f"VALUES (1, 'deal', 1, 2, 'updated', {NOW}, 1, '{{}}')",
)
START = ("UPDATE users SET start_deal_id = 1",)
_DATA = (
    *(PEOPLE_AND_DEALS, LAST_DEAL, SESSIONS, (EVENT,), JOBS, NOTICE, WORK, START, IMPORT, LINK, TRAFFIC, SKEW, BROWSER, INSTALLATION),
    DRAFT,
    PLACE,
    REVISION,
)
DATA = dict(zip(ALL, _DATA, strict=True))


async def run(url: str, *statements: str) -> None:
    """In one transaction, on a connection that knows nothing of what the tables were before."""
    database = Database(url, name="holdfast-test")
    try:
        async with database.write() as db:
            for statement in statements:
                await db.execute(text(statement))
    finally:
        await database.close()


async def ask(url: str, query: str) -> Sequence[Any]:
    database = Database(url, name="holdfast-test")
    try:
        async with database.read() as db:
            return (await db.execute(text(query))).all()
    finally:
        await database.close()


async def up(url: str, revision: str = "head") -> list[str]:
    return await asyncio.to_thread(upgrade, url, revision)


async def down(url: str, revision: str) -> list[str]:
    return await asyncio.to_thread(downgrade, url, revision)


async def tables(url: str) -> set[str]:
    if make_url(url).get_backend_name() == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    else:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    return {row[0] for row in await ask(url, query)}


async def fill(url: str) -> None:
    """Every version in turn, each with its data."""
    for revision in ALL:
        assert await up(url, revision) == [revision]
        await run(url, *DATA[revision])


async def test_upgrading_twice_changes_nothing_the_second_time(empty_database_url: str) -> None:
    assert await up(empty_database_url) == ALL
    assert await up(empty_database_url) == []
    assert head_revision() == ALL[-1]


async def test_migrations_go_down_one_by_one_and_up_again_with_data_in_them(empty_database_url: str) -> None:
    await fill(empty_database_url)
    for revision in reversed(ALL[1:]):
        assert await down(empty_database_url, "-1") == [revision]
        for table in ("organisations", "users", "deals", "members", "visits", "pins"):
            assert len(await ask(empty_database_url, f"SELECT * FROM {table}")) == 1, f"{table} after taking back {revision}"
    assert await up(empty_database_url) == ALL[1:]
    assert await ask(empty_database_url, "SELECT last_deal_id, last_deal_version, remember_last_deal FROM users") == [(None, 0, True)]
    await run(empty_database_url, *LAST_DEAL, *SESSIONS, EVENT)
    assert await down(empty_database_url, "base") == ALL[::-1]
    assert await tables(empty_database_url) == {"alembic_version"}


async def test_taking_back_the_user_deal_association_leaves_no_trace_of_it(empty_database_url: str) -> None:
    await fill(empty_database_url)
    await down(empty_database_url, "0001")
    columns = set((await ask(empty_database_url, "SELECT * FROM users"))[0]._fields)
    assert columns.isdisjoint({"last_deal_id", "last_deal_accessed_at", "last_deal_version", "last_deal_cleared_at", "remember_last_deal"})
    assert "email" in columns
    # The name is free again, and so is the reference: a deal can be deleted without asking the users.
    await run(empty_database_url, "CREATE INDEX idx_users_last_deal ON users (email)", "DELETE FROM deals")


async def test_deleting_a_deal_forgets_it_as_the_last_one(empty_database_url: str) -> None:
    await fill(empty_database_url)
    await run(empty_database_url, "DELETE FROM deals")
    assert await ask(empty_database_url, "SELECT last_deal_id, last_deal_version FROM users") == [(None, 3)]
    assert await ask(empty_database_url, "SELECT current_deal_id FROM sessions") == [(None,)]


async def test_failing_migration_leaves_nothing_half_done(empty_database_url: str) -> None:
    # In the way of the last migration, when the others have already run.
    await run(empty_database_url, "CREATE TABLE events (id integer)")
    with pytest.raises(MigrationError, match="already exists") as failure:
        await up(empty_database_url)
    assert "\n" not in str(failure.value)
    assert await tables(empty_database_url) == {"events"}
    await run(empty_database_url, "DROP TABLE events")
    assert await up(empty_database_url) == ALL


async def test_failing_downgrade_leaves_everything_in_place(empty_database_url: str) -> None:
    await fill(empty_database_url)
    # In the way of dropping last_deal_id, when the later migrations have been taken back already.
    await run(empty_database_url, "CREATE VIEW last_deals AS SELECT last_deal_id FROM users")
    with pytest.raises(MigrationError):
        await down(empty_database_url, "base")
    assert len(await ask(empty_database_url, "SELECT * FROM events")) == 1
    assert await ask(empty_database_url, "SELECT last_deal_id FROM users") == [(1,)]


async def test_servers_that_start_at_once_migrate_once(empty_database_url: str) -> None:
    command = "import sys; from app.core.migrate import upgrade; print(len(upgrade(sys.argv[1])))"
    servers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", command, empty_database_url, stdout=PIPE, cwd=ROOT) for _ in range(3)
    ]
    answers = [(await server.communicate())[0].split() for server in servers]
    assert sorted(answers) == [[b"0"], [b"0"], [str(len(ALL)).encode()]]


async def test_database_of_a_newer_version_is_refused(empty_database_url: str) -> None:
    await up(empty_database_url)
    await run(empty_database_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MigrationError, match=rf"'9999' \(this code knows the versions 0001 to {ALL[-1]}\)"):
        await up(empty_database_url)


@pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)
async def test_unknown_target_and_one_step_too_many_are_refused(empty_database_url: str) -> None:
    with pytest.raises(MigrationError, match="'0077'"):
        await up(empty_database_url, "0077")
    with pytest.raises(MigrationError, match="Relative revision -1"):
        await down(empty_database_url, "-1")


async def test_unreachable_database_is_one_clear_line() -> None:
    with pytest.raises(MigrationError, match="cannot be reached") as failure:
        await up(f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)
async def test_reference_to_nothing_is_found_before_the_commit(empty_database_url: str) -> None:
    await up(empty_database_url, "0003")
    with sqlite3.connect(str(make_url(empty_database_url).database)) as connection:
        connection.execute(f"INSERT INTO pins VALUES (7, 7, {NOW})")
    connection.close()
    with pytest.raises(MigrationError, match="rows of pins that refer to nothing in"):
        await up(empty_database_url)
    assert "events" not in await tables(empty_database_url)


async def test_flag_begins_on_sql_with_epoch_zero(database_url: str) -> None:
    assert await ask(database_url, "SELECT id, mode, epoch, redis_run_id FROM session_backend") == [(1, "sql", 0, None)]


async def test_events_fill_the_outbox_in_their_own_transaction(database_url: str) -> None:
    await run(database_url, EVENT, EVENT)
    assert await ask(database_url, "SELECT event_id FROM outbox ORDER BY 1") == await ask(database_url, "SELECT id FROM events ORDER BY 1")
    with pytest.raises(DBAPIError):
        await run(database_url, EVENT, "INSERT INTO outbox (event_id) VALUES (999)")
    assert len(await ask(database_url, "SELECT * FROM events")) == len(await ask(database_url, "SELECT * FROM outbox")) == 2
    await run(database_url, "DELETE FROM outbox")
    assert len(await ask(database_url, "SELECT * FROM events")) == 2


async def test_figures_begin_with_the_first_event_and_notices_with_the_next(empty_database_url: str) -> None:
    await up(empty_database_url, "0004")
    await run(empty_database_url, EVENT, EVENT)
    await up(empty_database_url)
    marks = "SELECT consumer_group, event_id FROM event_marks ORDER BY 1"
    assert await ask(empty_database_url, marks) == [("analytics", 0), ("notify", 2)]


REWRITES = [
    (url, statement)
    for url, statements in {
        "sqlite": ("INSERT OR REPLACE INTO events (id, kind, at, payload) SELECT id, 'deal.cleared', at, payload FROM events",),
        "postgresql": ("TRUNCATE events CASCADE", "UPDATE events SET kind = '' WHERE id = -1"),
    }.items()
    for statement in (
        "UPDATE events SET kind = 'deal.cleared'",
        "DELETE FROM events",
        "INSERT INTO events (id, kind, at, payload) SELECT id, kind, at, payload FROM events WHERE true "
        "ON CONFLICT (id) DO UPDATE SET kind = 'deal.cleared'",
        *statements,
    )
]


@pytest.mark.parametrize(("database_url", "statement"), REWRITES, indirect=["database_url"])
async def test_events_cannot_be_rewritten(database_url: str, statement: str) -> None:
    await run(database_url, EVENT)
    before = await ask(database_url, "SELECT * FROM events")
    with pytest.raises(DBAPIError, match="append-only"):
        await run(database_url, statement)
    assert await ask(database_url, "SELECT * FROM events") == before
