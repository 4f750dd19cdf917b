"""Redis clients with names, one deadline and no retries, bound to the instance whose data may be believed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis
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

from app.breaker import Breaker
from app.errors import StoreUnavailable

HEALTH_LIMIT = timedelta(seconds=2)
SENTINEL_SCHEME = "redis+sentinel://"


class AnotherInstance(RedisConnectionError):
    """The server that answered is not the one whose keys may be read: restarted, failed over, or no master."""


@dataclass(frozen=True)
class Instance:
    """One Redis with one history. A restart changes `run_id`, a failover or resync `replid`."""

    run_id: str
    replid: str
    role: str = "master"


class RedisClient:
    """`redis.asyncio.Redis` under a name and a deadline. `expected` is the instance every new connection must reach."""

    def __init__(self, url: str, *, name: str, timeout: timedelta, max_connections: int = 32, breaker: Breaker | None = None) -> None:
        self.timeout = timeout
        self.breaker = breaker
        self.expected: Instance | None = None
        self._leaving: asyncio.Future[None] | None = None
        self.pool = make_pool(
            url, timeout=timeout, max_connections=max_connections, client_name=name, redis_connect_func=self._check_instance
        )
        self.commands: Redis = Redis(connection_pool=self.pool)

    @asynccontextmanager
    async def deadline(self, limit: timedelta | None = None, *, patient: bool = False) -> AsyncIterator[Redis]:
        """Commands that together may take `timeout`: wait for the pool, connect, check and command. Raises `StoreUnavailable`.

        `patient`: worth waiting for although an earlier call hangs, as a write is, whose failure costs the whole fleet.
        """
        with self.breaker.call(patient=patient) if self.breaker else nullcontext():
            try:
                async with asyncio.timeout((limit or self.timeout).total_seconds()):
                    yield self.commands
            except (RedisError, OSError, TimeoutError) as error:
                fault = describe_fault(error)
                if self.breaker and is_outage(error):
                    self.breaker.failed(fault)
                raise StoreUnavailable(f"Redis does not serve: {fault}.") from error

    async def bind(self, expected: Instance | None) -> None:
        """From now on talk to `expected` only. Connections made before are closed; the next ones are checked."""
        if expected != self.expected:
            self.expected = expected
            # To its end also where whoever asks for it is cancelled: what was not closed would be taken for checked.
            self._leaving = asyncio.ensure_future(self.pool.disconnect(inuse_connections=False))
            with suppress(RedisError, OSError, TimeoutError):  # an instance that is no more need not take leave
                await asyncio.shield(self._leaving)

    async def close(self) -> None:
        await self.commands.aclose()
        await self.pool.disconnect()

    async def _check_instance(self, connection: Connection) -> None:
        try:
            await connection.on_connect()
            found = await ask_instance(connection) if self.expected else None
        except BaseException:  # also when the deadline cancels it: the library itself cleans up after Redis' errors only
            await connection.disconnect(nowait=True)
            raise
        if self.expected and found and found != self.expected:
            raise AnotherInstance(f"expected run {self.expected.run_id[:8]}, found {found.role} {found.run_id[:8]}")


def make_pool(url: str, *, timeout: timedelta, max_connections: int, **options: Any) -> ConnectionPool:
    """A bounded pool in which every step has a limit and nothing is retried, for one server or, by
    `redis+sentinel://h1:p1,h2:p2/MASTER/DB`, for whichever server the sentinels call the master."""
    seconds = timeout.total_seconds()
    limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
    if not url.startswith(SENTINEL_SCHEME):
        return BlockingConnectionPool.from_url(url, max_connections=max_connections, timeout=seconds, **limits, **options)
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


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
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


async def ask_instance(connection: Connection) -> Instance:
    facts: dict[str, str] = {}
    # One section a call: several at once are known to newer servers only.
    for section in ("server", "replication"):
        await connection.send_command("INFO", section)
        answer: Any = await connection.read_response()
        facts |= dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
    if not {"run_id", "master_replid", "role"} <= facts.keys():
        raise ResponseError("INFO does not tell which server this is; use Valkey, or Redis 6 or newer")
    return Instance(facts["run_id"], facts["master_replid"], facts["role"])


async def check_redis_health(client: RedisClient, *, limit: timedelta = HEALTH_LIMIT) -> Instance:
    """SET, GET and DEL of a probe key, and who answered. PING would succeed on a full server and on a read-only replica.

    Raises `StoreUnavailable` with the reason when Redis cannot serve within `limit`. Use a client that is bound to nothing.
    """
    key, token = f"hf:probe:{token_hex(8)}", token_hex(8)
    async with client.deadline(limit) as commands:
        await commands.set(key, token, px=10_000)
        answer = await commands.get(key)
        await commands.delete(key)
        if answer != token.encode():
            raise StoreUnavailable("Redis does not return what was written to it.")
        connection = await client.pool.get_connection()
        try:
            instance = await ask_instance(connection)
        finally:
            await client.pool.release(connection)
    if instance.role != "master":
        raise StoreUnavailable("Redis is a read-only replica.")
    return instance


def describe_fault(error: BaseException) -> str:
    """The kind of fault in words fit for a log or a health page: what the server said, but no address and no password."""
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return "no answer in time"
    if isinstance(error, ResponseError | AuthenticationError | BusyLoadingError | AnotherInstance):
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return "no connection" if isinstance(error, OSError | RedisConnectionError) else type(error).__name__
