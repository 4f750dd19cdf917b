"""What an organisation may have at most: settings, counted in the transaction that adds to it and only as far as the limit.

Close to the limit those who add do so one after the other, so that many at the same moment do not end beyond it together.
"""

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Conflict
from app.models import Deal, Import, OneTimeLink, Organisation, User

MIB = 1024 * 1024
# More than can add at the same moment; farther from the limit nobody waits for anybody.
CROWD = 200


class QuotaReached(Conflict):
    """Says what to do, and until then changes nothing."""


async def check_deals(db: AsyncSession, organisation_id: int, limit: int, *, more: int = 1) -> None:
    """Whether so many `more` may come; 0 where they were added in this transaction."""
    deals = Deal.organisation_id == organisation_id
    there = await _count_up_to(db, limit, deals)
    if limit - CROWD < there + more <= limit:
        await take_turns(db, organisation_id)
        there = await _count_up_to(db, limit, deals)
    refuse_beyond(limit, there + more, "quota_deals", "deals", "Delete some; the bin is emptied by itself")


async def room_for_deals(db: AsyncSession, organisation_id: int, limit: int) -> int | None:
    """How many more may come; None without a limit."""
    return max(0, limit - await _count_up_to(db, limit, Deal.organisation_id == organisation_id)) if limit else None


async def check_people(
    db: AsyncSession, organisation_id: int, limit: int, *, more: int = 1, open_links: ColumnElement[bool] | None = None
) -> None:
    """`open_links` picks the invitations that count beside the people, over `OneTimeLink`."""
    people = User.organisation_id == organisation_id
    there = await _count_up_to(db, limit, people)
    if limit - CROWD < there + more <= limit:
        await take_turns(db, organisation_id)
        there = await _count_up_to(db, limit, people)
    if open_links is not None and there < limit:
        there += await _count_up_to(db, limit, (OneTimeLink.organisation_id == organisation_id) & open_links)
    refuse_beyond(limit, there + more, "quota_people", "people and open invitations", "Withdraw invitations, or ask whoever runs this site")


async def check_import_bytes(db: AsyncSession, organisation_id: int, limit_mib: int, *, more: int, unfinished: ColumnElement[bool]) -> None:
    waiting = select(func.coalesce(func.sum(Import.size), 0)).where(Import.organisation_id == organisation_id, unfinished)
    there = int(await db.scalar(waiting) or 0) if limit_mib else 0
    refuse_beyond(limit_mib, -(-(there + more) // MIB), "quota_import", "MiB of imports that are not finished", "Finish or cancel one")


def refuse_beyond(limit: int, wanted: int, code: str, what: str, advice: str) -> None:
    """Raise `QuotaReached` where there would be more than `limit`; 0 is none."""
    if limit and wanted > limit:
        raise QuotaReached(f"There may be {limit:,} {what} here. {advice}. Nothing was changed.", code=code, limit=limit)


async def take_turns(db: AsyncSession, organisation_id: int) -> None:
    """One transaction after the other; what only refers to the organisation goes on beside it."""
    await db.execute(select(Organisation.id).where(Organisation.id == organisation_id).with_for_update(key_share=True))


async def _count_up_to(db: AsyncSession, limit: int, which: ColumnElement[bool]) -> int:
    if not limit:
        return 0
    some = select(1).where(which).limit(limit + 1).subquery()
    return await db.scalar(select(func.count()).select_from(some)) or 0
