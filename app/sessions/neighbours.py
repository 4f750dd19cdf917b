"""Who else uses this Redis: every process of every installation shows itself there, so that `doctor` can report the others.

Nothing is decided by it. One key for all, in which whoever fell silent is gone after a minute.
"""

from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version
from typing import Literal

import msgspec
import structlog
from sqlalchemy import URL

from app.core.errors import StoreUnavailable
from app.core.redis import RedisClient
from app.core.redis_keys import INSTALLATIONS_KEY, RedisKeys

log = structlog.get_logger()

ANNOUNCE_INTERVAL = timedelta(seconds=10)
EXPIRES_AFTER = timedelta(minutes=1)
# More than a fleet has; whoever writes there to fill our memory is not read.
MAX_READ = 1000

# By the clock of Redis: those of two installations may differ.
_SHOW = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
_FIND = """
return redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', tonumber(redis.call('TIME')[1]) - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])
"""


class Neighbour(msgspec.Struct, frozen=True):
    """A process, of this installation or another one. Whoever writes to Redis may claim to be any."""

    installation: str
    prefix: str
    process: str
    database: str
    version: str

    @property
    def names(self) -> str:
        return f"hf:{self.prefix}:" if self.prefix else "hf:"


Kinship = Literal["own", "copy", "same names", "apart"]


def kinship(other: Neighbour, *, installation: str, prefix: str, own_processes: set[str]) -> Kinship:
    """How another process stands to an installation. One that its database knows of is its own, whatever it calls itself."""
    if other.process in own_processes:
        return "own"
    if other.prefix != prefix:
        return "apart"
    return "copy" if other.installation == installation else "same names"


class Presence:
    """This process's part in it. `client` None: it shows itself to nobody."""

    def __init__(self, client: RedisClient | None, keys: RedisKeys, *, process: str, database: URL) -> None:
        self.client = client
        self.keys = keys
        self.process = process
        self.database = _describe(database)
        self._shown_at: float | None = None

    @property
    def me(self) -> Neighbour:
        return Neighbour(self.keys.installation_id, self.keys.prefix or "", self.process, self.database, version("holdfast"))

    async def show(self, now: float) -> None:
        """Where it is time for that, and after SQL knows this process: who is here and not there belongs to a copy.

        Raises `StoreUnavailable`.
        """
        if self.client is None or (self._shown_at is not None and now - self._shown_at < ANNOUNCE_INTERVAL.total_seconds()):
            return
        self._shown_at = now
        async with self.client.deadline() as commands:
            limit = str(int(EXPIRES_AFTER.total_seconds()))
            await commands.eval(_SHOW, 1, INSTALLATIONS_KEY, msgspec.json.encode(self.me), limit)  # type: ignore[arg-type,misc]

    async def end(self) -> None:
        if self.client and self._shown_at is not None:
            with suppress(StoreUnavailable):
                async with self.client.deadline() as commands:
                    await commands.zrem(INSTALLATIONS_KEY, msgspec.json.encode(self.me))


async def find_neighbours(client: RedisClient) -> list[Neighbour]:
    """All that were seen within the last minute, oneself among them. Raises `StoreUnavailable`."""
    limits = (str(int(EXPIRES_AFTER.total_seconds())), str(MAX_READ))
    async with client.deadline() as commands:
        shown: list[bytes] = await commands.eval(_FIND, 1, INSTALLATIONS_KEY, *limits)  # type: ignore[misc]
    found = []
    for each in shown:
        try:
            found.append(msgspec.json.decode(each, type=Neighbour))
        except msgspec.DecodeError:
            log.info("Somebody shows itself in Redis in a way this version does not know.", key=INSTALLATIONS_KEY)
    return found


def _describe(url: URL) -> str:
    """Where a database is, without who asks it."""
    return f"{url.get_backend_name()} {url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"[:200]
