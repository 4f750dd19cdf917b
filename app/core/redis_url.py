"""REDIS_URL as hosting services and other libraries spell it: each parameter is understood, dropped knowingly, or refused."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from app.core.database_url import UrlProblem

# Handed to the client, which reads them from the URL.
TLS_PARAMETERS = {"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
OWN_PARAMETERS = {"db", "username", "password", "socket_keepalive"}
# REDIS_TIMEOUT_SECONDS, the pool and the names of our clients stand in their place, or they would change what an answer looks like.
DROPPED_PARAMETERS = {
    *("socket_timeout", "socket_connect_timeout", "timeout", "connect_timeout", "max_connections", "health_check_interval"),
    *("client_name", "lib_name", "lib_version", "protocol", "retry_on_timeout", "decode_responses", "encoding", "encoding_errors"),
    *("family", "socket_read_size", "ssl_min_version", "ssl_ciphers", "abortConnect", "allkeys", "virtual_host"),
}
_CERTIFICATES = ("required", "optional", "none")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def check_redis_url(text: str, *, tls_only: bool = False) -> str:
    """The URL as the clients are to have it. Raises `UrlProblem`, whose words hold no part of the password."""
    base, mark, query = text.strip().partition("?")
    try:
        parts = urlsplit(base)
        port = parts.port if parts.scheme in ("redis", "rediss") else None
    except ValueError:
        raise UrlProblem("its host or port cannot be read; in a password / ? # @ % are written %2F %3F %23 %40 %25") from None
    if parts.fragment or "@" in query:
        raise UrlProblem("in a password # and ? are written %23 and %3F")
    if tls_only and parts.scheme != "rediss":
        raise UrlProblem("only rediss:// is TLS")
    _check_place(parts.scheme, parts.netloc, parts.path, parts.hostname, port)
    if not mark:
        return text.strip()
    kept = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in ("ssl", "tls") and value.lower() in (*_TRUE, *_FALSE):
            if (value.lower() in _TRUE) != (parts.scheme == "rediss"):
                raise UrlProblem(f"the parameter {name} contradicts {parts.scheme}://; TLS is rediss://")
        elif name in TLS_PARAMETERS | OWN_PARAMETERS:
            kept[name] = _checked(parts.scheme, name, value)
        elif name not in DROPPED_PARAMETERS:
            raise UrlProblem(f"the parameter {name[:40]!r} is not understood; docs/configuration.md lists what is")
    return f"{base}?{urlencode(kept)}" if kept else base


def _check_place(scheme: str, netloc: str, path: str, host: str | None, port: int | None) -> None:
    if scheme == "unix":
        fits = len(path) > 1
    elif scheme == "redis+sentinel":
        servers = netloc.rpartition("@")[2].split(",")
        fits = all(re.fullmatch(r"[^:]+(:\d{1,5})?", server) for server in servers) and bool(re.fullmatch(r"/[^/]+(/\d+)?", path))
    elif scheme in ("redis", "rediss"):
        fits = bool(host) and port != 0 and bool(re.fullmatch(r"(/\d*)?", path))
    else:
        raise UrlProblem(f"{scheme[:40]}:// is none of redis://, rediss://, unix:// and redis+sentinel://")
    if not fits:
        raise UrlProblem("it lacks its host or path, or names a database that is no number; in a password / @ are written %2F %40")


def _checked(scheme: str, name: str, value: str) -> str:
    if scheme == "redis+sentinel":
        raise UrlProblem(f"the parameter {name} is not understood with redis+sentinel://")
    if name in TLS_PARAMETERS and scheme != "rediss":
        raise UrlProblem(f"the parameter {name} needs rediss://")
    if name == "db" and not value.isdecimal():
        raise UrlProblem("the parameter db must be a whole number")
    if name in ("ssl_check_hostname", "socket_keepalive") and value.lower() not in (*_TRUE, *_FALSE):
        raise UrlProblem(f"the parameter {name} must be true or false")
    if name == "ssl_cert_reqs":
        value = value.lower().removeprefix("cert_")
        if value not in _CERTIFICATES:
            raise UrlProblem(f"the parameter {name} must be {', '.join(_CERTIFICATES)}")
    if name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") and not Path(value).is_file():
        raise UrlProblem(f"the parameter {name} names a file that is not there: {value[:200]!r}")
    return value
