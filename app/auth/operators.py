"""Makes people operators of this installation: from the command line only, never by an organisation's admin."""

from sqlalchemy import or_
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.administrators import lock_people
from app.auth.links import withdraw
from app.auth.service import change_and_end_all, get_account
from app.models import OneTimeLink
from app.resources import Resources


async def set_operator(resources: Resources, email: str, *, is_operator: bool) -> None:
    """Make somebody an operator, or withdraw that. Ends all their logins and invalidates their links. Raises LookupError."""
    account = await get_account(resources, email)

    async def void_links(db: AsyncSession) -> None:
        await lock_people(db, account.id)
        await withdraw(db, or_(OneTimeLink.user_id == account.id, OneTimeLink.email == account.email), now=resources.clock.now())

    await change_and_end_all(
        resources,
        account,
        event="user.operator_changed",
        reason="role_changed",
        first=void_links,
        event_payload={"is_operator": is_operator},
        is_operator=is_operator,
    )
