"""The weekly sweep: people forget deals and places they cannot come back to, and the bin is emptied of what nobody can bring back."""

from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Row, case, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import BIN_LIFE, granted_now, sees_last_deal
from app.core.batches import MAX_ROWS, BatchSizer, ProgressCallback, no_progress
from app.core.clock import Clock
from app.core.database import Database
from app.core.statements import execute_dml, execute_returning
from app.current_deal.places import is_lost
from app.events.service import event_row, is_audited
from app.models import Deal, Event, Member, Place, User


@dataclass
class Swept:
    """Last deals forgotten, by why their people cannot come back to them; deals that left the bin for good; places forgotten."""

    deleted: int = 0
    revoked: int = 0
    expired: int = 0
    purged: int = 0
    places: int = 0


async def sweep_stale_deals(database: Database, clock: Clock, *, progress: ProgressCallback = no_progress) -> Swept:
    """May be repeated and cut short at any point. Raises `DatabaseUnavailable`; what is done by then stays done."""
    swept, batches, after = Swept(), BatchSizer(), 0
    while window := await _next_window(database, clock.now(), after):
        after = window[-1].id
        stale = iter([row for row in window if not row.sees])
        while chunk := list(islice(stale, batches.rows)):
            for reason in await _forget(database, {row.id: row for row in chunk}, clock.now(), batches):
                setattr(swept, reason, getattr(swept, reason) + 1)
            await progress(**asdict(swept))
            await batches.throttle()
    bin_batches = BatchSizer()
    while purged := await _empty_bin(database, clock.now(), bin_batches):
        swept.purged += purged
        await progress(**asdict(swept))
        await bin_batches.throttle()
    place_batches = BatchSizer()
    while forgotten := await _forget_places(database, clock.now(), place_batches):
        swept.places += forgotten
        await progress(**asdict(swept))
        await place_batches.throttle()
    return swept


async def _next_window(database: Database, now: datetime, after: int) -> list[Row[Any]]:
    """The next people with a last deal, and whether they may see it. Read beside everybody else; `_forget` looks again."""
    ended = exists().where(Member.deal_id == User.last_deal_id, Member.user_id == User.id, Member.expires_at <= now)
    reason = case((Deal.deleted_at.is_not(None), "deleted"), (ended, "expired"), else_="revoked").label("reason")
    people = (
        select(User.id, User.last_deal_id, User.last_deal_version, sees_last_deal(now).label("sees"), reason)
        .join(Deal, Deal.id == User.last_deal_id)
        # Who is disabled sees nothing, which is no loss of this deal.
        .where(User.id > after, User.disabled_at.is_(None))
        .order_by(User.id)
        .limit(MAX_ROWS)
    )
    async with database.read() as db:
        return list((await db.execute(people)).all())


async def _forget(database: Database, seen: dict[int, Row[Any]], now: datetime, batches: BatchSizer) -> list[str]:
    """Forget the last deals of these people, unless the choice or the access changed since the look. Returns the reasons.

    SKIP LOCKED: whoever is choosing a deal at this moment is left alone until the next sweep.
    """
    with batches.batch():
        async with database.write() as db:
            still = select(User.id, User.organisation_id, User.last_deal_version).where(User.id.in_(seen), ~sees_last_deal(now))
            rows = (await db.execute(still.order_by(User.id).with_for_update(of=User, key_share=True, skip_locked=True))).all()
            gone = [row for row in rows if row.last_deal_version == seen[row.id].last_deal_version]
            cleared = update(User).where(User.id.in_([row.id for row in gone]))
            await execute_dml(
                db, cleared.values(last_deal_id=None, last_deal_accessed_at=None, last_deal_version=User.last_deal_version + 1)
            )
            whom = ({"user_id": row.id, "organisation_id": row.organisation_id, "deal_id": seen[row.id].last_deal_id} for row in gone)
            await _record(db, [event_row("deal.swept", at=now, reason=seen[who["user_id"]].reason, **who) for who in whom])
    return [seen[row.id].reason for row in gone]


async def _empty_bin(database: Database, now: datetime, batches: BatchSizer) -> int:
    """Delete the deals that were longest in the bin; how many."""
    over = Deal.deleted_at <= now - BIN_LIFE
    with batches.batch() as rows:
        async with database.write() as db:
            found = select(Deal.id).where(over).order_by(Deal.deleted_at).limit(rows).with_for_update(skip_locked=True)
            gone = delete(Deal).where(Deal.id.in_(found), over).returning(Deal.id, Deal.organisation_id)
            deals = await execute_returning(db, gone)
            await _record(db, [event_row("deal.purged", at=now, deal_id=deal.id, organisation_id=deal.organisation_id) for deal in deals])
    return len(deals)


async def _forget_places(database: Database, now: datetime, batches: BatchSizer) -> int:
    """Delete the next places that nobody comes back to: a year old, or in a deal that their person no longer reaches; how many."""
    with batches.batch() as rows:
        async with database.write() as db:
            of = select(Place.id).join(User, User.id == Place.user_id).outerjoin(Deal, Deal.id == Place.deal_id)
            lost = of.outerjoin(Member, granted_now(now)).where(is_lost(now)).limit(rows)
            return await execute_dml(db, delete(Place).where(Place.id.in_(lost)))


async def _record(db: AsyncSession, events: list[dict[str, Any]]) -> None:
    if events and is_audited(db):
        await db.execute(insert(Event), events)
