"""Who may administer an organisation. SQL decides each time, so a demotion takes effect with the next request."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Forbidden
from app.core.statements import fetch
from app.models import USER_ID, User

_ADMINISTERED = select(User.organisation_id).where(User.id == USER_ID, User.role == "admin", User.disabled_at.is_(None))


async def get_administered(db: AsyncSession, user_id: int) -> int:
    """The id of the organisation that this person administers. Raises `Forbidden`."""
    rows = await fetch(db, _ADMINISTERED, user_id=user_id)
    if not rows:
        raise not_an_administrator()
    return rows[0][0]


async def lock_administered(db: AsyncSession, user_id: int) -> int:
    """`get_administered`, with the person locked until the transaction ends: a concurrent demotion waits, or is seen."""
    await lock_people(db, user_id)
    return await get_administered(db, user_id)


async def lock_people(db: AsyncSession, *user_ids: int | None) -> None:
    """Lock these people, always in the same order: two admins may act on each other at once.

    With key_share, so that rows which refer to them can be inserted meanwhile.
    """
    wanted = select(User.id).where(User.id.in_([each for each in user_ids if each is not None]))
    await db.execute(wanted.order_by(User.id).with_for_update(key_share=True))


def not_an_administrator() -> Forbidden:
    return Forbidden("This is for administrators of your organisation.")
