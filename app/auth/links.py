"""One-time links: made by an administrator, used once by the person they are for.

A link is consumed in the transaction of what it does, so it works once however often it is sent at the same moment.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.auth.administrators import lock_administered, lock_people
from app.auth.email_address import canonical_email, checked_email, spellings_of
from app.auth.own_words import own_words
from app.auth.passwords import check_new_password, hash_password
from app.auth.service import change_and_end_all, check_replacement
from app.auth.store import find_account, find_account_by_email
from app.core.errors import Conflict, NotFound
from app.core.statements import execute_dml, execute_returning
from app.events.service import record_event
from app.http.quotas import check_people
from app.models import OneTimeLink, Organisation, User
from app.resources import Resources
from app.sessions.token import hash_token, new_token

log = structlog.get_logger()

LINK_LIFE = timedelta(days=7)
RESET_LIFE = timedelta(days=1)
MAX_TOKEN = 200


class LinkSpent(NotFound):
    """One answer for links that were used, expired, withdrawn or never existed."""

    code, title = "link_spent", "This link does not work any more"

    def __init__(self) -> None:
        super().__init__("It was used already, or has run out. Ask an admin of your organisation for a new one.")


@dataclass(frozen=True)
class NewLink:
    """`token` is shown once and kept nowhere."""

    id: int
    kind: str
    email: str
    token: str
    expires_at: datetime


@dataclass(frozen=True)
class OpenLink:
    """A link as its holder sees it."""

    kind: str
    organisation: str
    email: str


async def invite(resources: Resources, admin_id: int, email: str, role: str) -> NewLink:
    """A link by which somebody joins the organisation. Raises `BadRequest`, and `Conflict` for one of its people.

    Does not reveal whether an address belongs to another organisation.
    """
    now, token, email = resources.clock.now(), new_token(), checked_email(email)
    async with resources.database.write() as db:
        organisation_id = await lock_administered(db, admin_id)
        if await db.scalar(select(User.id).where(User.email.in_(spellings_of(email)), User.organisation_id == organisation_id)):
            raise Conflict("This person belongs to your organisation already.", code="already_here")
        open_ones = and_(_is_not_used(now), OneTimeLink.kind == "invitation", OneTimeLink.email != email)
        await check_people(db, organisation_id, resources.settings.quota_people, open_links=open_ones)
        # One open invitation an address: the newer link is the one that counts.
        await withdraw(db, and_(OneTimeLink.email.in_(spellings_of(email)), OneTimeLink.organisation_id == organisation_id), now=now)
        link = await _insert(db, "invitation", organisation_id, admin_id, token, now=now, life=LINK_LIFE, email=email, role=role)
        await record_event(db, "user.invited", at=now, organisation_id=organisation_id, actor_id=admin_id, link_id=link.id, role=role)
        return NewLink(link.id, link.kind, email, token, link.expires_at)


async def offer_reset(db: AsyncSession, admin_id: int, user: User, *, now: datetime) -> NewLink:
    """A link to set a new password; it invalidates an earlier one. The caller has authorised it."""
    token = new_token()
    await withdraw(db, OneTimeLink.user_id == user.id, now=now)
    link = await _insert(db, "reset", user.organisation_id, admin_id, token, now=now, life=RESET_LIFE, user_id=user.id)
    return NewLink(link.id, link.kind, user.email, token, link.expires_at)


async def get_open_link(db: AsyncSession, token: str, *, now: datetime) -> OpenLink:
    """The purpose of a link, without consuming it. Raises `LinkSpent`."""
    columns = (OneTimeLink.kind, Organisation.name, OneTimeLink.email, User.email.label("user_email"))
    found = (
        select(*columns).join(Organisation, Organisation.id == OneTimeLink.organisation_id).outerjoin(User, User.id == OneTimeLink.user_id)
    )
    row = (await db.execute(found.where(_is_open(token, now)))).first()
    if row is None:
        raise LinkSpent
    return OpenLink(row.kind, row.name, row.user_email or row.email)


async def join(resources: Resources, token: str, *, name: str, password: str) -> str:
    """Become one of the organisation's people. Returns the e-mail to sign in with. Raises `LinkSpent`, `BadRequest`, `Conflict`."""
    now = resources.clock.now()
    async with resources.database.read() as db:
        link_there = await get_open_link(db, token, now=now)
    check_new_password(password, own_words(email=link_there.email, name=name, organisation=link_there.organisation))
    password_hash = await hash_password(password, resources.settings)
    try:
        async with resources.database.write() as db:
            link = await _consume(db, token, "invitation", now)
            await check_people(db, link.organisation_id, resources.settings.quota_people)
            email = canonical_email(link.email)
            if await find_account_by_email(db, email):  # in another spelling, too, which no constraint knows
                raise _taken()
            user = User(organisation_id=link.organisation_id, email=email, name=name, password_hash=password_hash, role=link.role)
            user.created_at = now
            db.add(user)
            await db.flush()
            ids = {"organisation_id": user.organisation_id, "user_id": user.id, "actor_id": user.id}
            await record_event(db, "user.joined", at=now, link_id=link.id, role=user.role, **ids)
            log.info("Somebody joined by an invitation.", user_id=user.id, link_id=link.id)
            return user.email
    except IntegrityError as error:
        raise _taken() from error


async def reset_by_link(resources: Resources, token: str, *, password: str) -> str:
    """Set a new password and end every login of the person. Returns the e-mail to sign in with. Raises `LinkSpent`, `BadRequest`."""
    now = resources.clock.now()
    async with resources.database.read() as db:
        user_id = await db.scalar(select(OneTimeLink.user_id).where(_is_open(token, now), OneTimeLink.kind == "reset"))
        account = await find_account(db, User.id == user_id) if user_id else None
    if account is None or account.is_disabled:
        raise LinkSpent
    await check_replacement(resources, account, password)
    password_hash = await hash_password(password, resources.settings)

    async def consume(db: AsyncSession) -> None:
        await _consume(db, token, "reset", now)

    await change_and_end_all(
        resources,
        account,
        event="password.changed",
        reason="password_changed",
        actor_id=account.id,
        first=consume,
        password_hash=password_hash,
    )
    log.info("A password was set by a link.", user_id=account.id)
    return account.email


async def withdraw(db: AsyncSession, which: ColumnElement[bool], *, now: datetime) -> int:
    """Invalidate open links that match a condition over `OneTimeLink`; returns how many."""
    taken = update(OneTimeLink).where(which, OneTimeLink.used_at.is_(None), OneTimeLink.withdrawn_at.is_(None)).values(withdrawn_at=now)
    return await execute_dml(db, taken)


def links_through(user_id: int) -> ColumnElement[bool]:
    """Links that a person made, of which they may have a copy, and links for them."""
    return or_(OneTimeLink.created_by_id == user_id, OneTimeLink.user_id == user_id)


async def _consume(db: AsyncSession, token: str, kind: str, now: datetime) -> OneTimeLink:
    # Who made it stays an admin, and whom it is for no operator, until this commits. People before links, as everywhere.
    found = select(OneTimeLink.created_by_id, OneTimeLink.user_id).where(OneTimeLink.token_hash == _hash(token))
    people = (await db.execute(found)).first()
    if people is not None:
        await lock_people(db, *people)
    used = update(OneTimeLink).where(_is_open(token, now), OneTimeLink.kind == kind).values(used_at=now)
    links = await execute_returning(db, used.returning(OneTimeLink))
    if not links:
        raise LinkSpent
    return links[0][0]


async def _insert(
    db: AsyncSession, kind: str, organisation_id: int, admin_id: int, token: str, *, now: datetime, life: timedelta, **values: object
) -> OneTimeLink:
    times = {"created_at": now, "expires_at": now + life}
    link = OneTimeLink(kind=kind, organisation_id=organisation_id, created_by_id=admin_id, token_hash=hash_token(token), **times, **values)
    db.add(link)
    await db.flush()
    return link


def _taken() -> Conflict:
    return Conflict("There is an account with this e-mail address already. Ask the person who invited you.", code="email_taken")


def _is_open(token: str, now: datetime) -> ColumnElement[bool]:
    return and_(OneTimeLink.token_hash == _hash(token), _is_not_used(now), _is_backed())


def _is_not_used(now: datetime) -> ColumnElement[bool]:
    return and_(OneTimeLink.used_at.is_(None), OneTimeLink.withdrawn_at.is_(None), OneTimeLink.expires_at > now)


def _is_backed() -> ColumnElement[bool]:
    """Who made the link still is an admin there, and it is for no operator, whatever it was when the link was made."""
    maker, holder = aliased(User), aliased(User)
    made_by_admin = and_(maker.role == "admin", maker.disabled_at.is_(None), maker.organisation_id == OneTimeLink.organisation_id)
    for_operator = select(holder.id).where(holder.id == OneTimeLink.user_id, holder.is_operator)
    return and_(exists(select(maker.id).where(maker.id == OneTimeLink.created_by_id, made_by_admin)), ~exists(for_operator))


def _hash(token: str) -> str:
    return hash_token(token[: MAX_TOKEN + 1])
