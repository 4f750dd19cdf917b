"""How often one person may call what costs something: a fixed window of a minute, counted in Redis for all processes.

While Redis is down nobody is refused. Without Redis at all each process counts for itself.

Every route has its limit by what it is (`limit_of`), so that a new one has it, too; a test walks the URL map.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from quart import Quart, Request

from app.core.database import Database
from app.core.errors import RateLimited, StoreUnavailable
from app.http.security_headers import SAFE_METHODS
from app.http.web import Access, current_resources
from app.resources import Resources
from app.sessions.interface import current_session

WINDOW_MS = 60_000

# One step, so that no counter is left without an end of its life.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
"""

Limit = Literal["write", "export", "run"]
View = TypeVar("View", bound=Callable[..., Any])
# Files made for the asker: activity.csv, an .xlsx, one's own data.
_EXPORT = re.compile(r"\.[a-z]+$|/export$")
_JOBS = ("/ops/jobs/", "/api/ops/jobs/")

_own_counts: WeakKeyDictionary[Database, dict[str, int]] = WeakKeyDictionary()


def limits_itself(view: View) -> View:
    """For a view that calls `limit_rate` with a limit of its own."""
    view.limits_itself = True  # type: ignore[attr-defined]
    return view


def limit_of(app: Quart, endpoint: str, rule: str, method: str) -> Limit | None:
    """What one person's requests to a route are counted as; None for what is read, and for a view that limits itself."""
    if getattr(app.view_functions[endpoint], "limits_itself", False):
        return None
    if method in SAFE_METHODS:
        return "export" if _EXPORT.search(rule) else None
    return "run" if rule.startswith(_JOBS) else "write"


async def limit_request(app: Quart, request: Request, access: Access) -> None:
    """After access is checked: who may not ask is told so."""
    rule = request.url_rule
    if rule is None or access is Access.PUBLIC:
        return
    known: dict[tuple[str, str, str], Limit | None] = app.extensions.setdefault("limits", {})
    asked = rule.endpoint, rule.rule, request.method
    if asked not in known:
        known[asked] = limit_of(app, *asked)
    if limit := known[asked]:
        resources = current_resources()
        await limit_rate(resources, limit, current_session().user_id, getattr(resources.settings, f"rate_limit_{limit}"))


async def limit_rate(resources: Resources, name: str, user_id: int, per_minute: int) -> None:
    """Count one call of `name` by this person. Raises `TooManyRequests` beyond `per_minute`; 0 means no limit."""
    if per_minute == 0:
        return
    window, elapsed_ms = divmod(resources.clock.unix_ms(), WINDOW_MS)
    count = await _count(resources, f"rate:{name}:{user_id}:{window}", window)
    if count > per_minute:
        raise RateLimited(f"At most {per_minute} of these a minute.", retry_after=timedelta(milliseconds=WINDOW_MS - elapsed_ms))


async def _count(resources: Resources, key: str, window: int) -> int:
    if resources.redis is None:
        return _count_here(resources, key, window)
    if resources.backend.redis_fault:
        return 0
    try:
        async with resources.redis.deadline() as commands:
            return int(await commands.eval(_COUNT, 1, resources.redis.keys.name(key), str(WINDOW_MS)))  # type: ignore[misc]
    except StoreUnavailable:
        return 0


def _count_here(resources: Resources, key: str, window: int) -> int:
    counts = _own_counts.setdefault(resources.database, {})
    for old in [each for each in counts if not each.endswith(f":{window}")]:
        del counts[old]
    counts[key] = counts.get(key, 0) + 1
    return counts[key]
