"""Choosing a deal, and no longer choosing one: session, person and audit in one transaction."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, cast

from sqlalchemy import Update, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.access_lock import access_recorded
from app.access.permissions import VISIBLE_DEAL
from app.core.errors import NotAuthenticated, NotFound, StoreUnavailable
from app.core.metrics import METRICS
from app.core.statements import fetch, run
from app.core.transactions import Transaction
from app.current_deal.restore import ATTEMPTS, AccessMoved
from app.current_deal.session_data import PREVIOUS, choose_deal, deal_card, dismiss, forget_deal, if_still_on, without_restored_deal
from app.current_deal.visits import visit_noted
from app.events.service import record_event
from app.models import DEAL_ID, NOW, USER_ID, Session, User
from app.resources import Resources
from app.sessions.interface import UserSession
from app.sessions.manager import Change, Loaded
from app.sessions.matching import SessionsWhere


def _last_deal(change: Callable[[User], None]) -> Update:
    """What `change` does to a person, as a statement: parameters and columns stand where values would.

    It takes the row's lock as FOR NO KEY UPDATE has it. By a stronger one whoever inserts a session of this person would wait for
    us, and we for that session.
    """
    person = User(last_deal_version=User.last_deal_version)
    change(person)
    return update(User).where(User.id == USER_ID).values({name: value for name, value in vars(person).items() if name[0] != "_"})


_UPDATE_LAST_DEAL = _last_deal(lambda person: person.update_last_deal(cast(int, DEAL_ID), at=cast(datetime, NOW)))
_UPDATE_LAST_DEAL_OF_ADMIN = _UPDATE_LAST_DEAL.where(User.role == "admin")
_CLEAR_LAST_DEAL = _last_deal(lambda person: person.clear_last_deal(at=cast(datetime, NOW)))
_SESSIONS_OF_PERSON = SessionsWhere(Session.user_id == USER_ID)
_LAST_DEAL = select(User.organisation_id, User.last_deal_id).where(User.id == USER_ID).with_for_update(key_share=True)
_ORGANISATION = select(User.organisation_id).where(User.id == USER_ID)


async def select_deal(
    resources: Resources, session: UserSession, deal_id: int, *, page: str | None = None, is_undo: bool = False
) -> dict[str, Any]:
    """Work on this deal from now on, in this session and in every later one. Returns its card.

    `page` is the one the person sees. An undo offers no undo.

    Raises `NotFound` for what this person may not see, `Unavailable` when SQL could not say; nothing is half done then.
    """
    loaded, person = _loaded(session), session.get("user")
    for _ in range(ATTEMPTS):
        now = resources.clock.now()
        # Before the hold is taken: with a hold in its place the session could not be read where SQL is away.
        card = await find_card(resources, session.user_id, deal_id, now=now)
        if card is None:
            METRICS.selections.labels("refused").inc()
            raise NotFound
        change = partial(_choose, card=card, person=person, now=now, is_undo=is_undo)
        remember = partial(_remember, user_id=session.user_id, card=card, page=page, now=now)
        try:
            record = await resources.sessions.write(loaded, change, also=remember)
        except AccessMoved:
            continue
        if record is None:
            raise NotAuthenticated("Your sign-in has ended.")
        METRICS.selections.labels("selected").inc()
        session.adopt(record)
        return card
    raise StoreUnavailable("The access to this deal is being changed at this very moment.")


async def find_card(resources: Resources, user_id: int, deal_id: int, *, now: datetime) -> dict[str, Any] | None:
    """None for a deal this person does not see."""
    row = await resources.database.look_up(VISIBLE_DEAL, user_id=user_id, deal_id=deal_id, now=now)
    return deal_card(row) if row else None


async def clear_selection(resources: Resources, session: UserSession) -> None:
    """Forget the deal in every session of this person; nothing is restored until the next selection."""
    user_id, now = session.user_id, resources.clock.now()

    async def forget(db: AsyncSession) -> None:
        organisation_id, deal_id = (await fetch(db, _LAST_DEAL, user_id=user_id))[0]
        await run(db, _CLEAR_LAST_DEAL, user_id=user_id, now=now)
        whom: dict[str, int] = {"organisation_id": organisation_id, "actor_id": user_id, "user_id": user_id}
        await record_event(db, "deal.cleared", at=now, deal_id=deal_id, **whom)

    changed = await resources.sessions.change_sessions(_SESSIONS_OF_PERSON, forget_deal, also=forget, user_id=user_id)
    mine = changed.get(_loaded(session).token_hash)
    if mine:
        session.adopt(mine)


async def undo_restore(resources: Resources, session: UserSession) -> bool:
    """Out of the deal that came back by itself, in this session alone: the next login comes back to it. False where none did."""
    deal, user_id, now = session.get("deal"), session.user_id, resources.clock.now()
    if deal is None or without_restored_deal(session) is None:
        return False

    async def audit(db: Transaction) -> None:
        organisation_id = (await fetch(db, _ORGANISATION, user_id=user_id))[0].organisation_id
        whom = {"organisation_id": organisation_id, "actor_id": user_id, "user_id": user_id}
        await record_event(db, "deal.restore_undone", at=now, deal_id=deal["id"], **whom)

    record = await resources.sessions.write(_loaded(session), if_still_on(deal["id"], without_restored_deal), also=audit)
    if record:
        session.adopt(record)
    return record is not None


async def dismiss_notice(resources: Resources, session: UserSession, code: str | None) -> None:
    """The notice of `code` has been read; it does not come back."""
    await change_session(resources, session, partial(dismiss, code=code))


async def change_session(resources: Resources, session: UserSession, change: Change) -> None:
    """Change this request's own session, durably."""
    record = await resources.sessions.write(_loaded(session), change)
    if record:
        session.adopt(record)


def _choose(data: dict[str, Any], *, card: dict[str, Any], person: dict[str, Any] | None, now: datetime, is_undo: bool) -> dict[str, Any]:
    chosen = choose_deal({"user": person} | data, card, source="selected", at=now)
    return {key: value for key, value in chosen.items() if not (is_undo and key == PREVIOUS)}


async def _remember(db: Transaction, *, user_id: int, card: dict[str, Any], page: str | None, now: datetime) -> None:
    """The durable half: audit with proof of access, the person's last deal, the visit."""
    update_last_deal = _UPDATE_LAST_DEAL_OF_ADMIN if card["role"] == "admin" else _UPDATE_LAST_DEAL
    done = await db.run_in_turn(
        access_recorded(db.audit, "deal.selected", user_id=user_id, card=card, now=now),
        (update_last_deal, {"user_id": user_id, "deal_id": card["id"], "now": now}),
        visit_noted(db.dialect, user_id, card["id"], page, now=now, chosen=True),
    )
    if done < 2:  # of which the third has no say
        raise AccessMoved


def _loaded(session: UserSession) -> Loaded:
    if session.loaded is None:
        raise NotAuthenticated("Sign in to go on.")
    return session.loaded
