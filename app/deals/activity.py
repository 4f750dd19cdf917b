"""What happened to a deal, from the audit trail, the latest first."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.config import Settings
from app.deals.fields import Whose
from app.deals.schemas import Activity, ActivityEvent, PersonName, person_name
from app.http.cursors import Cursors
from app.http.query import Cursor, Limit
from app.models import Event, User
from app.resources import Resources

# A person's own navigation is private; what happens to the deal concerns everybody who sees it.
PERSONAL = (
    "deal.selected",
    "deal.restored",
    "deal.restore_refused",
    "deal.restore_undone",
    "deal.cleared",
    "deal.swept",
    "deal.pinned",
    "deal.unpinned",
    "deal.swept",
)
# Filter names, with the prefix of their events' kinds.
KINDS = {"deal": "deal.", "people": "member.", "findings": "finding.", "checklist": "checklist."}
# Of an export: one batch is one read, so that nobody waits for all of it.
BATCH = 500
# In how many of a deal's latest events those who did something are looked for.
LOOK_BACK = 5000


class ActivityQuery(BaseModel):
    """`kind` of what happened, `person` who did it: an id, me, or none for what nobody in particular did."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: Literal["deal", "people", "findings", "checklist"] | None = None
    person: Whose | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


async def list_activity(db: AsyncSession, user_id: int, deal_id: int, query: ActivityQuery, *, settings: Settings) -> Activity:
    """The caller has made sure that this person sees the deal. Names are those of the deal's own organisation."""
    cursors = Cursors(settings, "activity", user_id, deal_id, query.kind, query.person)
    statement = _happened(user_id, deal_id, query).limit(query.limit + 1)
    if query.cursor:
        (last_id,) = cursors.open(query.cursor, 1)
        statement = statement.where(Event.id < last_id)
    rows = (await db.execute(statement)).all()
    events = [_event(*row) for row in rows[: query.limit]]
    return Activity(events=events, next_cursor=cursors.seal(events[-1].id) if len(rows) > query.limit else None)


async def export_activity(resources: Resources, user_id: int, deal_id: int, query: ActivityQuery) -> AsyncIterator[list[ActivityEvent]]:
    """All of it, batch by batch. The caller has made sure that this person sees the deal."""
    last_id: int | None = None
    while True:
        statement = _happened(user_id, deal_id, query).limit(BATCH)
        if last_id is not None:
            statement = statement.where(Event.id < last_id)
        async with resources.database.read() as db:
            rows = (await db.execute(statement)).all()
        if rows:
            yield [_event(*row) for row in rows]
            last_id = rows[-1][0].id
        if len(rows) < BATCH:
            return


async def list_actors(db: AsyncSession, user_id: int, deal_id: int) -> list[PersonName]:
    """Who did anything to the deal of late, by name."""
    latest = select(Event.actor_id).where(Event.deal_id == deal_id, _is_for(user_id)).order_by(Event.id.desc()).limit(LOOK_BACK).subquery()
    found = select(User.id, User.name).where(
        User.id.in_(select(latest.c.actor_id).distinct()), User.organisation_id == _organisation_of(user_id)
    )
    rows = await db.execute(found.order_by(func.lower(User.name), User.id))
    return [PersonName(id=row.id, name=row.name) for row in rows]


async def find_last_change(db: AsyncSession, deal_id: int, *kinds: str, concerns: int | None = None) -> tuple[str, datetime] | None:
    """Who made the last change of `kinds`, by name, and when; None where no event tells. `concerns`: of this person's access."""
    changed = select(User.name, Event.at).select_from(Event).outerjoin(User, Event.actor_id == User.id)
    changed = changed.where(Event.deal_id == deal_id, Event.kind.in_(kinds))
    if concerns is not None:
        changed = changed.where(Event.user_id == concerns)
    row = (await db.execute(changed.order_by(Event.id.desc()).limit(1))).first()
    return (row.name or "", row.at) if row else None


def _happened(user_id: int, deal_id: int, query: ActivityQuery) -> Select[Any]:
    actor, user = aliased(User), aliased(User)
    columns: list[Any] = [Event, actor.id, actor.name, user.id, user.name]
    statement: Select[Any] = (
        select(*columns)
        .outerjoin(actor, and_(actor.id == Event.actor_id, actor.organisation_id == Event.organisation_id))
        .outerjoin(user, and_(user.id == Event.user_id, user.organisation_id == Event.organisation_id))
        .where(Event.deal_id == deal_id, _is_for(user_id))
        .order_by(Event.id.desc())
    )
    if query.kind:
        statement = statement.where(Event.kind.startswith(KINDS[query.kind], autoescape=True))
    if query.person is not None:
        person = user_id if query.person == "me" else query.person
        statement = statement.where(Event.actor_id.is_(None) if person == "none" else Event.actor_id == person)
    return statement


def _is_for(user_id: int) -> ColumnElement[bool]:
    own = or_(Event.actor_id == user_id, and_(Event.actor_id.is_(None), Event.user_id == user_id))
    return or_(Event.kind.not_in(PERSONAL), own)


def _organisation_of(user_id: int) -> Any:
    me = aliased(User)
    return select(me.organisation_id).where(me.id == user_id).scalar_subquery()


def _event(event: Event, actor_id: int | None, actor: str | None, user_id: int | None, user: str | None) -> ActivityEvent:
    return ActivityEvent(
        id=event.id,
        kind=event.kind,
        at=event.at,
        actor=person_name(actor_id, actor),
        user=person_name(user_id, user),
        payload=event.payload,
    )
