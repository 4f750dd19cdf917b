"""The `holdfast` command: quick help, plain words, a status a script can use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import COMMANDS, cli


@pytest.fixture
def holdfast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Call":
    monkeypatch.chdir(tmp_path)
    return Call()


class Call:
    def __call__(self, *arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(cli, arguments, env=environ)


def test_help_names_every_command_and_imports_none_of_them() -> None:
    asked = "import sys; from app.cli import cli; cli(['--help'], standalone_mode=False); print({'alembic', 'quart'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in said for name in COMMANDS)
    assert said.endswith("set()\n")


def test_bad_setting_ends_in_status_2_and_one_line(holdfast: Call) -> None:
    done = holdfast("config", PORT="http")
    assert done.exit_code == 2
    assert done.stderr == "Error: PORT='http' is not allowed: it must be a whole number from 1 to 65535\n"


def test_unknown_command_ends_in_status_2(holdfast: Call) -> None:
    assert holdfast("fly").exit_code == 2


def test_config_shows_settings_without_secrets(holdfast: Call) -> None:
    done = holdfast("config", "--json", SECRET_KEY="s" * 32, DATABASE_URL="postgres://u:hunter2@db/x")
    shown = json.loads(done.stdout)
    assert shown["SECRET_KEY"] == "***"
    assert shown["DATABASE_URL"] == "postgresql+asyncpg://u:***@db/x"
    assert "PORT=5001\n" in holdfast("config").stdout


def test_database_out_of_reach_is_said_with_its_reason(holdfast: Call) -> None:
    unreachable = {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}
    for command in (["migrate"], ["sessions", "stats"], ["sessions", "purge"], ["health"]):
        done = holdfast(*command, **unreachable)
        assert done.exit_code == 1, command
        assert "Traceback" not in done.output
        assert "hunter2" not in done.output


def test_migrated_database_is_healthy_and_empty(holdfast: Call) -> None:
    url = {"DATABASE_URL": "sqlite+aiosqlite:///x.db"}
    assert holdfast("migrate", **url).stdout.startswith("Migrated: 0001")
    assert holdfast("migrate", **url).stdout == "Migrated: nothing to do.\n"
    assert json.loads(holdfast("health", "--json", **url).stdout)["status"] == "healthy"
    assert json.loads(holdfast("sessions", "stats", "--json", **url).stdout)["sessions_live"] == 0
    assert holdfast("sessions", "purge", **url).stdout == "Deleted 0 expired sessions and 0 dead logins.\n"


def test_rollback_asks_first(holdfast: Call) -> None:
    url = {"DATABASE_URL": "sqlite+aiosqlite:///x.db"}
    holdfast("migrate", **url)
    assert holdfast("rollback", **url).exit_code == 1
    assert holdfast("rollback", "--yes", **url).stdout.startswith("Rolled back: ")


def test_redis_out_of_reach_is_degraded_not_broken(holdfast: Call) -> None:
    environ = {"DATABASE_URL": "sqlite+aiosqlite:///x.db", "REDIS_URL": "redis://127.0.0.1:1/0"}
    holdfast("migrate", **environ)
    done = holdfast("health", "--json", **environ)
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "degraded")
