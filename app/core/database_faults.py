"""What a fault of the database means and what mends it: the server's own reason, for the log, the doctor and operators.

The public is told only that the database cannot be used. No reason holds a password: drivers never repeat it.
"""

import re
import socket
import ssl
from collections.abc import Iterator

from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.errors import DatabaseUnavailable, ReadOnlyDatabase, StorageFull

AWAY = "The database cannot be reached."
READ_ONLY = "read-only: a standby, a server set so, or a file that may not be written"
FIX_READ_ONLY = (
    "Let DATABASE_URL name the primary, end default_transaction_read_only (ALTER SYSTEM/DATABASE/ROLE … RESET), or let the file be written."
)
# PostgreSQL's disk_full; SQLite's own word for it, and what it says where a quota rather than the disk ended the write.
_STORAGE_FULL = {"53100", "SQLITE_FULL", "SQLITE_IOERR_WRITE"}
_READ_ONLY = re.compile(r"25006|SQLITE_READONLY(_\w+)?")

Words = tuple[str, str]

# By what is said: one SQLSTATE stands for several of these, and PgBouncer has one for all.
_BY_TEXT: tuple[tuple[str, Words], ...] = (
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        (
            "pg_hba.conf does not let this machine in",
            "Add a line for this machine, user and database to pg_hba.conf and reload the server; where it wants TLS, sslmode=require.",
        ),
    ),
    (
        r"SSL required|connection is insecure|requires? (SSL|TLS)",
        ("TLS is required and not used", "Add sslmode=require, or better verify-full, to DATABASE_URL."),
    ),
    (
        r"rejected SSL upgrade|server does not support SSL",
        (
            "TLS is wanted and not offered",
            "Switch TLS on at the server; on a network you trust sslmode=prefer in DATABASE_URL does without.",
        ),
    ),
    (
        r"root certificate file",
        ("no root certificate", "Name it: sslrootcert=FILE, or sslrootcert=system with sslmode=verify-full, in DATABASE_URL."),
    ),
    (
        r"startup parameter|unrecognized configuration parameter",
        ("unknown parameter", "Take it out of options in DATABASE_URL (for PgBouncer: DATABASE_POOLER=transaction)."),
    ),
    (r"invalid value for parameter", ("bad value of a parameter", "Mend it in options in DATABASE_URL.")),
    (
        r"no such user|role .+ does not exist",
        ("no such role", "CREATE ROLE … LOGIN, or mend the user in DATABASE_URL (for PgBouncer: auth_file)."),
    ),
    (
        r"password authentication failed|SASL authentication failed",
        ("wrong password or user", "Mend user and password in DATABASE_URL; what a URL gives a meaning is written as %XX in them."),
    ),
    (r"no such database", ("no such database", "createdb, or mend the name in DATABASE_URL (for PgBouncer: [databases]).")),
    (
        r"max_client_conn|no more connections allowed|too many clients|remaining connection slots",
        ("too many clients", "Raise max_connections (max_client_conn of PgBouncer), or run fewer processes: each opens up to ten."),
    ),
    (
        r"server login has been failing|cannot connect to server|server_login_retry",
        ("the pooler reaches no server", "The pooler's log says why."),
    ),
    (
        r"query_wait_timeout",
        ("the pooler has no connection free", "Raise default_pool_size of PgBouncer, or look for transactions that stand still."),
    ),
    (
        r"Multiple exceptions: .*Connect call failed",
        ("refused: nobody listens there", "Start the database, or mend host and port in DATABASE_URL."),
    ),
    (r"None of the hosts match", ("no host takes writes", "Promote one, or mend the hosts or target_session_attrs in DATABASE_URL.")),
)
_BY_CODE: dict[str, Words] = {
    "28000": ("not let in", "Mend the user in DATABASE_URL, or let it in at the server (pg_hba.conf, ALTER ROLE … LOGIN)."),
    "3D000": ("no such database", "createdb, or mend the name in DATABASE_URL."),
    "42501": ("permission denied", "GRANT it to the role of DATABASE_URL, or let that own the tables."),
    "42P01": ("the tables are missing", "holdfast migrate"),
    "25006": (READ_ONLY, FIX_READ_ONLY),
    "53100": ("disk full", "Make room on the database's disk."),
    "53200": ("out of memory", "Give the server memory, or lower work_mem and max_connections."),
    "53300": ("too many clients", "Raise max_connections, or run fewer processes: each opens up to ten. PgBouncer in front needs fewer."),
    "55P03": ("a lock was not free in time", "Look for who holds it: pg_stat_activity, pg_locks."),
    "57014": ("a statement took too long", "Look for what it waits for: pg_stat_activity."),
    "57P01": ("shutting down", "Wait, or start the database."),
    "57P03": ("starting up", "Wait: it is starting or recovering."),
    "SQLITE_CANTOPEN": ("the file cannot be opened", "Make the folder of DATABASE_URL exist and let it be written, or mend the path."),
    "SQLITE_NOTADB": ("the file is no database", "Mend the path in DATABASE_URL, or move that file away."),
    "SQLITE_CORRUPT": ("the file is damaged", "Restore it from a backup: docs/operations/backup-and-upgrade.md."),
    "SQLITE_FULL": ("disk full", "Make room on the disk of the file."),
    "SQLITE_IOERR": ("the disk does not read or write", "Look at the disk, its quota and the system's log."),
    "SQLITE_BUSY": ("another process has been writing for long", "Look for a long import or a backup that locks; or use PostgreSQL."),
}
_BY_TYPE: tuple[tuple[type[BaseException], Words], ...] = (
    (PoolTimeout, ("every connection was in use", "More than this process can serve; see DATABASE_TIMEOUT_SECONDS and WEB_CONCURRENCY.")),
    (ssl.SSLCertVerificationError, ("certificate not trusted", "Name who signed it (sslrootcert), and the host as the certificate does.")),
    (ssl.SSLError, ("TLS failed", "Look at sslmode, sslcert and sslkey in DATABASE_URL, and whether a proxy ends TLS before the server.")),
    (socket.gaierror, ("host not found", "Mend the host in DATABASE_URL, or the name service.")),
    (UnicodeError, ("host not found", "Mend the host in DATABASE_URL.")),
    (ConnectionRefusedError, ("refused: nobody listens there", "Start the database, or mend host and port in DATABASE_URL.")),
    (FileNotFoundError, ("no such socket or file", "Start the database, or mend the path in DATABASE_URL.")),
    (PermissionError, ("permission denied", "Let the user that Holdfast runs as use that socket, file or folder.")),
    (ConnectionResetError, ("it closed the connection", "The database's log says why.")),
    (TimeoutError, ("no answer in time", "Look whether it is up, reachable through the firewall, and not overloaded.")),
)
_UNKNOWN: Words = ("an error", "The words of the database say more; its log, too. DATABASE_URL is shown by holdfast config.")


def unavailable(error: BaseException, detail: str = AWAY) -> DatabaseUnavailable:
    """The error to raise for a driver's: what the public is told in `detail`, and the reason with its fix."""
    codes = {code for each in _chain(error) if (code := _code(each))}
    reason, fix = explain(error)
    if codes & _STORAGE_FULL:
        return StorageFull("The storage is full, so nothing can be changed. What you see is what is kept.", reason=reason, fix=fix)
    if any(_READ_ONLY.fullmatch(code) for code in codes):
        return read_only(reason)
    return DatabaseUnavailable(detail, reason=reason, fix=fix)


def read_only(reason: str = READ_ONLY) -> ReadOnlyDatabase:
    return ReadOnlyDatabase(
        "The database is read-only, so nothing can be changed. What you see is what is kept.", reason=reason, fix=FIX_READ_ONLY
    )


def explain(error: BaseException) -> Words:
    """The reason, with the words of whoever said it, and its fix."""
    chain = list(_chain(error))
    for explain_by in (_by_text, _by_code, _by_type):
        for each in chain:
            if words := explain_by(each):
                return _with_words(words[0], each), words[1]
    return _with_words(_UNKNOWN[0], chain[-1]), _UNKNOWN[1]


def _by_text(error: BaseException) -> Words | None:
    return next((words for pattern, words in _BY_TEXT if re.search(pattern, str(error), re.I)), None)


def _by_code(error: BaseException) -> Words | None:
    code = _code(error)
    if _READ_ONLY.fullmatch(code):
        return READ_ONLY, FIX_READ_ONLY
    return _BY_CODE.get(code) or _BY_CODE.get("_".join(code.split("_")[:2]))


def _by_type(error: BaseException) -> Words | None:
    return next((words for kind, words in _BY_TYPE if isinstance(error, kind)), None)


def _with_words(reason: str, error: BaseException) -> str:
    text = getattr(error, "verify_message", "") or " ".join(str(getattr(error, "orig", None) or error).split())
    text = re.sub(r"^\(sqlalchemy[\w.]+\)\s*|^<class '[\w.]+'>:\s*|\(Background on this error.*", "", text)
    return f"{reason} ({text[:200]})" if text else reason


def _code(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None) or "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """It, and what it came from: SQLAlchemy wraps the driver's, and a driver the system's."""
    each: BaseException | None = error
    for _ in range(6):
        if each is None:
            return
        yield each
        each = getattr(each, "orig", None) or each.__cause__
