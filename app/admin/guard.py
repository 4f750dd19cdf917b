"""Operators stand above an organisation's admins: an admin changes nothing about an operator's account.

Otherwise a reset link would turn the admin into the operator. The check runs under a lock in the transaction of the
change, so concurrent changes are safe.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.admin.store import get_person
from app.auth.administrators import lock_people
from app.core.errors import Forbidden
from app.events.service import record_event
from app.models import User
from app.resources import Resources

log = structlog.get_logger()


class OperatorAccount(Forbidden):
    code, title = "operator_account", "Operators are not managed by an organisation's admins"

    def __init__(self, organisation_id: int) -> None:
        super().__init__(
            "This person is an operator of this installation. Their account is managed on the command line (holdfast user), "
            "by operators alone."
        )
        self.organisation_id = organisation_id


async def get_manageable(db: AsyncSession, admin_id: int, user_id: int) -> User:
    """`get_person`, if the asker may change them. Raises `OperatorAccount` as well."""
    person = await get_person(db, admin_id, user_id)
    if person.is_operator:
        raise OperatorAccount(person.organisation_id)
    return person


async def lock_manageable(db: AsyncSession, admin_id: int, user_id: int) -> User:
    """The same with both locked until the transaction ends. Every change of an account begins with this."""
    await lock_people(db, admin_id, user_id)
    return await get_manageable(db, admin_id, user_id)


@asynccontextmanager
async def refusal_recorded(resources: Resources, admin_id: int, user_id: int, action: str) -> AsyncIterator[None]:
    """An attempt on an operator is a security event. Its own transaction ends with the refusal, so it is written after that."""
    try:
        yield
    except OperatorAccount as refusal:
        ids = {"organisation_id": refusal.organisation_id, "actor_id": admin_id, "user_id": user_id}
        log.warning("An admin's change of an operator's account was refused.", action=action, **ids)
        async with resources.database.write() as db:
            await record_event(db, "user.change_refused", at=resources.clock.now(), action=action, reason=refusal.code, **ids)
        raise
