"""How often an organisation's people are restored to their deal: its own switch, the setting in force, and the counts of events."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.administrators import lock_administered
from app.core.statements import execute_dml
from app.current_deal.restore import RESTORE_SWITCH, who_decides_restore
from app.events.service import record_event
from app.models import Event, Organisation
from app.resources import Resources

PERIOD = timedelta(days=30)
# What the product promises: of all returns, refusals counted as failures; and of those that could succeed.
TARGET_OF_ALL, TARGET_OF_POSSIBLE = 95.0, 99.9
RESTORED, REFUSED, SIGNED_IN = "deal.restored", "deal.restore_refused", "login.succeeded"


@dataclass(frozen=True)
class RestoreFigures:
    """Of the last `days`. `nothing` are sign-ins with no deal to come back to: cleared, switched off, or never chosen."""

    days: int
    restored: int
    only_deal: int
    refused_deleted: int
    refused_revoked: int
    sign_ins: int
    nothing: int

    @property
    def refused(self) -> int:
        return self.refused_deleted + self.refused_revoked

    @property
    def percent(self) -> float | None:
        """None where nobody came back at all."""
        tried = self.restored + self.refused
        return round(100 * self.restored / tried, 1) if tried else None


@dataclass(frozen=True)
class RestoreState:
    """`decided_by`: environment, operator or organisation; `choice` is the organisation's own, in force or not."""

    enabled: bool
    decided_by: str
    choice: bool


async def get_restore_state(db: AsyncSession, resources: Resources, organisation_id: int) -> RestoreState:
    choice = bool(await db.scalar(select(Organisation.auto_restore_deal).where(Organisation.id == organisation_id)))
    configured, switched = resources.settings.auto_restore_deal, resources.switches.get(RESTORE_SWITCH)
    enabled, decided_by = who_decides_restore(configured, switched, organisation=choice)
    return RestoreState(enabled, decided_by, choice)


async def choose_restore(resources: Resources, admin_id: int, *, enabled: bool) -> None:
    """The organisation's own switch; it counts from the next request of a session without a deal."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        organisation_id = await lock_administered(db, admin_id)
        changed = (
            update(Organisation)
            .where(Organisation.id == organisation_id, Organisation.auto_restore_deal.is_not(enabled))
            .values(auto_restore_deal=enabled)
        )
        if await execute_dml(db, changed):
            ids = {"organisation_id": organisation_id, "actor_id": admin_id}
            await record_event(db, "organisation.auto_restore_changed", at=now, enabled=enabled, **ids)


async def get_figures(db: AsyncSession, organisation_id: int, *, now: datetime) -> RestoreFigures:
    """From the events, in two statements by an index of their own."""
    recent: Any = (Event.organisation_id == organisation_id, Event.at > now - PERIOD)
    what = case(
        (Event.kind == RESTORED, Event.payload["source"].as_string()),
        (Event.kind == REFUSED, Event.payload["reason"].as_string()),
        else_="",
    )
    counted = select(Event.kind, what.label("what"), func.count().label("times")).where(
        *recent, Event.kind.in_((RESTORED, REFUSED, SIGNED_IN))
    )
    counts = {(row.kind, row.what): row.times for row in await db.execute(counted.group_by(Event.kind, what))}
    sign_ins = counts.get((SIGNED_IN, ""), 0)
    # A sign-in and its outcome are events of one transaction and one request.
    brought = select(func.count(func.distinct(Event.request_id))).where(
        *recent, Event.kind.in_((RESTORED, REFUSED)), Event.request_id != ""
    )
    signed_in = select(Event.request_id).where(*recent, Event.kind == SIGNED_IN)
    with_outcome = await db.scalar(brought.where(Event.request_id.in_(signed_in))) or 0
    return RestoreFigures(
        days=PERIOD.days,
        restored=counts.get((RESTORED, "restored"), 0),
        only_deal=counts.get((RESTORED, "only_deal"), 0),
        refused_deleted=counts.get((REFUSED, "refused_deleted"), 0),
        refused_revoked=counts.get((REFUSED, "refused_revoked"), 0),
        sign_ins=sign_ins,
        nothing=max(0, sign_ins - with_outcome),
    )
