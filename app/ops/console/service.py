"""What operators change. Each change is in the audit trail, in its own transaction, as `ops.…` by the operator."""

from sqlalchemy import and_
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.service import end_logins
from app.core.errors import NotFound
from app.core.statements import upsert
from app.current_deal.restore import RESTORE_SWITCH
from app.events.service import record_event
from app.http.web import UserCard
from app.models import Login, Switch, User
from app.resources import Resources


async def switch_auto_restore(resources: Resources, *, enabled: bool, by: UserCard) -> None:
    """For everybody, on every server within a poll of theirs. Where AUTO_RESTORE_DEAL is set it waits until that is not."""
    now = resources.clock.now()
    values = {"name": RESTORE_SWITCH, "enabled": enabled, "changed_at": now, "changed_by": by.email}
    async with resources.database.write() as db:
        await db.execute(upsert(db, Switch, values, key=["name"]))
        await record_event(db, "ops.auto_restore_switched", at=now, actor_id=by.id, enabled=enabled)
    await resources.backend.refresh()


async def end_logins_of(resources: Resources, user_id: int, *, login_id: int | None, by: UserCard) -> list[int]:
    """Sign a person out everywhere, or in one browser; the ids of what was ended. Raises `NotFound`.

    It does not lock the account: whoever knows the password can sign in again. For that there is `holdfast user disable`.
    """
    async with resources.database.write() as db:
        if await db.get(User, user_id) is None:
            raise NotFound
        await _audit(db, resources, user_id, login_id, by)
    which = Login.user_id == user_id if login_id is None else and_(Login.user_id == user_id, Login.id == login_id)
    return await end_logins(resources, which, reason="operator", actor_id=by.id)


async def _audit(db: AsyncSession, resources: Resources, user_id: int, login_id: int | None, by: UserCard) -> None:
    """That it was asked for; each login that ends is an event of its own, in the transaction that ends it."""
    await record_event(db, "ops.logins_ended", at=resources.clock.now(), actor_id=by.id, user_id=user_id, login_id=login_id)
