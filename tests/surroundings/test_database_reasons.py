"""Why a database cannot be used, as doctor, health and commands tell it: each reason apart, with the fix for it and no secret."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import URL, make_url, text

from app.cli import cli
from app.core.clock import Clock
from app.core.config import load_settings
from app.core.database import Database
from app.core.errors import DatabaseUnavailable
from app.core.migrate import MigrationError, upgrade
from app.ops.health.checks import check_health
from app.ops.health.doctor import examine
from tests.servers.blocking import blocking
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgresServer, private_postgres, unprivileged
from tests.servers.process import held_directory, remove_directory

HBA = """
host all postgres 127.0.0.1/32 trust
host all locked 127.0.0.1/32 scram-sha-256
host all limited 127.0.0.1/32 trust
host all missing 127.0.0.1/32 trust
"""


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    """A certificate of its own for 127.0.0.1, and a pg_hba.conf that lets some in."""
    home = held_directory("tls", parent=Path("/var/tmp"))
    home.chmod(0o755)
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes")
    made = ("-newkey", "rsa:2048", "-keyout", "server.key", "-out", "server.crt")
    subprocess.run(["openssl", "req", "-x509", *made, *subject], check=True, capture_output=True, cwd=home)
    (home / "hba.conf").write_text(HBA)
    (home / "server.key").chmod(0o600)
    if identity := unprivileged():
        for path in home.iterdir():
            os.chown(path, identity["user"], identity["group"])
    yield home
    remove_directory(home)


@pytest.fixture(scope="module")
def guarded(files: Path) -> Iterator[PostgresServer]:
    with private_postgres(hba_file=f"{files}/hba.conf") as server:
        for role in ("locked LOGIN PASSWORD 'right'", "limited LOGIN CONNECTION LIMIT 0", "unlisted LOGIN"):
            server.execute(f"CREATE ROLE {role}")
        yield server


def url_of(server: PostgresServer, user: str, query: str = "", *, database: str = "postgres", **changes: object) -> str:
    url: URL = make_url(server.url.render_as_string()).set(username=user, password="hunter2", database=database, **changes)  # type: ignore[arg-type]
    return url.render_as_string(hide_password=False) + query


async def told(url: str) -> str:
    """What doctor and health say; both the same, with a fix, and without the password."""
    settings = load_settings({"DATABASE_URL": url})
    finding = (await examine(settings, Clock()))[0]
    assert (finding.check, finding.state) == ("database", "failed")
    assert finding.fix
    found = await check_health(settings)
    assert found.status == "unhealthy"
    assert found.checks["database"] == f"{finding.found}. {finding.fix}"
    assert "hunter2" not in found.checks["database"]
    with pytest.raises(MigrationError) as refused:
        blocking(upgrade, url)
    assert "\n" not in str(refused.value)
    return finding.found


async def test_the_servers_own_reason(guarded: PostgresServer) -> None:
    expected = {
        url_of(guarded, "postgres", port=1): "refused",
        url_of(guarded, "postgres", host="no-such-host.invalid"): "host not found",
        url_of(guarded, "postgres", host="a..b"): "host not found",
        url_of(guarded, "locked"): "wrong password or user",
        url_of(guarded, "missing"): "no such role",
        url_of(guarded, "postgres", database="nothing"): "no such database",
        url_of(guarded, "limited"): "too many clients",
        url_of(guarded, "unlisted"): "pg_hba.conf",
        url_of(guarded, "postgres", "?options=-c%20nonsense%3D1"): "unknown parameter",
        url_of(guarded, "postgres", "?options=-c%20work_mem%3Dx"): "bad value",
        url_of(guarded, "postgres", "?sslmode=require"): "TLS is wanted and not offered",
        url_of(guarded, "postgres", "?target_session_attrs=standby"): "no host",
        "postgresql:///x?host=/var/tmp/nowhere": "no such socket",
    }
    found = {url: await told(url) for url in expected}
    assert {url: (reason, found[url]) for url, reason in expected.items() if not found[url].startswith(reason)} == {}


async def test_tls_as_the_url_wants_it(guarded: PostgresServer, files: Path) -> None:
    """PgBouncer offers it here, since the PostgreSQL of the tests is built without."""
    keys = {"client_tls_key_file": f"{files}/server.key", "client_tls_cert_file": f"{files}/server.crt"}
    pooler = PgBouncer(guarded.url_of("postgres"), "transaction", client_tls_sslmode="require", **keys)
    pooler.start()
    trusted = f"sslrootcert={files}/server.crt"
    try:
        for query, host, reason in (
            ("sslmode=disable", "127.0.0.1", "TLS is required"),
            ("sslmode=verify-full&sslrootcert=system", "127.0.0.1", "certificate not trusted"),
            ("sslmode=verify-ca&sslrootcert=/etc/ssl/certs/ca-certificates.crt", "127.0.0.1", "certificate not trusted"),
            (f"sslmode=verify-full&{trusted}", "localhost", "certificate not trusted"),
        ):
            assert (await told(f"postgresql://postgres:hunter2@{host}:{pooler.port}/postgres?{query}")).startswith(reason), query
        for query in (
            "sslmode=require&channel_binding=require",
            "ssl=true",
            "sslmode=prefer",
            f"sslmode=verify-full&{trusted}",
            f"sslmode=require&{trusted}",
        ):
            database = Database(f"postgresql://postgres@127.0.0.1:{pooler.port}/postgres?{query}", name="holdfast-test")
            await database.ping()
            await database.close()
    finally:
        pooler.remove()


async def test_the_first_host_may_be_gone(guarded: PostgresServer) -> None:
    database = Database(
        f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{guarded.url.port}/postgres?options=-csearch_path%3Da,b", name="holdfast-test"
    )
    try:
        await database.ping()
        async with database.read() as db:
            assert await db.scalar(text("SHOW search_path")) == "a,b"
    finally:
        await database.close()


async def test_poolers_reason(postgres: PostgresServer) -> None:
    """PgBouncer has one code for nearly everything, and waits before it says that nobody is behind it."""
    full = PgBouncer(postgres.url_of("postgres"), "transaction", max_client_conn="0")
    strict = PgBouncer(postgres.url_of("postgres"), "transaction", auth_type="md5")
    for pooler in (full, strict):
        pooler.start()
    try:
        assert (await told(full.url)).startswith("too many clients")
        assert (await told(strict.url.replace("postgres@", "stranger:hunter2@"))).startswith(("wrong password", "no such role"))
        assert (await told(f"{strict.url}?pooler=transaction&options=endpoint%3Dx".replace("postgres@", "holdfast:secret@"))).startswith(
            "unknown parameter"
        )
    finally:
        for pooler in (full, strict):
            pooler.remove()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/proc/nowhere/x.db", "the file cannot be opened"), ("{}", "the file cannot be opened"), ("{}/page.html", "the file is no database")],
)
async def test_files(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "page.html").write_text("<html>" * 1000)
    assert (await told(f"sqlite:///{path.format(tmp_path)}")).startswith(reason)


def test_a_command_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/x")
    for command in (["sessions", "stats"], ["migrate"], ["health"], ["doctor"]):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 1
        assert "refused: nobody listens there" in done.output
        assert "hunter2" not in done.output
        assert "Traceback" not in done.output


async def test_pool_and_time_are_told_apart(postgres: PostgresServer) -> None:
    database = Database(postgres.url_of("postgres"), name="holdfast-test")
    try:
        with pytest.raises(DatabaseUnavailable) as slow:
            async with database.read() as db:
                await db.execute(text("SELECT pg_sleep(60)"))
        assert slow.value.reason.startswith("no answer in time")
    finally:
        await database.close()
