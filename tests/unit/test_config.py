"""Settings: read once, checked at the start, explained in one line each."""

import re
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from app.core.config import ConfigError, cautions, load_settings, mask_url, masked, variables
from app.core.logging import configure_logging, warn_of_weak_settings

KEY = "pU3_dQ9vX7-mK2rT5wZ8yB4nC6hJ1sLf"
METRICS_TOKEN = "Vb7-qLm2_Xz9Rt4K"
PRODUCTION = {"HOLDFAST_ENV": "production", "SECRET_KEY": KEY, "ALLOWED_HOSTS": "deals.example"}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load_settings(environ)
    return refused.value.problems


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_empty_environment_gives_the_published_defaults() -> None:
    settings = load_settings({})
    assert settings.database_url == "sqlite+aiosqlite:///data/diligence.db"
    assert settings.redis_url is None
    assert settings.permanent_session_lifetime == timedelta(seconds=604800)
    assert (settings.login_idle, settings.login_lifetime) == (timedelta(seconds=86400), timedelta(seconds=2592000))
    assert settings.auto_restore_deal is None, "not set is told apart from set"
    assert (settings.host, settings.port, settings.log_format) == ("127.0.0.1", 5001, "console")
    assert settings.allowed_hosts == ("localhost", "127.0.0.1", "::1")


def test_production_listens_everywhere_and_logs_json() -> None:
    settings = load_settings(PRODUCTION)
    assert (settings.host, settings.log_format) == ("0.0.0.0", "json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLDFAST_ENV", "staging"),
        ("DATABASE_URL", "mysql://root@db/holdfast"),
        ("DATABASE_URL", "sqlite+aiosqlite://"),
        ("DATABASE_URL", "postgresql://db"),
        ("DATABASE_URL", "nonsense"),
        ("REDIS_URL", "http://cache:6379"),
        ("REDIS_URL", "redis://cache:port/0"),
        ("REDIS_URL", "redis://cache/first"),
        ("REDIS_URL", "redis+sentinel://a:1,b:2"),
        ("REDIS_TLS_URL", "redis://cache:6379"),
        ("PERMANENT_SESSION_LIFETIME", "0"),
        ("PERMANENT_SESSION_LIFETIME", "nan"),
        ("PERMANENT_SESSION_LIFETIME", "a week"),
        ("LOGIN_IDLE_SECONDS", "-1"),
        ("LOGIN_LIFETIME_SECONDS", "1e99"),
        ("AUTO_RESTORE_DEAL", "maybe"),
        ("SESSION_BACKEND", "memcached"),
        ("REDIS_TIMEOUT_SECONDS", "60"),
        ("RATE_LIMIT_LOGIN", "-1"),
        ("PORT", "70000"),
        ("PORT", "http"),
        ("WEB_CONCURRENCY", "0"),
        ("FORWARDED_ALLOW_IPS", "proxy"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.0/33"),
        ("FORWARDED_ALLOW_IPS", "unix:/run/x"),
        ("ALLOWED_HOSTS", "https://deals.example/"),
        ("ALLOWED_HOSTS", "deals.example:8443"),
        ("ALLOWED_HOSTS", "*.deals.example"),
        ("ROOT_PATH", "/a/../b"),
        ("ROOT_PATH", "https://deals.example/holdfast"),
        ("JOBS_TIMEZONE", "Mars/Olympus"),
        ("JOBS_TIMEZONE", "Europe"),
        ("LOG_LEVEL", "chatty"),
        ("LOG_FORMAT", "xml"),
        ("PASSWORD_TIME_COST", "0"),
    ],
)
def test_bad_value_is_one_line_with_name_value_and_what_is_allowed(name: str, value: str) -> None:
    [line] = problems({name: value})
    assert re.fullmatch(rf"{name}={re.escape(repr(value))} is not allowed: it must be .+", line)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert len(problems({"PORT": "x", "LOG_LEVEL": "x", "WEB_CONCURRENCY": "x"})) == 3


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS", "METRICS_TOKEN"])
def test_bad_secret_is_named_and_not_shown(name: str) -> None:
    [line] = problems({name: "hunter2"})
    assert line.startswith(f"{name}=*** is not allowed")


@pytest.mark.parametrize("url", ["mysql://u:hunter2@db/x", "postgresql//u:hunter2@db/x", "mysql://u:hun@ter2@db/x", "mysql:u:hunter2@db"])
def test_bad_url_is_shown_without_its_password(url: str) -> None:
    [line] = problems({"DATABASE_URL": url})
    assert "ter2" not in line
    assert "***" in line


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@db:5432/x", "postgresql+asyncpg://u:p@db:5432/x"),
        ("postgresql://u:p%40@db/x", "postgresql+asyncpg://u:p%40@db/x"),
        ("postgresql://db/x?sslmode=require", "postgresql+asyncpg://db/x?sslmode=require"),
        ("sqlite:///x.db", "sqlite+aiosqlite:///x.db"),
    ],
)
def test_database_urls_of_hosting_services_are_understood(given: str, used: str) -> None:
    assert load_settings({"DATABASE_URL": given}).database_url == used


@pytest.mark.parametrize(
    "url",
    ["redis://:p@cache:6379/0", "rediss://cache", "redis://[::1]:6379/1", "unix:///run/redis.sock", "redis+sentinel://:p@a:1,b:2/main/0"],
)
def test_redis_urls_of_every_kind_are_accepted(url: str) -> None:
    assert load_settings({"REDIS_URL": url}).redis_url == url


def test_tls_url_of_redis_wins() -> None:
    assert load_settings({"REDIS_URL": "redis://a:1/0", "REDIS_TLS_URL": "rediss://a:2/0"}).redis_url == "rediss://a:2/0"


def test_backend_redis_needs_a_redis_url() -> None:
    [line] = problems({"SESSION_BACKEND": "redis"})
    assert "REDIS_URL" in line


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"PASSWORD_TIME_COST": "1"}, "PASSWORD_TIME_COST"),
        ({"PASSWORD_MEMORY_KIB": "8"}, "PASSWORD_MEMORY_KIB"),
        ({"RATE_LIMIT_LOGIN": "0"}, "RATE_LIMIT_LOGIN"),
        ({"FORWARDED_ALLOW_IPS": "*"}, "FORWARDED_ALLOW_IPS"),
        ({"FORWARDED_ALLOW_IPS": "10.0.0.1, 0.0.0.0/0"}, "FORWARDED_ALLOW_IPS"),
        ({"FORWARDED_ALLOW_IPS": "::/0"}, "FORWARDED_ALLOW_IPS"),
        ({"SECRET_KEY": "k" * 32}, "SECRET_KEY"),
        ({"SECRET_KEY_FALLBACKS": f"{KEY}x,{'changeme' * 4}"}, "SECRET_KEY_FALLBACKS"),
        ({"METRICS_TOKEN": "hunter2" * 4}, "METRICS_TOKEN"),
        ({"QUART_DEBUG": "1"}, "QUART_DEBUG"),
    ],
)
def test_production_refuses_what_is_insecure_by_name(changes: dict[str, str], named: str) -> None:
    [line] = problems(PRODUCTION | changes)
    assert line.startswith(named)


def test_development_starts_with_what_protects_nothing_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_settings({"SECRET_KEY": "only-for-tests-" * 3, "FORWARDED_ALLOW_IPS": "*"})
    assert [line.partition("=")[0] for line in cautions(settings)] == ["SECRET_KEY", "FORWARDED_ALLOW_IPS"]
    assert "only-for-tests" not in str(cautions(settings))
    configure_logging(settings)
    warn_of_weak_settings(settings)
    assert [line.count("production will not start with it") for line in capsys.readouterr().err.splitlines()] == [1, 1]
    assert cautions(load_settings({"SECRET_KEY": KEY})) == []


def test_production_names_every_insecure_setting() -> None:
    assert len(problems({"HOLDFAST_ENV": "production", "PASSWORD_TIME_COST": "1"})) == 3


def test_development_makes_a_key_and_keeps_it(empty_folder: Path) -> None:
    key = load_settings({}).secret_key
    assert len(key.encode()) >= 32
    assert load_settings({}).secret_key == key
    assert stat.S_IMODE((empty_folder / "data" / "secret_key").stat().st_mode) == 0o600


def test_damaged_development_key_is_reported(empty_folder: Path) -> None:
    (empty_folder / "data").mkdir()
    (empty_folder / "data" / "secret_key").write_text("")
    [line] = problems({})
    assert "data/secret_key" in line


def test_dotenv_file_is_read_and_the_environment_wins(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_folder / ".env").write_text("PORT=7001\nLOGIN_IDLE_SECONDS=60\nALLOWED_HOSTS=a.example, b.example\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("LOGIN_IDLE_SECONDS", "90")
    monkeypatch.delenv("PORT", raising=False)
    settings = load_settings()
    assert (settings.port, settings.login_idle) == (7001, timedelta(seconds=90))
    assert settings.allowed_hosts == ("a.example", "b.example")


def test_settings_are_shown_without_secrets() -> None:
    environ = PRODUCTION | {
        "DATABASE_URL": "postgres://u:hunter2@db/x",
        "REDIS_URL": "redis://:hunter2@c/0",
        "METRICS_TOKEN": METRICS_TOKEN,
    }
    settings = load_settings(environ)
    shown = masked(settings)
    assert shown.keys() == variables().keys()
    assert "hunter2" not in str(shown) + repr(settings)
    assert METRICS_TOKEN not in str(shown) + repr(settings)
    assert KEY not in str(shown) + repr(settings)
    assert shown["DATABASE_URL"] == "postgresql+asyncpg://u:***@db/x"
    assert shown["LOGIN_LIFETIME_SECONDS"] == "2592000"


def test_text_without_a_url_is_left_as_it_is() -> None:
    assert mask_url("at 10:30, see http://localhost:5001/x") == "at 10:30, see http://localhost:5001/x"


def test_a_root_path_and_names_of_hosts_are_taken_as_people_write_them() -> None:
    settings = load_settings({"SECRET_KEY": KEY, "ROOT_PATH": "holdfast/", "ALLOWED_HOSTS": "Deals.Example., .b.example, [0:0::1]"})
    assert (settings.root_path, settings.allowed_hosts) == ("/holdfast", ("deals.example", ".b.example", "::1"))
    assert load_settings({"SECRET_KEY": KEY, "SCRIPT_NAME": "/wsgi"}).root_path == "/wsgi"
    assert load_settings({"SECRET_KEY": KEY, "SCRIPT_NAME": "/wsgi", "ROOT_PATH": "/ours"}).root_path == "/ours"
