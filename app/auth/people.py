"""Adds people and changes their preferences."""

import unicodedata
from typing import Any, Literal, get_args

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.email_address import checked_email
from app.auth.own_words import own_words
from app.auth.passwords import check_new_password, hash_password
from app.auth.store import find_account_by_email, find_organisation
from app.core.errors import BadRequest
from app.core.invisible_characters import DIRECTION_MARKS, strip_invisible
from app.core.statements import execute_dml
from app.core.unicode_forms import normal_form
from app.events.service import record_event
from app.models import Organisation, Place, Session, User
from app.resources import Resources
from app.sessions.record import Record, SessionData

MAX_NAME = 200
StartAt = Literal["last_deal", "deal", "list"]
Theme = Literal["system", "light", "dark"]
STARTS, THEMES = get_args(StartAt), get_args(Theme)
_NOT_IN_A_NAME = frozenset({"Cc", "Cs", "Zl", "Zp"})


async def add_user(
    resources: Resources, email: str, password: str, *, name: str, organisation: str, is_admin: bool = False, is_operator: bool = False
) -> int:
    """The id of the new user. The organisation is made when there is none of that name. Raises `BadRequest`, ValueError."""
    email = checked_email(email)
    check_new_password(password, own_words(email=email, name=name, organisation=organisation))
    password_hash, now = await hash_password(password, resources.settings), resources.clock.now()
    try:
        async with resources.database.write() as db:
            if await find_account_by_email(db, email):  # in another spelling, too, which no constraint knows
                raise ValueError(f"There is a user {email} already.")
            home = await find_organisation(db, organisation) or Organisation(name=organisation, created_at=now)
            db.add(home)
            await db.flush()
            role = "admin" if is_admin else "member"
            user = User(organisation_id=home.id, email=email, name=name, password_hash=password_hash, role=role, created_at=now)
            user.is_operator = is_operator
            db.add(user)
            await db.flush()
            ids = {"user_id": user.id, "organisation_id": home.id}
            await record_event(db, "user.added", at=now, role=role, is_operator=is_operator, **ids)
            return user.id
    except IntegrityError as error:
        raise ValueError(f"There is a user {email} already.") from error


def clean_name(text: str) -> str:
    """A person's name as others see it. Raises ValueError, in words that follow "The name"."""
    if len(text) > 4 * MAX_NAME:  # before anything is done that takes its time
        raise ValueError(f"may have {MAX_NAME} characters")
    name = normal_form("NFC", " ".join(strip_invisible(text).split(" "))).strip()
    if any(unicodedata.category(letter) in _NOT_IN_A_NAME or letter in DIRECTION_MARKS for letter in name):
        raise ValueError("must be one line without control characters")
    if not any(unicodedata.category(letter)[0] in "LN" for letter in name):
        raise ValueError("must have letters to call somebody by")
    if len(name) > MAX_NAME:
        raise ValueError(f"may have {MAX_NAME} characters")
    return name


async def change_preferences(resources: Resources, user_id: int, preferences: dict[str, Any]) -> dict[str, Record]:
    """Store preferences and update the person's live sessions; returns their records by token hash. Audited if anything changed.

    `start_at` "deal" comes with a `start_deal_id`. Raises `BadRequest` for a deal this person does not see.
    """
    columns = dict(preferences)
    if preferences.get("start_at") == "deal":
        await _check_start_deal(resources, user_id, preferences["start_deal_id"])
        del columns["start_at"]  # what opens should the deal be no more
    elif "start_at" in preferences:
        columns["start_deal_id"] = None
        preferences = preferences | {"start_deal_id": None}

    now = resources.clock.now()

    async def keep(db: AsyncSession) -> None:
        # Without key_share, whoever inserts a session of this person would wait for this lock, and we for that session.
        user = await db.get_one(User, user_id, with_for_update={"key_share": True})
        changed = {name: value for name, value in columns.items() if getattr(user, name) != value}
        if not changed:
            return
        for name, value in changed.items():
            setattr(user, name, value)
        await db.flush()
        if changed.get("remember_place") is False:
            await execute_dml(db, delete(Place).where(Place.user_id == user_id))
        ids = {"organisation_id": user.organisation_id, "actor_id": user_id, "user_id": user_id}
        codes = {name: value for name, value in changed.items() if name != "name"}
        await record_event(db, "user.preferences_changed", at=now, fields=sorted(changed), **codes, **ids)

    def show(data: SessionData) -> SessionData | None:
        card = data.get("user")
        if card is None or card == card | preferences:
            return None
        return data | {"user": card | preferences}

    return await resources.sessions.change_sessions(Session.user_id == user_id, show, also=keep)


async def _check_start_deal(resources: Resources, user_id: int, deal_id: int) -> None:
    # Asked before the foreign key could answer: whether a deal of others exists is nobody's business.
    async with resources.database.read() as db:
        if not await resources.sees_deal(db, user_id, deal_id, now=resources.clock.now()):
            raise BadRequest("There is no such deal for you to start at.", code="unknown_deal")
