"""DATABASE_URL as libpq, hosting services, Prisma and SQLAlchemy spell it: each parameter is understood, dropped knowingly, or refused.

`parse_database_url` gives the one spelling the rest uses, which it understands again; `connection_of` what a driver needs.
"""

import re
import sqlite3
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus, urlencode

from sqlalchemy import URL

POSTGRESQL_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
SQLITE_SCHEMES = ("sqlite", "sqlite+aiosqlite")
SQLITE_PARAMETERS = {"uri", "mode", "cache", "immutable", "nolock", "vfs", "psow"}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Handed to asyncpg, which knows them as libpq does.
TLS_PARAMETERS = {"sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation"}
TLS_PARAMETERS |= {"ssl_min_protocol_version", "ssl_max_protocol_version"}
DRIVER_PARAMETERS = TLS_PARAMETERS | {"passfile", "service", "krbsrvname", "gsslib"}
OWN_PARAMETERS = {"application_name", "options", "target_session_attrs", "pooler"}
# Limits of our own stand in their place, or the driver has no such thing; docs/configuration.md has the reason of each.
DROPPED_PARAMETERS = {
    *("connect_timeout", "pool_timeout", "socket_timeout", "connection_limit", "max_idle_connection_lifetime", "single_use_connections"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    *("channel_binding", "gssencmode", "gssdelegation", "sslcompression", "sslsni"),
    *("sslidentity", "load_balance_hosts", "fallback_application_name", "client_encoding", "charset", "uselibpqcompat"),
    *("statement_cache_size", "prepared_statement_cache_size", "supa", "pool", "sslcertmode", "min_protocol_version"),
}
_POOLERS = ("session", "transaction")
_TRUE, _FALSE = ("1", "true", "on", "yes"), ("0", "false", "off", "no")
_SESSION_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")

Host = tuple[str | None, int | None]


class UrlProblem(ValueError):
    """What is not understood, in words for the error line; never a part of the password."""


@dataclass(frozen=True)
class Connection:
    """`arguments` are asyncpg's. `settings` are the server's; `options` is what else the server or a proxy is told at the start."""

    hosts: tuple[Host, ...]
    arguments: dict[str, Any]
    settings: dict[str, str] = field(default_factory=dict)
    options: str = ""
    application_name: str = ""
    pooler: str = ""


def parse_database_url(text: str) -> URL:
    """Raises `UrlProblem`."""
    scheme, slashes, rest = text.strip().partition("://")
    if not slashes:
        raise UrlProblem("it is no URL, which has :// after its kind")
    if scheme in SQLITE_SCHEMES:
        return _sqlite(rest)
    if scheme not in POSTGRESQL_SCHEMES:
        raise UrlProblem(f"{scheme[:40]}:// is neither sqlite:// nor postgresql://")
    return _postgresql(rest)


def with_pooler(url: str, pooler: str) -> str:
    """DATABASE_POOLER as a part of DATABASE_URL, which everything is opened by."""
    parsed = parse_database_url(url)
    return parsed.update_query_dict({"pooler": pooler}).render_as_string(hide_password=False)


def sqlite_file(url: URL) -> Path:
    return Path((url.database or "").removeprefix("file:"))


def make_folder(url: URL) -> None:
    """Of a SQLite file. Where it cannot be made, opening the file says so."""
    with suppress(OSError):
        sqlite_file(url).parent.mkdir(parents=True, exist_ok=True)


def try_to_open(_dialect: Any, _record: Any, arguments: Any, options: Any) -> None:
    """For SQLAlchemy's `do_connect`: a file that cannot be opened says so here, where no thread of the driver outlives that."""
    sqlite3.connect(arguments[0], uri=options.get("uri", False)).close()


def connection_of(url: URL) -> Connection:
    """How to reach the PostgreSQL of an URL that `parse_database_url` gave."""
    query = {name: value for name, value in url.query.items() if isinstance(value, str)}
    several = url.query.get("host", ())
    hosts = [_split_host(host) for host in ([several] if isinstance(several, str) else several)] or [(url.host, url.port)]
    hosts = [(host, port or url.port) for host, port in hosts]
    arguments: dict[str, Any] = {"user": url.username, "password": url.password, "database": url.database}
    if query.get("sslrootcert") == "system":
        arguments["ssl"] = _system_tls(query)
    elif given := {name: value for name, value in query.items() if name in DRIVER_PARAMETERS}:
        arguments["dsn"] = f"postgresql://?{urlencode(given)}"
    # Of several the one that takes writes, unless the URL wants another.
    wanted = query.get("target_session_attrs", "read-write" if len(hosts) > 1 else "any")
    if wanted != "any":
        arguments["target_session_attrs"] = wanted
    settings, options = split_options(query.get("options", ""))
    pooler, name = query.get("pooler", ""), query.get("application_name", "")
    return Connection(tuple(hosts), {key: value for key, value in arguments.items() if value is not None}, settings, options, name, pooler)


def split_options(options: str) -> tuple[dict[str, str], str]:
    """libpq's `options`: the settings in it (`-c name=value`, `--name=value`), and the rest, such as Neon's `endpoint=`."""
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|\S)+", options)]
    settings, rest = {}, []
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        found = re.fullmatch(r"(?:-c|--)([A-Za-z_][\w.-]*)=(.*)", word, re.S)
        if found:
            settings[found[1].replace("-", "_").lower()] = found[2]
        elif word.startswith("-"):
            raise UrlProblem(f"of the parameter options only -c NAME=VALUE is understood, not {word[:40]!r}")
        else:
            rest.append(word)
    return settings, " ".join(rest)


def _sqlite(rest: str) -> URL:
    path, _, query = rest.partition("?")
    database = path.removeprefix("/")
    # Every connection to a database in memory would see one of its own.
    if not path.startswith("/") or not database or database == ":memory:" or "mode=memory" in query:
        raise UrlProblem("SQLite needs a file after three slashes, and not :memory:")
    given = _parameters(query)
    for name in given:
        if name not in SQLITE_PARAMETERS:
            raise UrlProblem(f"the parameter {name[:40]!r} is not understood for SQLite")
    return URL.create("sqlite+aiosqlite", database=database, query=given)


def _postgresql(rest: str) -> URL:
    before, _, tail = rest.partition("?")
    authority, _, path = before.partition("/")
    for place, sign, code in ((path, "/", "%2F"), (tail, "?", "%3F")):
        if "@" in place and "@" not in authority:
            raise UrlProblem(f"a {sign} in a user's name or password is written {code}, an @ in a parameter's value %40")
    credentials, _, hostlist = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    given: dict[str, Any] = _parameters(tail)
    hosts = [_split_host(_unquoted(host)) for host in hostlist.split(",")] if hostlist else []
    if "host" in given:
        several = given.pop("host")
        hosts = [_split_host(host) for each in ([several] if isinstance(several, str) else several) for host in each.split(",")]
    hosts = _with_ports(hosts, str(given.pop("port", "")))
    given.pop("hostaddr", None)
    fixed: dict[str, Any] = {
        "username": given.pop("user", None) or _unquoted(user) or None,
        "password": given.pop("password", None) or _unquoted(password) or None,
        "database": given.pop("dbname", None) or given.pop("database", None) or _unquoted(path) or None,
    }
    if not fixed["database"]:
        raise UrlProblem("it names no database after the host")
    query: dict[str, Any] = _understood(given)
    if len(hosts) > 1:
        query["host"] = tuple(f"[{host}]:{port or 5432}" if ":" in (host or "") else f"{host}:{port or 5432}" for host, port in hosts)
    elif hosts and str(hosts[0][0]).startswith("/"):
        query["host"] = hosts[0][0]
        fixed["port"] = hosts[0][1]
    elif hosts:
        fixed["host"], fixed["port"] = hosts[0]
    return URL.create("postgresql+asyncpg", query=query, **fixed)


def _understood(given: Mapping[str, Any]) -> dict[str, str]:
    query: dict[str, str] = {}
    options = []
    for name, value in given.items():
        if not isinstance(value, str):
            raise UrlProblem(f"the parameter {name[:40]!r} is given more than once")
        if name in _TRANSLATED:
            query |= _TRANSLATED[name](value.strip())
        elif name in ("schema", "currentSchema", "search_path"):
            options.append("-csearch_path=" + re.sub(r"([\\\s])", r"\\\1", value))
        elif name in DRIVER_PARAMETERS | OWN_PARAMETERS:
            query[name] = value
        elif name not in DROPPED_PARAMETERS:
            raise UrlProblem(f"the parameter {name[:40]!r} is not understood; docs/configuration.md lists what is")
    if options:
        query["options"] = " ".join([query.get("options", ""), *options]).strip()
    _check(query)
    return query


def _check(query: Mapping[str, str]) -> None:
    split_options(query.get("options", ""))
    for name, allowed in (("sslmode", SSL_MODES), ("pooler", _POOLERS), ("target_session_attrs", _SESSION_ATTRIBUTES)):
        if query.get(name) not in (None, *allowed):
            raise UrlProblem(f"the parameter {name} must be {', '.join(allowed)}, not {query[name][:40]!r}")
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        path = query.get(name)
        if path and not (name == "sslrootcert" and path == "system") and not Path(path).is_file():
            raise UrlProblem(f"the parameter {name} names a file that is not there: {path[:200]!r}")
    if query.get("sslrootcert") == "system" and query.get("sslmode", "verify-full") != "verify-full":
        raise UrlProblem("the parameter sslrootcert=system needs sslmode=verify-full, since any server has a certificate of some authority")


def _tls(value: str) -> dict[str, str]:
    lowered = value.lower().replace("_", "-")
    return {"sslmode": "require" if lowered in (*_TRUE, "no-verify") else "disable" if lowered in _FALSE else lowered}


def _tls_accepted(value: str) -> dict[str, str]:
    return {"sslmode": "verify-full", "sslrootcert": "system"} if value == "strict" else {}


def _pgbouncer(value: str) -> dict[str, str]:
    return {"pooler": "transaction"} if value.lower() in _TRUE else {}


def _prepared_statements(value: str) -> dict[str, str]:
    return {"pooler": "transaction"} if value.lower() in _FALSE else {}


# Other people's names of the same: SQLAlchemy and node, Prisma, Rails, JDBC.
_TRANSLATED: Mapping[str, Callable[[str], dict[str, str]]] = {
    "ssl": _tls,
    "sslmode": _tls,
    "sslaccept": _tls_accepted,
    "pgbouncer": _pgbouncer,
    "prepared_statements": _prepared_statements,
    "prepareThreshold": _prepared_statements,
}


def _parameters(query: str) -> dict[str, Any]:
    """One value as text, several as a list."""
    found: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        name, value = unquote_plus(name), unquote_plus(value)
        found[name] = [*([found[name]] if isinstance(found[name], str) else found[name]), value] if name in found else value
    return found


def _unquoted(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UrlProblem("what follows a % in it is no UTF-8") from None


def _split_host(text: str) -> Host:
    if text.startswith("/"):
        return text, None
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/@]*))(?::(\d*))?", text)
    if not found:
        # Perhaps a piece of a password, so it is not repeated.
        raise UrlProblem(
            "a host or its port cannot be read: an IPv6 address stands in [ ], and in a password / ? @ % are written %2F %3F %40 %25"
        )
    host, port = found[1] or found[2], int(found[3]) if found[3] else None
    if port is not None and not 0 < port < 65536:
        raise UrlProblem("a port must be a whole number from 1 to 65535")
    return host or None, port


def _with_ports(hosts: list[Host], ports: str) -> list[Host]:
    if not ports:
        return hosts
    given = ports.split(",")
    if not all(port.isdecimal() and 0 < int(port) < 65536 for port in given) or len(given) not in (1, len(hosts)):
        raise UrlProblem("the parameter port must be one whole number, or one for each host")
    if not hosts:
        return [(None, int(given[0]))]
    return [(host, int(given[at if len(given) > 1 else 0])) for at, (host, _) in enumerate(hosts)]


def _system_tls(query: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if query.get("sslcert"):
        context.load_cert_chain(query["sslcert"], query.get("sslkey"), query.get("sslpassword"))
    return context
