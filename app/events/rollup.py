"""Hourly: applies from SQL what the stream may have lost, and deletes rows that no statistics need any more."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from sqlalchemy import ColumnElement, delete

from app.core.clock import Clock
from app.core.database import Database
from app.core.statements import execute_dml
from app.events.effects import EFFECTS, catch_up
from app.events.measures import FIVE_MINUTES
from app.models import Analytics, DeadLetter, UserNotice

# The chart of five minutes shows an hour.
FINE_RETENTION = timedelta(days=2)
NOTICE_RETENTION = timedelta(days=90)
DEAD_LETTER_RETENTION = timedelta(days=90)


class DatabaseAndClock(Protocol):
    """What this needs of `Resources`, which stand above the events."""

    @property
    def database(self) -> Database: ...
    @property
    def clock(self) -> Clock: ...


@dataclass(frozen=True)
class RolledUp:
    """How many effects were missing, by group, and how many old rows went."""

    applied: dict[str, int]
    deleted: int


async def roll_up(resources: DatabaseAndClock) -> RolledUp:
    """Idempotent and safe to run twice at once. Raises `DatabaseUnavailable`; committed work stays."""
    database, now = resources.database, resources.clock.now()
    applied = {group: await catch_up(database, resources.clock, group) for group in EFFECTS}
    old: tuple[tuple[type, ColumnElement[bool]], ...] = (
        (Analytics, (Analytics.resolution == FIVE_MINUTES) & (Analytics.start < now - FINE_RETENTION)),
        (UserNotice, UserNotice.created_at < now - NOTICE_RETENTION),
        (DeadLetter, DeadLetter.resolved_at < now - DEAD_LETTER_RETENTION),
    )
    deleted = 0
    for table, over in old:
        async with database.write() as db:
            deleted += await execute_dml(db, delete(table).where(over))
    return RolledUp(applied, deleted)
