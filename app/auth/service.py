"""Signing in and out, and all that ends logins. Independent of requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import backoff
from app.auth.email_address import canonical_email
from app.auth.known_browsers import find_known_browser, forget_browsers, remember_browser
from app.auth.passwords import check_new_password, hash_password, verify_password
from app.auth.sign_in_lanes import SLOWED_SECONDS, TooBusy, sign_in_lanes_of
from app.auth.store import (
    Account,
    find_account,
    find_account_by_email,
    find_live_login,
    has_signed_in_from,
    insert_login,
    is_still_valid,
    list_ids_beyond,
    update_account,
    words_of,
)
from app.core.errors import BadRequest, Conflict, NotAuthenticated, TooManyRequests
from app.core.statements import fetch
from app.events.service import record_event
from app.models import Login, User
from app.resources import InitialData, Resources
from app.sessions.manager import Also
from app.sessions.matching import LoginsWhere
from app.sessions.record import Record
from app.sessions.token import hash_token, new_token

log = structlog.get_logger()

MAX_LOGINS = 20
NOBODY = 0
NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True)
class Browser:
    """Where a request comes from. `token_hash` is that of the live login the browser holds already, if any; `known_by` are the
    tokens of its device cookie."""

    address: str
    user_agent: str
    token_hash: str | None = None
    known_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewLogin:
    """`token` and `device_token` exist only in the browser."""

    token: str
    record: Record
    device_token: str


async def sign_in(
    resources: Resources,
    email: str,
    password: str,
    *,
    keep_signed_in: bool,
    browser: Browser,
    initial_data: InitialData,
    has_link: bool = False,
) -> NewLogin:
    """Make a login with its session; the one this browser held before is ended. `has_link`: by a one-time link, used just now.

    Raises the same `NotAuthenticated` after the same work for an unknown, a wrong and a disabled account.
    """
    lanes = sign_in_lanes_of(resources.database)

    async def proceed(judged: _Judged) -> NewLogin:
        return await _sign_in(resources, judged, password, keep_signed_in=keep_signed_in, browser=browser, initial_data=initial_data)

    if browser.known_by and lanes.believes_cookie(browser.address):
        async with lanes.place(browser.address, with_cookie=True):
            judged = await _judge(resources, email, browser)
            if judged.is_known_browser:
                return await proceed(judged)
        # No hash was spent on it.
        lanes.demote(browser.address)
    async with lanes.place(browser.address):
        judged = await _judge(resources, email, browser)
        if judged.slowed_by is None or has_link:
            return await proceed(judged)
    await _wait_for_turn(resources, judged.slowed_by, browser.address, failures=judged.failures_here)
    async with lanes.place(browser.address):
        # Read again: the data from before the wait is old. The turn counts, however many have failed meanwhile.
        return await proceed(await _judge(resources, email, browser))


@dataclass(frozen=True)
class _Judged:
    """`slowed_by`: the counter at which this attempt has to wait for its turn."""

    account: Account | None
    attempt: backoff.Attempt
    slowed_by: str | None
    failures_here: int
    is_known_browser: bool


async def _judge(resources: Resources, email: str, browser: Browser) -> _Judged:
    """The account of this attempt and the counters that refuse it or slow it down. Raises TooManyRequests."""
    now, allowed = resources.clock.now(), resources.settings.rate_limit_login
    async with resources.database.read() as db:
        account = await find_account_by_email(db, email)
        # An unknown account costs the same queries, so that timing reveals nothing.
        user_id = account.id if account else NOBODY
        known_browser = await find_known_browser(db, user_id, list(browser.known_by), now=now)
        known_here = await has_signed_in_from(db, user_id, browser.address)
        attempt = backoff.attempt(canonical_email(email), browser.address, known_here=known_here, known_browser=known_browser)
        await _refuse_while_blocked(resources, db, attempt)
        failures = await backoff.read_failures(db, attempt.counts_for, now=now) if allowed and attempt.slowed_by else {}
    slowed_by = attempt.slowed_by if failures.get(attempt.slowed_by or "", 0) >= max(allowed, 1) else None
    here = max((failures.get(key, 0) for key in attempt.subject_to), default=0)
    return _Judged(account, attempt, slowed_by, here, is_known_browser=bool(known_browser))


async def _wait_for_turn(resources: Resources, key: str, address: str, *, failures: int) -> None:
    lanes, settings, within = sign_in_lanes_of(resources.database), resources.settings, timedelta(seconds=SLOWED_SECONDS)
    allowed, longest = settings.rate_limit_login, settings.login_slowdown

    async def take() -> float:
        async with lanes.place(address), resources.database.write() as db:
            now = resources.clock.now()
            wait = await backoff.take_turn(db, key, allowed=allowed, longest=longest, within=within, now=now)
        if wait is None:
            raise TooBusy.for_now()
        return wait.total_seconds()

    await lanes.wait_for_turn(key, address, failures=failures, take=take)


async def _sign_in(
    resources: Resources, judged: _Judged, password: str, *, keep_signed_in: bool, browser: Browser, initial_data: InitialData
) -> NewLogin:
    account, attempt = judged.account, judged.attempt
    matches = await verify_password(account.password_hash if account else None, password, resources.settings)
    if account is None or account.is_disabled or not matches:
        await _count_failure(resources, attempt, account, address=browser.address)
        raise _refused()
    login = await _insert_login(resources, account, attempt, keep_signed_in=keep_signed_in, browser=browser, initial_data=initial_data)
    await _end_replaced(resources, account.id, replaced=browser.token_hash)
    log.info("Signed in.", user_id=account.id, login_id=login.record.login_id, address=browser.address)
    return login


class LoginsOfPeople(LoginsWhere):
    """With whom each of them is of, for its event."""

    def __init__(self, condition: ColumnElement[bool]) -> None:
        super().__init__(condition)
        self.people = select(Login.id, Login.user_id, User.organisation_id).join(User, User.id == Login.user_id).where(self.live)


async def end_logins(
    resources: Resources,
    which: ColumnElement[bool] | LoginsOfPeople,
    *,
    reason: str,
    actor_id: int | None = None,
    first: Also | None = None,
    **values: Any,
) -> list[int]:
    """End the live logins matched by a condition over `Login`, with these values of its parameters, and an event for each. Returns
    their ids. `first` is done before, in the same transaction."""
    logins = which if isinstance(which, LoginsOfPeople) else LoginsOfPeople(which)
    audit_ended = _audit_ended(resources, logins, values, reason=reason, actor_id=actor_id)

    async def work(db: AsyncSession) -> None:
        if first:
            await first(db)
        await audit_ended(db)

    ended = await resources.sessions.end_logins(logins, also=work, **values)
    if ended:
        log.info("Logins ended.", login_ids=ended, reason=reason)
    return ended


async def change_password(resources: Resources, record: Record, current: str, new: str, *, browser: Browser) -> tuple[str, bool]:
    """Change the password, end the person's other logins and give this one another token, all in one transaction.

    Returns the token, and whether its cookie shall outlive the browser.
    """
    async with resources.database.read() as db:
        account = await find_account(db, User.id == record.user_id)
        if account is None or browser.token_hash is None:
            raise NotAuthenticated
        # The guesser this stops holds a stolen session, so it counts as an address known to the account.
        attempt = backoff.attempt(canonical_email(account.email), browser.address, known_here=True)
        await _refuse_while_blocked(resources, db, attempt)
        words = await words_of(db, account.id)
    if not await verify_password(account.password_hash, current, resources.settings):
        await _count_failure(resources, attempt, account, address=browser.address)
        raise BadRequest("The current password is not right.", code="wrong_password")
    check_new_password(new, words, current=current)
    password_hash = await hash_password(new, resources.settings)
    others = and_(Login.user_id == account.id, Login.id != record.login_id)
    audit_ended = _audit_ended(resources, LoginsOfPeople(others), reason="password_changed", actor_id=account.id)
    keep_signed_in = False

    async def change(db: AsyncSession) -> None:
        await _update_or_conflict(db, account, password_hash=password_hash)
        login = await find_live_login(db, record.login_id)
        if login is None:
            raise NotAuthenticated
        nonlocal keep_signed_in
        keep_signed_in = login.keep_signed_in
        await backoff.forget_failures(db, attempt)
        await _record(resources, db, "password.changed", account, actor_id=account.id)
        await audit_ended(db)

    token = new_token()
    if not await resources.sessions.rotate(record.login_id, browser.token_hash, hash_token(token), ending=others, also=change):
        raise NotAuthenticated
    log.info("Password changed.", user_id=account.id)
    return token, keep_signed_in


async def reset_password(resources: Resources, email: str, new: str) -> None:
    """Change a person's password from the command line; ends all their logins. Raises LookupError."""
    account = await get_account(resources, email)
    await check_replacement(resources, account, new)
    password_hash = await hash_password(new, resources.settings)
    await change_and_end_all(resources, account, event="password.changed", reason="password_changed", password_hash=password_hash)


async def check_replacement(resources: Resources, account: Account, new: str) -> None:
    """`check_new_password` without the old password at hand."""
    async with resources.database.read() as db:
        words = await words_of(db, account.id)
    check_new_password(new, words)
    if await verify_password(account.password_hash, new, resources.settings):
        raise BadRequest("The new password is the old one.", code="password_unchanged")


async def disable_user(resources: Resources, email: str) -> None:
    """Disable an account and end all its logins. Raises LookupError."""
    account = await get_account(resources, email)
    if account.is_disabled:  # by a statement of somebody's own, perhaps, which ended nothing
        await change_and_end_all(resources, account, event=None, reason="disabled")
    else:
        await change_and_end_all(resources, account, event="user.disabled", reason="disabled", disabled_at=resources.clock.now())


async def revoke_logins(resources: Resources, email: str) -> list[int]:
    """Sign a person out everywhere. Raises `auth_version` too, so that a concurrent sign-in fails."""
    account = await get_account(resources, email)
    return await change_and_end_all(resources, account, event=None, reason="revoked")


async def _insert_login(
    resources: Resources, account: Account, attempt: backoff.Attempt, *, keep_signed_in: bool, browser: Browser, initial_data: InitialData
) -> NewLogin:
    token, now, settings = new_token(), resources.clock.now(), resources.settings
    async with resources.database.write() as db:
        # The order of locks: what gives access to the deal, then the user.
        data = await initial_data(db, account.id, now)
        if not await is_still_valid(db, account):
            raise _refused()
        # Again, for the many guesses that were all let in before the first of them had failed.
        await _refuse_while_blocked(resources, db, attempt)
        login = await insert_login(
            db,
            user_id=account.id,
            token_hash=hash_token(token),
            created_at=now,
            seen_at=now,
            idle_expires_at=min(now + settings.login_idle, now + settings.login_lifetime),
            expires_at=now + settings.login_lifetime,
            keep_signed_in=keep_signed_in,
            user_agent=browser.user_agent,
            address=browser.address,
        )
        await backoff.forget_failures(db, attempt)
        device_token = await remember_browser(db, account.id, list(browser.known_by), now=now)
        await _record(resources, db, "login.succeeded", account, actor_id=account.id, login_id=login.id, address=browser.address)
        return NewLogin(token, await resources.sessions.insert(db, login=login, data=data, now=now), device_token)


async def _end_replaced(resources: Resources, user_id: int, *, replaced: str | None) -> None:
    """End the logins that the new one replaces: the browser's previous one, and the oldest above the limit per person."""
    surplus = await list_ids_beyond(resources.database, MAX_LOGINS, user_id, now=resources.clock.now())
    if surplus:
        await end_logins(resources, _SURPLUS, reason="too_many", surplus=surplus)
    if replaced:
        await end_logins(resources, _REPLACED, reason="replaced", replaced=replaced)


async def change_and_end_all(
    resources: Resources,
    account: Account,
    *,
    event: str | None,
    reason: str,
    actor_id: int | None = None,
    first: Also | None = None,
    event_payload: Mapping[str, object] = NOTHING,
    **values: object,
) -> list[int]:
    """Change what logins depend on and end all of them; the ids of those that ended. `first` is done before, in the same
    transaction; `event_payload` goes into the event. Raises `Conflict` where the account was changed since it was read."""
    of_account = {"person_id": account.id}
    audit_ended = _audit_ended(resources, _LOGINS_OF_PERSON, of_account, reason=reason, actor_id=actor_id)

    async def change(db: AsyncSession) -> None:
        if first:
            await first(db)
        await _update_or_conflict(db, account, **values)
        if event:
            await _record(resources, db, event, account, actor_id=actor_id, **event_payload)
        await audit_ended(db)

    return await resources.sessions.end_logins(_LOGINS_OF_PERSON, also=change, **of_account)


_LOGINS_OF_PERSON = LoginsOfPeople(Login.user_id == bindparam("person_id"))
_SURPLUS = LoginsOfPeople(Login.id.in_(bindparam("surplus", expanding=True)))
_REPLACED = LoginsOfPeople(Login.token_hash == bindparam("replaced"))


def _audit_ended(
    resources: Resources, logins: LoginsOfPeople, values: Mapping[str, object] = NOTHING, *, reason: str, actor_id: int | None = None
) -> Also:
    """A callback that writes a `login.ended` event for each login about to end, in the same transaction."""

    async def audit_end(db: AsyncSession) -> None:
        for login_id, user_id, organisation_id in await fetch(db, logins.people, **values):
            ids = {"user_id": user_id, "organisation_id": organisation_id, "actor_id": actor_id}
            await record_event(db, "login.ended", at=resources.clock.now(), login_id=login_id, reason=reason, **ids)

    return audit_end


async def _update_or_conflict(db: AsyncSession, account: Account, **values: object) -> None:
    if not await update_account(db, account, **values):
        raise Conflict("This account was changed at the same moment. Please try again.")
    if values.get("password_hash") or values.get("disabled_at"):
        await forget_browsers(db, account.id)


async def _count_failure(resources: Resources, attempt: backoff.Attempt, account: Account | None, *, address: str) -> None:
    """Count and log a failure. Raises TooManyRequests if it exceeds the limit."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        block = await backoff.count_failure(db, attempt, allowed=resources.settings.rate_limit_login, now=now)
        ids = {"user_id": account.id, "organisation_id": account.organisation_id} if account else {}
        await record_event(db, "login.failed", at=now, address=address, **ids)
    log.info("Sign-in refused.", user_id=account.id if account else None, address=address)
    if block:
        raise TooManyRequests("Too many failed attempts. Please wait a moment.", retry_after=block)


async def _refuse_while_blocked(resources: Resources, db: AsyncSession, attempt: backoff.Attempt) -> None:
    if resources.settings.rate_limit_login:
        await backoff.refuse_while_blocked(db, attempt.subject_to, now=resources.clock.now())


async def get_account(resources: Resources, email: str) -> Account:
    """Raises LookupError."""
    async with resources.database.read() as db:
        account = await find_account_by_email(db, email)
    if account is None:
        raise LookupError(f"There is no user {email}.")
    return account


async def _record(resources: Resources, db: AsyncSession, kind: str, account: Account, **values: object) -> None:
    await record_event(db, kind, at=resources.clock.now(), organisation_id=account.organisation_id, user_id=account.id, **values)


def _refused() -> NotAuthenticated:
    return NotAuthenticated("The e-mail address or the password is not right.", code="invalid_credentials")
