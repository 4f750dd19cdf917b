"""Slows down guessing. Failures are counted in SQL, so that neither Redis nor a restart forgets them.

An attempt is refused by one counter, that of its address, and slowed down by another, that of the account: beyond the limit strangers
are looked at one after the other, all processes and addresses together, with seconds between two (`take_turn`). A browser known to
the account by its device cookie has one counter of its own instead of both, and so has an address that signed in to it before.
From the sixth failure on each counter counts against whoever is subject to it, longer every time; a quiet quarter of an
hour, or a success on the account, forgets.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import TooManyRequests
from app.core.hosts import network_of
from app.core.statements import execute_dml, fetch, insert_into, run
from app.models import LoginAttempt
from app.models.base import UtcDateTime

QUIET = timedelta(minutes=15)
MAX_BLOCK = timedelta(seconds=60)
MIN_SLOWDOWN = timedelta(seconds=0.5)


@dataclass(frozen=True)
class Attempt:
    """The counters of one attempt: those that refuse it (`subject_to`), slow it down, count its failure, and are reset by its success."""

    subject_to: tuple[str, ...]
    slowed_by: str | None
    counts_for: tuple[str, ...]
    forgotten_on_success: tuple[str, ...]


def attempt(email: str, address: str, *, known_here: bool, known_browser: str | None = None) -> Attempt:
    """`known_here`: this address has signed in to this account before; `known_browser`: this browser has, under this hash."""
    account, here, pair = _key("account", email), _key("address", network_of(address)), _key("pair", email, network_of(address))
    if known_browser:
        # Not for the address, whose other people may be strangers to this browser's failures.
        device = _key("device", known_browser)
        return Attempt(subject_to=(device,), slowed_by=None, counts_for=(device,), forgotten_on_success=(account, device))
    if known_here:
        return Attempt(subject_to=(pair,), slowed_by=None, counts_for=(pair, here), forgotten_on_success=(account, pair))
    return Attempt(subject_to=(here,), slowed_by=account, counts_for=(account, here), forgotten_on_success=(account, pair))


async def refuse_while_blocked(db: AsyncSession, keys: Sequence[str], *, now: datetime) -> None:
    """Raise TooManyRequests while one of these counters is blocked."""
    until = (await fetch(db, _BLOCKED_UNTIL, keys=keys))[0][0]
    if until is not None and until > now:
        raise TooManyRequests("Too many failed attempts. Please wait a moment.", retry_after=until - now)


async def read_failures(db: AsyncSession, keys: Sequence[str], *, now: datetime) -> dict[str, int]:
    """The recent failures of these counters."""
    return {row.key: row.failures for row in await fetch(db, _FAILURES, keys=keys, since=now - QUIET)}


async def take_turn(db: AsyncSession, key: str, *, allowed: int, longest: timedelta, within: timedelta, now: datetime) -> timedelta | None:
    """Take the next turn at a name: how long until then. The one after it comes `longest` later at most. None: not `within` that.

    `blocked_until` of such a counter is when the next turn is free.
    """
    found = select(LoginAttempt.failures, LoginAttempt.blocked_until).where(LoginAttempt.key == key).with_for_update()
    row = (await db.execute(found)).first()
    if row is None:  # somebody signed in
        return timedelta(0)
    turn = max(row.blocked_until or now, now)
    if turn - now > within:
        return None
    pause = min(longest, MIN_SLOWDOWN * 2 ** max(0, min(row.failures - allowed, 10)))
    await execute_dml(db, update(LoginAttempt).where(LoginAttempt.key == key).values(blocked_until=turn + pause))
    return turn - now


async def count_failure(db: AsyncSession, attempt: Attempt, *, allowed: int, now: datetime) -> timedelta | None:
    """Count one failure; how long the counters this attempt was subject to are blocked from now, or None. 0 `allowed` = no limit."""
    if not allowed:
        return None
    blocks = []
    # One order for everybody, so that two failures never wait for each other.
    for key in sorted(attempt.counts_for):
        failures = await _count(db, key, now=now)
        if failures > allowed and key != attempt.slowed_by:
            block = min(MAX_BLOCK, timedelta(seconds=2 ** min(failures - allowed - 1, 10)))
            await execute_dml(db, update(LoginAttempt).where(LoginAttempt.key == key).values(blocked_until=now + block))
            if key in attempt.subject_to:
                blocks.append(block)
    return max(blocks, default=None)


async def forget_failures(db: AsyncSession, attempt: Attempt) -> None:
    await run(db, _FORGET, keys=attempt.forgotten_on_success)


async def delete_forgotten(db: AsyncSession, *, now: datetime) -> int:
    """Delete counters that have lapsed."""
    return await execute_dml(db, delete(LoginAttempt).where(_last_activity() < now - QUIET))


async def _count(db: AsyncSession, key: str, *, now: datetime) -> int:
    quiet = _last_activity() < now - QUIET
    statement = insert_into(db, LoginAttempt).values(key=key, failures=1, first_failed_at=now)
    failures = await db.scalar(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "failures": case((quiet, 1), else_=LoginAttempt.failures + 1),
                "first_failed_at": case((quiet, now), else_=LoginAttempt.first_failed_at),
                "blocked_until": case((quiet, None), else_=LoginAttempt.blocked_until),
            },
        ).returning(LoginAttempt.failures)
    )
    return failures or 0


def _last_activity() -> ColumnElement[datetime]:
    return func.coalesce(LoginAttempt.blocked_until, LoginAttempt.first_failed_at)


def _key(kind: str, *values: str) -> str:
    """E-mail and address are stored as hashes only."""
    return hashlib.sha256("\0".join((kind, *values)).encode("utf-8", "surrogatepass")).hexdigest()


_AMONG = LoginAttempt.key.in_(bindparam("keys", expanding=True))
_BLOCKED_UNTIL = select(func.max(LoginAttempt.blocked_until)).where(_AMONG)
_FAILURES = select(LoginAttempt.key, LoginAttempt.failures).where(_AMONG, _last_activity() >= bindparam("since", type_=UtcDateTime()))
_FORGET = delete(LoginAttempt).where(_AMONG)
