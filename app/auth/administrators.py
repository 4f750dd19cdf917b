"""Who may manage an organisation: asked of SQL each time, so that a demotion counts from the next request."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Forbidden
from app.models import User


async def get_administered(db: AsyncSession, user_id: int) -> int:
    """The id of the organisation this person is an administrator of. Raises `Forbidden`."""
    who = select(User.organisation_id).where(User.id == user_id, User.role == "admin", User.disabled_at.is_(None))
    organisation_id: int | None = await db.scalar(who)
    if organisation_id is None:
        raise not_an_administrator()
    return organisation_id


def not_an_administrator() -> Forbidden:
    return Forbidden("This is for administrators of your organisation.")
