"""Coming back: the deal of the last selection is reopened by the first request of a session that has none.

    deal in the URL → current deal of this session → users.last_deal_id → the only deal → the deal list

Nothing here overwrites a choice or a clear made meanwhile, and an outage never clears anything.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NoReturn

import structlog
from quart import g, request
from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.access_lock import record_access
from app.access.permissions import visible_to
from app.core.clock import to_unix_ms
from app.core.errors import NotAuthenticated, StoreUnavailable, Unavailable
from app.core.metrics import METRICS
from app.core.statements import Running, fetch, run
from app.current_deal.candidate import CANDIDATE, UNCHANGED, Candidate, find_candidate, find_only_deal
from app.current_deal.session_data import choose_deal, has_deal, strip_deal
from app.events.service import record_event
from app.http.web import Access, access_of_request, current_resources, user_card
from app.models import DEAL_ID, NOW, USER_ID, Deal, User
from app.resources import Resources
from app.sessions.interface import UserSession, current_session
from app.sessions.manager import Outcome
from app.sessions.record import SessionData

log = structlog.get_logger()

# How long an undecided person is spared the look for a deal on every click; a grant makes it look at once.
RESTORE_BACKOFF = timedelta(minutes=1)
ATTEMPTS = 3
# The operators' switch, a row of `switches`.
RESTORE_SWITCH = "auto_restore_deal"


_LOCK_UNCHANGED = select(User.id).where(UNCHANGED).with_for_update(read=True)
_VISIBLE = exists(visible_to(USER_ID, Deal.id, now=NOW).where(Deal.id == DEAL_ID))
_CLEAR_REFUSED = update(User).where(UNCHANGED, ~_VISIBLE).values(last_deal_id=None, last_deal_accessed_at=None)


class AccessMoved(Exception):
    """What was read about the access is no longer so; look again."""


async def auto_restore_deal_context() -> None:
    """Before every request: give a session without a deal the one its user worked on last. No outage fails the request."""
    session, resources = current_session(), current_resources()
    if session.signed_in and not _is_whole(session, resources.clock.unix_ms()) and access_of_request() is not Access.PUBLIC:
        if request.method == "HEAD" or _is_prefetch():
            _show_person(session, resources.clock.now())
        elif is_due(
            session, is_new=session.outcome is Outcome.ABSENT, enabled=restore_enabled(resources), now_ms=resources.clock.unix_ms()
        ):
            await _restore_or_serve_without(resources, session)
        if "deal" in session and not has_deal(session, resources.clock.unix_ms()):
            session.show(strip_deal(dict(session)))  # nobody could write that its grant has run out; it is not served all the same
    g.deal_data = session.get("deal")


async def initial_session_data(resources: Resources, db: AsyncSession, user_id: int, now: datetime) -> SessionData:
    """What the session of a new login begins with, decided in the login's own transaction."""
    began = time.perf_counter()
    for _ in range(ATTEMPTS):
        candidate = await find_candidate(db, user_id, now=now)
        if candidate is None:
            return {}
        plan = decide(candidate, {}, enabled=restore_enabled(resources, organisation=candidate.organisation_restores))
        if plan.may_be_only_deal:
            plan = await plan.or_only_deal(db, now)
        try:
            await plan.confirm(db, now, began)
        except AccessMoved:
            continue
        plan.log_outcome()
        return plan.apply({}, now) or {}
    raise StoreUnavailable("Your access is being changed at this very moment.")


def restore_enabled(resources: Resources, *, organisation: bool = True) -> bool:
    """Whether deals come back by themselves; `organisation` is what the person's own organisation chose."""
    configured, switched = resources.settings.auto_restore_deal, resources.switches.get(RESTORE_SWITCH)
    return who_decides_restore(configured, switched, organisation=organisation)[0]


def who_decides_restore(configured: bool | None, switched: bool | None, *, organisation: bool) -> tuple[bool, str]:
    """AUTO_RESTORE_DEAL from the environment has the first word, then an operator's "off", then the organisation: with who it was."""
    if configured is not None:
        return configured, "environment"
    if switched is False:
        return False, "operator"
    return organisation, "organisation"


def _is_whole(data: SessionData, now_ms: int) -> bool:
    return has_deal(data, now_ms) and user_card(data) is not None


def is_due(data: Mapping[str, Any], *, is_new: bool, enabled: bool, now_ms: int) -> bool:
    """Whether the next request of a session without a deal looks for one. `is_new`: there is no session yet."""
    if is_new or "deal" in data:
        return True  # there is no session yet, or the grant of its deal has run out
    if user_card(data) is None:
        return True  # a session that could not be begun in full
    return enabled and data.get("nothing_until", 0) <= now_ms


@dataclass(frozen=True)
class RestorePlan:
    """What is to be done for one person: `outcome` restored, only_deal, refused_deleted, refused_revoked or none."""

    outcome: str
    candidate: Candidate
    card: dict[str, Any] | None = None
    may_be_only_deal: bool = False

    async def or_only_deal(self, db: AsyncSession, now: datetime) -> "RestorePlan":
        only = await find_only_deal(db, self.candidate.user["id"], now=now)
        return RestorePlan("only_deal", self.candidate, only) if only else self

    def apply(self, data: SessionData, now: datetime) -> SessionData | None:
        """The session's new data; None where somebody chose a deal meanwhile."""
        if has_deal(data, to_unix_ms(now)):
            return None if user_card(data) else data | {"user": self.candidate.user}
        if self.outcome.startswith("refused") and data.get("refused") == self.candidate.pointer_version:
            return None  # another request of this session has said so already
        if "deal" in data:
            data = strip_deal(data)  # its grant has run out
        data = data | {"user": self.candidate.user}
        if self.card:
            chosen = choose_deal(data, self.card, source=self.outcome, at=self.candidate.last_seen or now)
            return chosen | self._restored_notice()
        if self.outcome.startswith("refused"):
            data = strip_deal(data, in_bin=self.candidate.in_bin) | {"refused": self.candidate.pointer_version}
        return data | {"nothing_until": int((now + RESTORE_BACKOFF).timestamp() * 1000)}

    async def confirm(self, db: Running, now: datetime, began: float) -> None:
        """In the transaction of the write: it is still so, stays so until the commit, and is audited. Raises `AccessMoved`.

        The event tells how long it took since `began` (of `time.perf_counter`), which is all but the commit.
        """
        who = self.candidate
        user_id, unchanged = who.user["id"], who.unchanged_values()
        if self.card:
            if not await record_access(
                db,
                "deal.restored",
                user_id=user_id,
                card=self.card,
                now=now,
                also=UNCHANGED,
                also_values=unchanged,
                source=self.outcome,
                ms=round((time.perf_counter() - began) * 1000, 2),
            ):
                raise AccessMoved
            return
        if self.outcome == "refused_revoked":
            if not await run(db, _CLEAR_REFUSED, **unchanged, deal_id=who.pointer, now=now):
                raise AccessMoved
        elif not await fetch(db, _LOCK_UNCHANGED, **unchanged):
            raise AccessMoved
        if self.outcome.startswith("refused"):
            organisation_id = who.user["organisation_id"]
            await record_event(
                db,
                "deal.restore_refused",
                at=now,
                organisation_id=organisation_id,
                user_id=user_id,
                deal_id=who.pointer,
                reason=self.outcome,
            )

    def log_outcome(self) -> None:
        METRICS.restores.labels(self.outcome).inc()
        if self.card:
            log.info(f"Auto-restored deal {self.card['id']}", user_id=self.candidate.user["id"], source=self.outcome)
        elif self.outcome.startswith("refused"):
            log.info(f"Auto-restore refused deal {self.candidate.pointer}", user_id=self.candidate.user["id"], reason=self.outcome)

    def _restored_notice(self) -> SessionData:
        if self.outcome != "restored" or self.card is None:
            return {}
        seen = self.candidate.last_seen
        return {
            "notice": {"code": "restored", "deal_id": self.card["id"], "name": self.card["name"], "last_seen": seen and seen.isoformat()}
        }


def decide(candidate: Candidate, data: SessionData, *, enabled: bool) -> RestorePlan:
    """The precedence rule below "current deal of this session"."""
    if not enabled or data.get("restore_undone"):
        return RestorePlan("none", candidate)
    if candidate.pointer is not None and candidate.user["remember_last_deal"]:
        if candidate.permitted:
            return RestorePlan("restored", candidate, candidate.deal)
        if data.get("refused") != candidate.pointer_version:
            return RestorePlan("refused_deleted" if candidate.deleted else "refused_revoked", candidate)
        return RestorePlan("none", candidate)
    return RestorePlan("none", candidate, may_be_only_deal=not candidate.cleared and not data.get("only_deal_off"))


def _is_prefetch() -> bool:
    return "prefetch" in request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", "")


def _show_person(session: UserSession, now: datetime) -> None:
    """A request that must not even create a session still knows who asks."""
    if session.loaded and session.loaded.context is not None and user_card(session) is None:
        session.show({"user": Candidate.from_row(session.loaded.context, session.user_id, now=now).user})


async def _restore_or_serve_without(resources: Resources, session: UserSession) -> None:
    began = time.perf_counter()
    try:
        await _restore(resources, session, began)
    except Unavailable as fault:
        METRICS.restores.labels("error").inc()
        log.warning("Auto-restore failed; the request is served without it, nothing is forgotten.", fault=fault.detail)
        _show_person(session, resources.clock.now())
    finally:
        METRICS.restore_seconds.observe(time.perf_counter() - began)


async def _restore(resources: Resources, session: UserSession, began: float) -> None:
    loaded = session.loaded
    if loaded is None:
        return
    context = loaded.context
    for _ in range(ATTEMPTS):
        now = resources.clock.now()
        candidate = Candidate.from_row(context, session.user_id, now=now) if context is not None else await _look(resources, session, now)
        context = None
        if candidate is None:
            _refuse_ended(session)
        plan = RestorePlan("none", candidate)
        if not has_deal(session, to_unix_ms(now)):  # else it is only the person that the session does not know
            plan = decide(candidate, session, enabled=restore_enabled(resources, organisation=candidate.organisation_restores))
        if plan.may_be_only_deal:
            async with resources.database.read() as db:
                plan = await plan.or_only_deal(db, now)
        change = _Application(plan, now)
        try:
            record = await resources.sessions.write(loaded, change, also=partial(plan.confirm, now=now, began=began))
        except AccessMoved:
            continue
        except Unavailable:
            # It cannot be written: this request is served with the deal all the same, the next one tries again.
            session.show(plan.apply(dict(session), now) or dict(session))
            raise
        if record is None:
            _refuse_ended(session)
        if change.was_needed:
            plan.log_outcome()
        session.adopt(record)
        return
    raise StoreUnavailable("The access to the deal, or the choice of it, keeps changing.")


def _refuse_ended(session: UserSession) -> NoReturn:
    session.end()
    raise NotAuthenticated("Your sign-in has ended.")


@dataclass
class _Application:
    """A plan as a change of the session, which remembers whether there was anything to change."""

    plan: RestorePlan
    now: datetime
    was_needed: bool = False

    def __call__(self, data: SessionData) -> SessionData | None:
        changed = self.plan.apply(data, self.now)
        self.was_needed = changed is not None
        return changed


async def _look(resources: Resources, session: UserSession, now: datetime) -> Candidate | None:
    row = await resources.database.look_up(CANDIDATE, user_id=session.user_id)
    return Candidate.from_row(row, session.user_id, now=now) if row else None
