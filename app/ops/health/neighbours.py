"""Checks of `doctor` for other installations in the same Redis."""

from collections.abc import Iterator, Sequence
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.core.errors import StoreUnavailable
from app.core.redis import RedisClient
from app.models import Process, SessionBackend
from app.sessions.neighbours import Kinship, Neighbour, find_neighbours, kinship

# State, what was found, the fix.
Result = tuple[Literal["ok", "warning", "failed"], str, str]

_COPY = (
    "a copy of this database is in use under the same names in this Redis, and either may serve the other's sessions: {}",
    "On the copy: holdfast sessions new-installation-id, then restart its processes. Never on the one that stays as it is.",
)
_SAME = (
    "another installation uses the same names in this Redis, and either may take the other's sessions, events and jobs: {}",
    "Set REDIS_PREFIX for one of the two, or another database number in its REDIS_URL, and restart its processes.",
)


async def ask_neighbours(where: Settings | RedisClient) -> list[Neighbour]:
    """None if Redis does not answer, which another check reports."""
    client = where if isinstance(where, RedisClient) else _client(where)
    try:
        return await find_neighbours(client)
    except StoreUnavailable:
        return []
    finally:
        if client is not where:
            await client.close()


async def judge_neighbours(db: AsyncSession, found: Sequence[Neighbour], settings: Settings) -> list[Result]:
    """Empty if there is no other. SQL is read after Redis, so that no own process looks like a stranger."""
    row = (await db.execute(select(SessionBackend))).scalar_one()
    own = set(await db.scalars(select(Process.id)))
    prefix = settings.redis_prefix or row.redis_prefix
    others: dict[Kinship, list[Neighbour]] = {}
    for each in found:
        others.setdefault(kinship(each, installation=row.installation_id, prefix=prefix, own_processes=own), []).append(each)
    return list(_describe(others))


def _describe(others: dict[Kinship, list[Neighbour]]) -> Iterator[Result]:
    if copies := others.get("copy"):
        yield "failed", _COPY[0].format(_named(copies)), _COPY[1]
    if namesakes := others.get("same names"):
        yield "failed", _SAME[0].format(_named(namesakes)), _SAME[1]
    if apart := others.get("apart"):
        yield "ok", f"others use this Redis under names of their own: {_named(apart)}", ""


def _named(found: Sequence[Neighbour]) -> str:
    """By database, at most three of them: anybody may have written there."""
    by_database = {each.database: each for each in found}
    names = [f"{each.names} of {database} ({each.process.partition(':')[0]})"[:300] for database, each in sorted(by_database.items())]
    return "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")


def _client(settings: Settings) -> RedisClient:
    assert settings.redis_url
    return RedisClient(settings.redis_url, name="holdfast-doctor", timeout=settings.redis_timeout, max_connections=2)
