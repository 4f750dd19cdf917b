"""Changes that an administrator makes to people of their organisation. Each is checked again and audited in its transaction."""

from dataclasses import dataclass

import structlog
from sqlalchemy import and_
from sqlalchemy.ext.asyncio import AsyncSession

from app.admin.guard import get_manageable, lock_manageable, refusal_recorded
from app.admin.store import require_other_administrator
from app.auth.administrators import lock_administered
from app.auth.links import NewLink, links_through, offer_reset, withdraw
from app.auth.service import change_and_end_all, end_logins
from app.auth.store import Account, find_account, update_account
from app.core.errors import Conflict, NotFound
from app.deals.members import withdraw_access
from app.events.service import record_event
from app.models import Login, OneTimeLink, User
from app.resources import Resources
from app.sessions.manager import Also

log = structlog.get_logger()


@dataclass(frozen=True)
class AccountAction:
    """One administrator about to do something to one account."""

    resources: Resources
    admin_id: int
    account: Account


async def change_role(resources: Resources, admin_id: int, user_id: int, role: str) -> None:
    """`admin` or `member`. Ends every login of the person, who signs in again as what they are now. Raises `Conflict` for the last
    administrator."""
    async with refusal_recorded(resources, admin_id, user_id, "change_role"):
        action, current = await _begin(resources, admin_id, user_id)
        if current.role == role:
            return
        is_demotion = role == "member"
        await change_and_end_all(
            resources,
            action.account,
            event="user.role_changed",
            reason="role_changed",
            actor_id=admin_id,
            first=_checks(action, takes_away=is_demotion),
            event_payload={"role": role},
            role=role,
        )
    log.info("A role was changed.", user_id=user_id, role=role)


async def disable_person(resources: Resources, admin_id: int, user_id: int) -> None:
    """They sign in no more, and every login of theirs ends. Raises `Conflict` for oneself and for the last administrator."""
    async with refusal_recorded(resources, admin_id, user_id, "disable"):
        action, current = await _begin(resources, admin_id, user_id)
        if admin_id == user_id:
            raise Conflict("You cannot disable yourself; another administrator can.", code="not_yourself")
        if current.disabled_at is not None:
            return
        await change_and_end_all(
            resources,
            action.account,
            event="user.disabled",
            reason="disabled",
            actor_id=admin_id,
            first=_checks(action, takes_away=True),
            disabled_at=resources.clock.now(),
        )
    log.info("Somebody was disabled.", user_id=user_id)


async def enable_person(resources: Resources, admin_id: int, user_id: int) -> None:
    """They sign in again with the password they had, and come back to what they may still see."""
    async with refusal_recorded(resources, admin_id, user_id, "enable"):
        action, current = await _begin(resources, admin_id, user_id)
        if current.disabled_at is not None:
            await _enable(action)


async def _enable(action: AccountAction) -> None:
    resources = action.resources
    async with resources.database.write() as db:
        await _checks(action, takes_away=False)(db)
        if not await update_account(db, action.account, disabled_at=None):
            raise Conflict("This account was changed at the same moment. Please try again.")
        await record_event(db, "user.enabled", at=resources.clock.now(), **_ids(action))


async def offer_new_password(resources: Resources, admin_id: int, user_id: int) -> NewLink:
    """A link to give to the person. Their password, and their logins, stay until they use it."""
    now = resources.clock.now()
    async with refusal_recorded(resources, admin_id, user_id, "reset"), resources.database.write() as db:
        person = await lock_manageable(db, admin_id, user_id)
        if person.disabled_at is not None:
            raise Conflict("This person is disabled. Enable them first.", code="disabled")
        link = await offer_reset(db, admin_id, person, now=now)
        ids = {"organisation_id": person.organisation_id, "actor_id": admin_id, "user_id": user_id}
        await record_event(db, "user.reset_offered", at=now, link_id=link.id, **ids)
        return link


async def end_logins_of(resources: Resources, admin_id: int, user_id: int, login_id: int | None = None) -> int:
    """Sign a person out of one browser, or of all of them; of how many. Raises `NotFound` for a login that is not theirs, or over."""
    which = Login.user_id == user_id if login_id is None else and_(Login.user_id == user_id, Login.id == login_id)
    async with refusal_recorded(resources, admin_id, user_id, "end_logins"):
        ended = await end_logins(resources, which, reason="revoked", actor_id=admin_id, first=_manageable(admin_id, user_id))
    if login_id is not None and not ended:
        raise NotFound
    return len(ended)


async def withdraw_grant(resources: Resources, admin_id: int, user_id: int, deal_id: int) -> None:
    """Take a grant back. Raises `NotFound` where there is none."""
    async with refusal_recorded(resources, admin_id, user_id, "withdraw_grant"):
        await check_manageable(resources, admin_id, user_id)
        await withdraw_access(resources, admin_id, deal_id, user_id, also=_manageable(admin_id, user_id))


async def withdraw_invitation(resources: Resources, admin_id: int, link_id: int) -> None:
    """Raises `NotFound` for one that is not of this organisation, or was used."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        organisation_id = await lock_administered(db, admin_id)
        which = and_(OneTimeLink.id == link_id, OneTimeLink.organisation_id == organisation_id, OneTimeLink.kind == "invitation")
        if not await withdraw(db, which, now=now):
            raise NotFound
        await record_event(db, "user.invitation_withdrawn", at=now, organisation_id=organisation_id, actor_id=admin_id, link_id=link_id)


async def check_manageable(resources: Resources, admin_id: int, user_id: int) -> None:
    """Refuse early what the transaction would refuse, before a body is looked at."""
    async with resources.database.read() as db:
        await get_manageable(db, admin_id, user_id)


async def _begin(resources: Resources, admin_id: int, user_id: int) -> tuple[AccountAction, User]:
    async with resources.database.read() as db:
        person = await get_manageable(db, admin_id, user_id)
        account = await find_account(db, User.id == user_id)
    if account is None:
        raise NotFound
    return AccountAction(resources, admin_id, account), person


def _checks(action: AccountAction, *, takes_away: bool) -> Also:
    """In the transaction: the asker still is an administrator, the person no operator, somebody stays an administrator, and no
    link of the person's is left behind."""

    async def check(db: AsyncSession) -> None:
        await lock_manageable(db, action.admin_id, action.account.id)
        if takes_away:
            await require_other_administrator(db, action.account.organisation_id, without=action.account.id)
            await withdraw(db, links_through(action.account.id), now=action.resources.clock.now())

    return check


def _manageable(admin_id: int, user_id: int) -> Also:
    async def check(db: AsyncSession) -> None:
        await lock_manageable(db, admin_id, user_id)

    return check


def _ids(action: AccountAction) -> dict[str, int]:
    return {"organisation_id": action.account.organisation_id, "actor_id": action.admin_id, "user_id": action.account.id}
