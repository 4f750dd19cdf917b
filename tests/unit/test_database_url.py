"""URLs as hosting services, ORMs and psql give them: understood, dropped knowingly, or refused in one line without a secret."""

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from app.core.config import ConfigError, load_settings
from app.core.database_url import (
    _TRANSLATED,
    DRIVER_PARAMETERS,
    DROPPED_PARAMETERS,
    OWN_PARAMETERS,
    UrlProblem,
    connection_of,
    parse_database_url,
    split_options,
)
from app.core.redis import make_pool
from app.core.redis_url import DROPPED_PARAMETERS as DROPPED_BY_REDIS
from app.core.redis_url import check_redis_url
from tests.servers.web import ROOT

HERE = str(Path(__file__))
NEON = "postgresql://me:pw@ep-a-pooler.eu.neon.tech/db?sslmode=require&channel_binding=require"


@pytest.mark.parametrize(
    ("url", "hosts", "expected"),
    [
        ("postgres://u:p@h:5433/d", [("h", 5433)], {"user": "u", "password": "p", "database": "d"}),
        ("postgresql://h/d", [("h", None)], {"database": "d"}),
        ("postgresql:///d", [(None, None)], {"database": "d"}),
        ("postgresql:///d?host=/var/run/postgresql", [("/var/run/postgresql", None)], {"database": "d"}),
        ("postgresql:///d?host=/tmp&port=5433&user=me", [("/tmp", 5433)], {"database": "d", "user": "me"}),
        ("postgresql://%2Fvar%2Frun%2Fpg/d", [("/var/run/pg", None)], {"database": "d"}),
        ("postgresql://u:50%25%2F%40@h/d", [("h", None)], {"password": "50%/@"}),
        ("postgresql://u:50%@h/d", [("h", None)], {"password": "50%"}),
        ("postgresql://u:p@ss@h/d", [("h", None)], {"password": "p@ss"}),
        ("postgresql://u:p#s@h/d", [("h", None)], {"password": "p#s"}),
        ("postgresql://u@[::1]:5433/d", [("::1", 5433)], {"user": "u"}),
        ("postgresql://h1:5432,h2:5433/d", [("h1", 5432), ("h2", 5433)], {"target_session_attrs": "read-write"}),
        ("postgresql://h1,h2/d?target_session_attrs=any", [("h1", 5432), ("h2", 5432)], {"database": "d"}),
        ("postgresql://h1,[::1]:9/d?port=1,2", [("h1", 1), ("::1", 2)], {}),
        ("postgresql+asyncpg:///d?host=a:1&host=b:2", [("a", 1), ("b", 2)], {}),
        ("postgresql://h?dbname=d&user=u&password=p", [("h", None)], {"user": "u", "password": "p", "database": "d"}),
        ("postgresql://h/d?sslmode=verify-full&sslrootcert=" + HERE, [("h", None)], {"dsn": None}),
        ("postgresql://h/d?ssl=true", [("h", None)], {"dsn": "postgresql://?sslmode=require"}),
        ("postgresql://h/d?sslmode=no-verify", [("h", None)], {"dsn": "postgresql://?sslmode=require"}),
        ("postgresql://h/d?ssl=false", [("h", None)], {"dsn": "postgresql://?sslmode=disable"}),
        (NEON, [("ep-a-pooler.eu.neon.tech", None)], {"dsn": "postgresql://?sslmode=require"}),
        ("postgresql://h/d?connect_timeout=10&keepalives=1&keepalives_idle=5&tcp_user_timeout=3&gssencmode=disable", [("h", None)], {}),
    ],
)
def test_a_url_is_understood_as_libpq_does(url: str, hosts: list[Any], expected: dict[str, Any]) -> None:
    found = connection_of(parse_database_url(url))
    assert list(found.hosts) == hosts
    for name, value in expected.items():
        assert found.arguments[name] == value or value is None
    assert not set(found.arguments) - set(expected) - {"user", "password", "database", "target_session_attrs"}


@pytest.mark.parametrize(
    ("query", "settings", "rest"),
    [
        ("options=-c%20search_path%3Dx", {"search_path": "x"}, ""),
        ("options=-csearch_path%3Da,b+--work-mem%3D5MB", {"search_path": "a,b", "work_mem": "5MB"}, ""),
        (r"options=-c+application_name%3Da\ b", {"application_name": "a b"}, ""),
        ("options=endpoint%3Dep-cool-1", {}, "endpoint=ep-cool-1"),
        ("options=endpoint%3De+-c+a%3D1", {"a": "1"}, "endpoint=e"),
        ("schema=sales", {"search_path": "sales"}, ""),
        ("schema=odd%20name", {"search_path": "odd name"}, ""),
        ("options=-c+a%3D1&schema=sales", {"a": "1", "search_path": "sales"}, ""),
    ],
)
def test_options_are_settings_of_the_server(query: str, settings: dict[str, str], rest: str) -> None:
    found = connection_of(parse_database_url(f"postgresql://h/d?{query}"))
    assert (found.settings, found.options) == (settings, rest)


@pytest.mark.parametrize("query", ["pgbouncer=true", "pooler=transaction", "prepared_statements=false", "prepareThreshold=0"])
def test_other_peoples_words_for_a_transaction_pooler(query: str) -> None:
    assert connection_of(parse_database_url(f"postgresql://h/d?{query}&connection_limit=1&pool_timeout=3")).pooler == "transaction"


def test_the_setting_is_a_part_of_the_url_and_wins() -> None:
    settings = load_settings({"DATABASE_URL": "postgres://h/d?pgbouncer=true", "DATABASE_POOLER": "Session"})
    assert settings.database_url == "postgresql+asyncpg://h/d?pooler=session"
    assert load_settings({"DATABASE_POOLER": "transaction"}).database_url.startswith("sqlite")


def test_the_systems_authorities_can_be_trusted() -> None:
    found = connection_of(parse_database_url("postgresql://h/d?sslmode=verify-full&sslrootcert=system"))
    assert isinstance(found.arguments["ssl"], ssl.SSLContext)
    assert (found.arguments["ssl"].verify_mode, found.arguments["ssl"].check_hostname) == (ssl.CERT_REQUIRED, True)
    assert connection_of(parse_database_url("postgresql://h/d?sslaccept=strict")).arguments["ssl"].check_hostname
    assert "ssl" not in connection_of(parse_database_url("postgresql://h/d?sslaccept=accept_invalid_certs")).arguments


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://u:hunter2@h/d?sslmod=require", "'sslmod'"),
        ("postgresql://u:hunter2@h/d?sslmode=maybe", "sslmode"),
        ("postgresql://u:hunter2@h/d?sslrootcert=/no/such/file", "sslrootcert"),
        ("postgresql://u:hunter2@h/d?sslrootcert=system&sslmode=require", "sslrootcert"),
        ("postgresql://u:hunter2@h/d?target_session_attrs=best", "target_session_attrs"),
        ("postgresql://u:hunter2@h/d?options=-x", "options"),
        ("postgresql://u:hunter2@h/d?schema=a&schema=b", "'schema'"),
        ("postgresql://u:hunter2@h/d?pooler=statement", "pooler"),
        ("postgresql://u:hun/ter2@h/d", "%2F"),
        ("postgresql://u:hun?ter2@h/d", "%3F"),
        ("postgresql://u:hunter2@::1:5432/d", "IPv6"),
        ("postgresql://u:hunter2@h:99999/d", "port"),
        ("postgresql://u:hunter2@h1,h2/d?port=1,2,3", "port"),
        ("postgresql://u:hunter2@h", "database"),
        ("postgresql://u:%ff@h/d", "UTF-8"),
        ("mysql://u:hunter2@h/d", "mysql://"),
        ("sqlite:///x.db?sslmode=require", "'sslmode'"),
        ("sqlite:///file:x?mode=memory&uri=true", ":memory:"),
    ],
)
def test_what_is_not_understood_is_one_line_that_names_it(url: str, named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_settings({"DATABASE_URL": url})
    [line] = raised.value.problems
    assert line.startswith("DATABASE_URL=")
    assert named in line.partition("is not allowed: ")[2]
    assert "\n" not in line
    assert "ter2" not in line


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(user=texts, password=texts, database=texts)
def test_whatever_a_password_is_made_of_it_survives(user: str, password: str, database: str) -> None:
    """The one spelling is understood again as what it came from, by us and by SQLAlchemy."""
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h1,[::1]:5/{quote(database, safe='')}"
    first = parse_database_url(url)
    again = parse_database_url(first.render_as_string(hide_password=False))
    assert connection_of(first) == connection_of(again)
    assert (again.username, again.password, again.database) == (user, password, database)
    assert make_url(again.render_as_string(hide_password=False)).password == password


def test_every_parameter_is_documented() -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text()
    known = DRIVER_PARAMETERS | OWN_PARAMETERS | DROPPED_PARAMETERS | set(_TRANSLATED) | {"schema"} | DROPPED_BY_REDIS
    assert [name for name in sorted(known) if f"`{name}`" not in documented] == []


def test_options_beyond_settings_are_refused() -> None:
    with pytest.raises(UrlProblem):
        split_options("-d 5")


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("redis://default:p%40@h:6379/2", "redis://default:p%40@h:6379/2"),
        ("redis://h:6379?db=3&client_name=x&protocol=3&socket_timeout=30&decode_responses=true&family=0", "redis://h:6379?db=3"),
        ("rediss://:p@h:1?ssl_cert_reqs=CERT_NONE", "rediss://:p@h:1?ssl_cert_reqs=none"),
        ("rediss://:p@h:1?ssl_cert_reqs=required&ssl_check_hostname=true", None),
        ("redis://h?ssl=false", "redis://h"),
        ("unix:///run/r.sock?db=1", "unix:///run/r.sock?db=1"),
        ("redis+sentinel://:p@a:1,b:2/main/0?socket_timeout=1", "redis+sentinel://:p@a:1,b:2/main/0"),
    ],
)
def test_redis_urls_are_understood_and_change_no_limit_of_ours(url: str, used: str | None) -> None:
    found = check_redis_url(url)
    assert found == (used or url)
    pool = make_pool(found, timeout=timedelta(seconds=0.25), max_connections=4, client_name="holdfast-web")
    assert pool.connection_kwargs["socket_timeout"] == 0.25
    assert pool.connection_kwargs["client_name"] == "holdfast-web"
    assert "decode_responses" not in pool.connection_kwargs
    pool.make_connection()  # type: ignore[no-untyped-call]  # what the client does not know it refuses here


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://:hunter2@h?ssl_cert_reqs=none", "ssl_cert_reqs needs rediss://"),
        ("redis://:hunter2@h?ssl=true", "ssl contradicts"),
        ("rediss://:hunter2@h?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("rediss://:hunter2@h?ssl_ca_certs=/no/such", "ssl_ca_certs"),
        ("redis://:hunter2@h?db=first", "db"),
        ("redis://:hunter2@h?cluster=true", "'cluster'"),
        ("redis://:hun/ter2@h", "%2F"),
        ("redis://:hun#ter2@h", "%23"),
        ("redis://:hun?ter2@h", "%3F"),
        ("redis://:hunter2@[h", "host"),
        ("redis://:hunter2@h:port", "port"),
        ("redis+sentinel://:hunter2@a:1/main?db=1", "db"),
        ("http://:hunter2@h", "http://"),
    ],
)
def test_what_a_redis_url_says_beyond_that_is_one_line(url: str, named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_settings({"REDIS_URL": url})
    [line] = raised.value.problems
    assert line.startswith("REDIS_URL=")
    assert named in line
    assert "ter2" not in line
