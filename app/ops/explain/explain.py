"""Why a person's deal is, or is not, the current one: every step of the precedence rule with its values.

The code that restores decides (`app/current_deal/restore.py`); nothing is decided here. SQL alone is read, so it
works with Redis away. Operators get ids and states of deals, no names: those are the organisation's.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import visible_to
from app.auth.store import find_account_by_email, list_live_logins
from app.core.clock import from_unix_ms, to_unix_ms
from app.core.config import Settings
from app.current_deal.candidate import Candidate, find_candidate
from app.current_deal.restore import RESTORE_SWITCH, decide, is_due, who_decides_restore
from app.current_deal.session_data import has_deal
from app.http.devices import describe_device
from app.models import Organisation, Session, Switch, User
from app.ops.console.schemas import Browser, DealState, Explanation, Happening, Outlook, Step
from app.ops.explain import words
from app.ops.explain.store import as_person, find_deal_states, list_happenings

SHOWN_EVENTS = 20
_ACCESS = ("member.granted", "member.changed", "member.revoked", "deal.deleted", "deal.undeleted", "deal.transferred")


async def explain(db: AsyncSession, settings: Settings, email: str, *, now: datetime) -> Explanation | None:
    """None if there is no such person."""
    account = await find_account_by_email(db, email)
    if account is None:
        return None
    return await Explainer(db, settings, now).explain(account.id)


class Explainer:
    """Explains one person. `db` is one transaction, so everything is of one moment."""

    def __init__(self, db: AsyncSession, settings: Settings, now: datetime) -> None:
        self.db = db
        self.settings = settings
        self.now = now

    async def explain(self, user_id: int) -> Explanation:
        db = self.db
        row = (
            await db.execute(select(User, Organisation.name, Organisation.auto_restore_deal).join(Organisation).where(User.id == user_id))
        ).one()
        self.user: User = row.User
        self.switch = await db.get(Switch, RESTORE_SWITCH)
        self.candidate = await find_candidate(db, user_id, now=self.now)
        self.enabled, self.decided_by = self._whether_restored(self.candidate is None or self.candidate.organisation_restores)
        self.visible = await db.scalar(visible_to(user_id, func.count(), now=self.now)) or 0
        logins = await list_live_logins(db, user_id, now=self.now)
        rows = await db.scalars(select(Session).where(Session.user_id == user_id, Session.expires_at > self.now))
        sessions = {each.login_id: each for each in rows}
        pointed = {each.current_deal_id for each in sessions.values()} | {self.user.last_deal_id}
        self.happenings = await list_happenings(db, user_id, self.user.last_deal_id)
        lost = words.lost_deal(self.happenings)
        self.deals = await find_deal_states(db, user_id, {each for each in pointed | {lost} if each is not None}, now=self.now)
        self.lost = self.deals.get(lost) if lost is not None else None
        browsers = [await self._browser(login, sessions.get(login.id)) for login in logins]
        browsers.sort(key=lambda each: each.last_active, reverse=True)
        at_sign_in = await self._outlook({}, is_new=True)
        next_ = browsers[0].next if browsers else at_sign_in
        return Explanation(
            user=as_person(self.user, row.name),
            at=self.now,
            answer=next_.words,
            fix=next_.fix,
            outcome=next_.outcome,
            reason=next_.reason,
            steps=self._steps(browsers, at_sign_in, next_),
            browsers=browsers,
            next_sign_in=at_sign_in,
            history=[each for each in self.happenings if each.user_id == user_id][:SHOWN_EVENTS],
        )

    async def _browser(self, login: Any, session: Session | None) -> Browser:
        data: dict[str, Any] = session.data if session else {}
        deal_id = data.get("current_deal_id")
        return Browser(
            login_id=login.id,
            device=describe_device(login.user_agent),
            signed_in_at=login.created_at,
            # The session is touched with the login, and changed without it.
            last_active=max(login.seen_at, session.touched_at) if session else login.seen_at,
            session="live" if session else "none",
            version=session.version if session else None,
            deal=self.deals.get(deal_id) if deal_id is not None else None,
            source=data.get("source"),
            selected_at=data.get("selected_at"),
            notice=(data.get("notice") or {}).get("code"),
            only_deal_off=bool(data.get("only_deal_off")),
            looks_again_at=from_unix_ms(data["nothing_until"]) if data.get("nothing_until") else None,
            next=await self._outlook(data, is_new=session is None),
        )

    async def _outlook(self, data: dict[str, Any], *, is_new: bool) -> Outlook:
        """What the next request of a session with `data` does."""
        if self.candidate is None:
            return self._explained("cannot_sign_in", "disabled", None)
        now_ms = to_unix_ms(self.now)
        if has_deal(data, now_ms):
            return self._explained("keeps", data.get("source") or "selected", data["current_deal_id"])
        looks = self._whether_restored(organisation=True)[0]
        if not is_due(data, is_new=is_new, enabled=looks, now_ms=now_ms):
            return self._explained("none", self._why_nothing(self.candidate, data), None)
        plan = decide(self.candidate, data, enabled=self.enabled)
        if plan.may_be_only_deal:
            plan = await plan.or_only_deal(self.db, self.now)
        if plan.card:
            return self._explained(plan.outcome, plan.outcome, plan.card["id"])
        if plan.outcome == "none":
            return self._explained("none", self._why_nothing(self.candidate, data), None)
        return self._explained(plan.outcome, plan.outcome, self.candidate.pointer)

    def _whether_restored(self, organisation: bool) -> tuple[bool, str]:
        return who_decides_restore(self.settings.auto_restore_deal, self.switch.enabled if self.switch else None, organisation=organisation)

    def _why_nothing(self, candidate: Candidate, data: dict[str, Any]) -> str:
        """Why `decide` came to nothing: a code of `explain_words.NOTHING`."""
        if not self.enabled:
            return f"switched_off_by_{self.decided_by}"
        if candidate.pointer is not None and candidate.user["remember_last_deal"]:
            return "already_refused" if data.get("refused") == candidate.pointer_version else "waits"
        if candidate.pointer is not None:
            return "remember_off"
        if candidate.cleared:
            return "cleared"
        if self.lost and self.lost.state != "visible":
            return "withdrawn"
        if self.lost:
            return "granted_again"
        if self.visible == 1 and not data.get("only_deal_off"):
            return "waits"
        return "sees_none" if self.visible == 0 else "undecided"

    def _explained(self, outcome: str, reason: str, deal_id: int | None) -> Outlook:
        about = self.deals.get(deal_id) if deal_id is not None else self.lost
        if reason == "already_refused":
            about = self.deals.get(self.user.last_deal_id or 0)
        facts = words.Facts(
            deal=about,
            deal_id=deal_id or (about.id if about else None),
            user=self.user,
            visible=self.visible,
            withdrawn=self._last("member.revoked", "deal.restore_refused", deal_id=about.id) if about else None,
            switch=self.switch,
        )
        return Outlook(
            outcome=outcome,
            reason=reason,
            deal_id=deal_id,
            words=words.outlook(outcome, reason, facts),
            fix=words.fix(outcome, reason, facts),
        )

    def _steps(self, browsers: list[Browser], at_sign_in: Outlook, next_: Outlook) -> list[Step]:
        pointer = self.deals.get(self.user.last_deal_id) if self.user.last_deal_id is not None else None
        chosen = next((each for each in browsers if each.next.outcome == "keeps"), None)
        step_of = {"keeps": "session", "restored": "last_deal", "refused_deleted": "last_deal", "refused_revoked": "last_deal"}
        step_of |= {"only_deal": "only_deal", "none": "list", "cannot_sign_in": "list"}
        decides = step_of[next_.outcome]
        found = {
            "url": (words.url(self.visible), {"visible_deals": self.visible}, None),
            "session": (
                words.sessions(browsers),
                {"sessions": len(browsers), "current_deal_id": chosen.deal.id if chosen and chosen.deal else None},
                self._last("deal.selected", "deal.restored", "deal.cleared", "member.revoked"),
            ),
            "last_deal": (words.pointer(self.user, pointer, enabled=self.enabled), self._pointer_values(pointer), self._pointer_change()),
            "only_deal": (
                words.only_deal(self.visible, self.user, [each for each in browsers if each.only_deal_off]),
                {"visible_deals": self.visible, "cleared_at": self.user.last_deal_cleared_at},
                self._last(*_ACCESS),
            ),
            "list": (words.deal_list(next_), {}, None),
        }
        order = list(found)
        reached = order.index(decides)
        return [
            Step(
                step=name,
                state="decides" if index == reached else "passes" if index < reached else "not_reached",
                found=text,
                values=values,
                last_change=change,
            )
            for index, (name, (text, values, change)) in enumerate(found.items())
        ]

    def _pointer_values(self, pointer: DealState | None) -> dict[str, Any]:
        return {
            "last_deal_id": self.user.last_deal_id,
            "last_deal_accessed_at": self.user.last_deal_accessed_at,
            "last_deal_version": self.user.last_deal_version,
            "cleared_at": self.user.last_deal_cleared_at,
            "remember_last_deal": self.user.remember_last_deal,
            "auto_restore": self.enabled,
            "auto_restore_set_by": self.decided_by,
            "access": pointer.state if pointer else None,
            "access_as": pointer.role if pointer else None,
            "access_until": pointer.access_until if pointer else None,
        }

    def _pointer_change(self) -> Happening | None:
        """Of what the pointer says, or of the access to where it points, whichever is later."""
        of_access = self._last(*_ACCESS, deal_id=self.user.last_deal_id) if self.user.last_deal_id else self._last("member.revoked")
        of_pointer = self._last("deal.selected", "deal.cleared", "deal.restore_refused")
        return max(filter(None, (of_access, of_pointer)), key=lambda each: each.event_id, default=None)

    def _last(self, *kinds: str, deal_id: int | None = None) -> Happening | None:
        return next((each for each in self.happenings if each.kind in kinds and deal_id in (None, each.deal_id)), None)
