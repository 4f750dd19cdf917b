"""Redis clients with names, one deadline and no retries, bound to the instance whose data may be believed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from hiredis import pack_command
from redis._parsers import _AsyncHiredisParser
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.core.breaker import Breaker
from app.core.errors import StoreUnavailable
from app.core.metrics import METRICS
from app.core.redis_keys import RedisKeys

log = structlog.get_logger()

HEALTH_LIMIT = timedelta(seconds=2)
# For closing connections that nobody uses any more.
CLOSE_LIMIT = timedelta(seconds=2)
SENTINEL_SCHEME = "redis+sentinel://"


class AnotherInstance(RedisConnectionError):
    """The server that answered is not the one whose keys may be read: restarted, failed over, or no master."""


@dataclass(frozen=True)
class Instance:
    """One Redis with one history. A restart changes `run_id`, a failover or resync `replid`.

    Where the keys have a prefix, or are in another database than 0, `run_id` says so, too (`RedisKeys.place`).
    """

    run_id: str
    replid: str
    role: str = "master"


class BrokenCall(RedisConnectionError):
    """The library itself failed, over a connection or an answer: an outage like any other to the caller."""


@contextmanager
def broken_calls() -> Iterator[None]:
    """Round the library and nothing of ours: whatever comes out of it is an error of Redis."""
    try:
        yield
    except (RedisError, OSError, TimeoutError, StoreUnavailable):
        raise
    except Exception as error:
        log.warning("Unhandled error in a call of Redis; it counts as an outage of Redis.", error=repr(error)[:200])
        raise BrokenCall(type(error).__name__) from error


class _Commands(Redis):
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Packed in C, once, and without what tries again: nothing here does."""
        with broken_calls():
            pool = self.connection_pool
            connection = await pool.get_connection()
            try:
                await connection.send_packed_command(pack_command(_words_apart(args)))
                return await self.parse_response(connection, args[0], **options)
            except (RedisConnectionError, RedisTimeoutError, OSError):
                await connection.disconnect()
                raise
            finally:
                await pool.release(connection)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "_Pipeline":
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _Pipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        with broken_calls():
            return await super().execute(raise_on_error)


def _words_apart(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of commands such as SCRIPT LOAD."""
    return (*args[0].split(), *args[1:]) if " " in args[0] else args


class _Pool(BlockingConnectionPool):
    """The library's takes a lock, a timer and a turn of the loop for each connection, also where one lies idle and nobody waits."""

    _waiting = 0

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        if self._available_connections and not self._waiting and _is_quiet(self._available_connections[-1]):
            return self.get_available_connection()  # type: ignore[no-untyped-call]
        self._waiting += 1
        try:
            return await super().get_connection()
        finally:
            self._waiting -= 1

    async def release(self, connection: Any) -> None:
        if self._waiting:
            await super().release(connection)
        else:
            self._in_use_connections.remove(connection)
            self._available_connections.append(connection)


def _is_quiet(connection: Any) -> bool:
    """Open as far as this process has heard, and nothing is left in it of an earlier call."""
    reader = connection._reader
    if reader is None or not isinstance(connection._parser, _AsyncHiredisParser) or connection._writer.is_closing():
        return False
    parsed: Any = connection._parser._reader
    return not (reader._buffer or reader.at_eof() or reader.exception() or parsed.has_data())


class _BoundPool:
    """The connections to one instance, each checked when it was made, and the calls that are under way on them."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.commands = _Commands(connection_pool=pool)
        self.calls = 0
        self.is_retired = False


class RedisClient:
    """`redis.asyncio.Redis` under a name and a deadline. `expected` is the instance every new connection must reach."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        timeout: timedelta,
        max_connections: int = 32,
        breaker: Breaker | None = None,
        keys: RedisKeys | None = None,
    ) -> None:
        self.timeout = timeout
        self.keys = keys or RedisKeys()
        self.breaker = breaker
        self.expected: Instance | None = None
        self._url = url
        self._options: dict[str, Any] = {"timeout": timeout, "max_connections": max_connections, "client_name": name}
        self._closing: set[asyncio.Task[None]] = set()
        self._bound = self._new_bound_pool()

    @property
    def pool(self) -> ConnectionPool:
        return self._bound.pool

    @property
    def commands(self) -> Redis:
        return self._bound.commands

    @asynccontextmanager
    async def deadline(self, limit: timedelta | None = None, *, essential: bool = False) -> AsyncIterator[Redis]:
        """Commands that together may take `timeout`: wait for the pool, connect, check and command. Raises `StoreUnavailable`.

        `essential`: worth waiting for although an earlier call hangs, as a write is, whose failure costs the whole fleet.
        """
        with self.breaker.call(essential=essential) if self.breaker else nullcontext():
            bound = self._bound
            bound.calls += 1
            try:
                async with asyncio.timeout((limit or self.timeout).total_seconds()):
                    yield bound.commands
            except (RedisError, OSError, TimeoutError) as error:
                fault = describe_fault(error)
                METRICS.redis_faults.labels(kind_of_fault(error)).inc()
                if self.breaker and is_outage(error):
                    self.breaker.record_failure(fault)
                raise StoreUnavailable(f"Redis does not serve: {fault}.") from error
            finally:
                bound.calls -= 1
                self._close_if_idle(bound)

    def bind(self, expected: Instance | None) -> None:
        """From now on talk to `expected` only, by connections of its own, each checked as it is made.

        Calls under way end on the old ones, within their deadline; closing those under them failed whoever was just taking one.
        """
        if expected != self.expected:
            previous, self.expected = self._bound, expected
            self._bound = self._new_bound_pool()
            previous.is_retired = True
            self._close_if_idle(previous)

    async def close(self) -> None:
        bound, self._bound = self._bound, self._new_bound_pool()
        await asyncio.gather(*self._closing, _close(bound.pool))

    def _new_bound_pool(self) -> _BoundPool:
        options = self._options | {"redis_connect_func": partial(_check_instance, self.expected, self.keys), "has_deadline": True}
        return _BoundPool(make_pool(self._url, **options))

    def _close_if_idle(self, bound: _BoundPool) -> None:
        if bound.is_retired and not bound.calls:
            closing = asyncio.get_running_loop().create_task(_close(bound.pool), name="close of a Redis pool")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _close(pool: ConnectionPool) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT.total_seconds()):
            await pool.disconnect()
    except Exception as error:  # an instance that is no more cannot close its connections
        log.debug("Connections to Redis were dropped without being closed.", error=repr(error)[:200])


async def _check_instance(expected: Instance | None, keys: RedisKeys, connection: Connection) -> None:
    try:
        await connection.on_connect()
        found = await ask_instance(connection, keys) if expected else None
    except BaseException:  # also when the deadline cancels it: the library itself cleans up after Redis' errors only
        await connection.disconnect(nowait=True)
        raise
    if expected and found and found != expected:
        raise AnotherInstance(f"expected run {expected.run_id[:8]}, found {found.role} {found.run_id[:8]}")


def make_pool(url: str, *, timeout: timedelta, max_connections: int, has_deadline: bool = False, **options: Any) -> ConnectionPool:
    """A bounded pool in which every step has a limit and nothing is retried, for one server or, by
    `redis+sentinel://h1:p1,h2:p2/MASTER/DB`, for whichever server the sentinels call the master.

    `has_deadline`: whoever calls has one limit for all steps, so that those after the connect need none of their own.
    """
    seconds = timeout.total_seconds()
    limits = {"socket_timeout": None if has_deadline else seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
    if not url.startswith(SENTINEL_SCHEME):
        return _Pool.from_url(url, max_connections=max_connections, timeout=seconds, **limits, **options)
    parts = urlsplit(url)
    master, _, number = parts.path.strip("/").partition("/")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    addresses = [(host.rpartition(":")[0] or host, int(host.rpartition(":")[2] or 26379)) for host in hosts.split(",")]
    # All of them, and the master after them, are asked within one deadline: the first may be silent, as is the host a master died with.
    share = seconds / (len(addresses) + 1)
    asking = limits | {"socket_timeout": share, "socket_connect_timeout": share}
    sentinel = Sentinel(addresses, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    login = {"username": unquote(user) or None, "password": unquote(password) or None}
    options |= {"max_connections": max_connections, "timeout": seconds, "db": int(number or 0)} | login | limits
    return _SentinelPool(master, sentinel, **options)  # type: ignore[no-untyped-call]


class _SentinelPool(SentinelConnectionPool, _Pool):
    """Whoever finds every connection in use waits, as with one server; the library's own refuses at once, as if Redis were away."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # the end of this pool, and of its connections to the sentinels
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def is_outage(error: BaseException) -> bool:
    """Whether an error says that this Redis cannot be used, rather than that one command was wrong."""
    if isinstance(error, ResponseError) and not isinstance(error, ReadOnlyError | OutOfMemoryError | NoPermissionError):
        return str(error).startswith(("MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS"))
    return True


async def ask_instance(connection: Connection, keys: RedisKeys) -> Instance:
    facts: dict[str, str] = {}
    # One section a call: several at once are known to newer servers only.
    for section in ("server", "replication"):
        await connection.send_command("INFO", section)
        answer: Any = await connection.read_response()
        facts |= dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    if not {"run_id", "master_replid", "role"} <= facts.keys():
        raise ResponseError("INFO does not tell which server this is; use Valkey, or Redis 6 or newer")
    return Instance(keys.place(facts["run_id"], int(connection.db)), facts["master_replid"], facts["role"])


async def _ask_by_new_connection(pool: ConnectionPool, keys: RedisKeys) -> Instance:
    connection = await pool.get_connection()
    try:
        return await ask_instance(connection, keys)
    finally:
        await pool.release(connection)


async def check_redis_health(client: RedisClient, *, limit: timedelta = HEALTH_LIMIT) -> Instance:
    """SET, GET and DEL of a probe key, and who answered. PING would succeed on a full server and on a read-only replica.

    Raises `StoreUnavailable` with the reason when Redis cannot serve within `limit`. Use a client that is bound to nothing.
    """
    # Also while the names are not known yet: this one is nobody else's.
    probe, token = f"probe:{token_hex(8)}", token_hex(8)
    key = client.keys.name(probe) if client.keys.are_known else f"hf:{probe}"
    async with client.deadline(limit) as commands:
        await commands.set(key, token, px=10_000)
        answer = await commands.get(key)
        await commands.delete(key)
        if answer != token.encode():
            raise StoreUnavailable("Redis does not return what was written to it.")
        with broken_calls():
            instance = await _ask_by_new_connection(commands.connection_pool, client.keys)
    if instance.role != "master":
        raise StoreUnavailable("Redis is a read-only replica.")
    return instance


def describe_fault(error: BaseException) -> str:
    """The kind of fault in words fit for a log or a health page: what the server said, but no address and no password."""
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "no answer in time"
    if isinstance(error, BrokenCall):
        return f"the call broke: {error}"
    if isinstance(error, ResponseError | AuthenticationError | BusyLoadingError | AnotherInstance):
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return "no connection" if isinstance(error, OSError | RedisConnectionError) else type(error).__name__


def kind_of_fault(error: BaseException) -> str:
    """For the figures: silent, no_connection, another_instance, broken or refused."""
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "silent"
    for kind, name in ((BrokenCall, "broken"), (AnotherInstance, "another_instance"), (ResponseError | AuthenticationError, "refused")):
        if isinstance(error, kind):
            return name
    return "no_connection" if isinstance(error, OSError | RedisConnectionError) else "refused"
