"""How often one person may call what costs something: a fixed window of a minute, counted in Redis for all processes.

While Redis is down nobody is refused. Without Redis at all each process counts for itself.
"""

from datetime import timedelta
from weakref import WeakKeyDictionary

from app.database import Database
from app.errors import StoreUnavailable, TooManyRequests
from app.resources import Resources

WINDOW_MS = 60_000

# One step, so that no counter is left without an end of its life.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
"""

_own_counts: WeakKeyDictionary[Database, dict[str, int]] = WeakKeyDictionary()


async def limit_rate(house: Resources, name: str, user_id: int, per_minute: int) -> None:
    """Count one call of `name` by this person. Raises `TooManyRequests` beyond `per_minute`; 0 means no limit."""
    if per_minute == 0:
        return
    window, elapsed_ms = divmod(house.clock.unix_ms(), WINDOW_MS)
    count = await _count(house, f"hf:rate:{name}:{user_id}:{window}", window)
    if count > per_minute:
        raise TooManyRequests(f"At most {per_minute} of these a minute.", retry_after=timedelta(milliseconds=WINDOW_MS - elapsed_ms))


async def _count(house: Resources, key: str, window: int) -> int:
    if house.redis is None:
        return _count_here(house, key, window)
    if house.backend.redis_fault:
        return 0
    try:
        async with house.redis.deadline() as commands:
            return int(await commands.eval(_COUNT, 1, key, str(WINDOW_MS)))  # type: ignore[misc]
    except StoreUnavailable:
        return 0


def _count_here(house: Resources, key: str, window: int) -> int:
    counts = _own_counts.setdefault(house.database, {})
    for old in [each for each in counts if not each.endswith(f":{window}")]:
        del counts[old]
    counts[key] = counts.get(key, 0) + 1
    return counts[key]
