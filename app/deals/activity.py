"""What happened to a deal, from the audit trail, the latest first."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, Select, and_, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.core.config import Settings
from app.core.statements import fetch
from app.deals.fields import Whose
from app.deals.schemas import Activity, ActivityEvent, PersonName, person_name
from app.http.cursors import Cursors
from app.http.query import Cursor, Limit
from app.models import DEAL_ID, ROWS, USER_ID, Event, User
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
    cursors = Cursors(settings, "activity", deal_id, query.kind, query.person)
    (last_id,) = cursors.open(query.cursor, 1) if query.cursor else (None,)
    rows = await _fetch(db, user_id, deal_id, query, last_id=last_id, rows=query.limit + 1)
    events = [_event(row) for row in rows[: query.limit]]
    return Activity(events=events, next_cursor=cursors.seal(events[-1].id) if len(rows) > query.limit else None)


async def export_activity(resources: Resources, user_id: int, deal_id: int, query: ActivityQuery) -> AsyncIterator[list[ActivityEvent]]:
    """All of it, batch by batch. The caller has made sure that this person sees the deal."""
    last_id: int | None = None
    while True:
        async with resources.database.read() as db:
            rows = await _fetch(db, user_id, deal_id, query, last_id=last_id, rows=BATCH)
        if rows:
            yield [_event(row) for row in rows]
            last_id = rows[-1].id
        if len(rows) < BATCH:
            return


async def list_actors(db: AsyncSession, user_id: int, deal_id: int) -> list[PersonName]:
    """Who did anything to the deal of late, by name."""
    return [PersonName(id=row.id, name=row.name) for row in await fetch(db, _ACTORS, user_id=user_id, deal_id=deal_id, rows=LOOK_BACK)]


async def find_last_change(db: AsyncSession, deal_id: int, *kinds: str, concerns: int | None = None) -> tuple[str, datetime] | None:
    """Who made the last change of `kinds`, by name, and when; None where no event tells. `concerns`: of this person's access."""
    changed = select(User.name, Event.at).select_from(Event).outerjoin(User, Event.actor_id == User.id)
    changed = changed.where(Event.deal_id == deal_id, Event.kind.in_(kinds))
    if concerns is not None:
        changed = changed.where(Event.user_id == concerns)
    row = (await db.execute(changed.order_by(Event.id.desc()).limit(1))).first()
    return (row.name or "", row.at) if row else None


async def _fetch(
    db: AsyncSession, user_id: int, deal_id: int, query: ActivityQuery, *, last_id: int | None, rows: int
) -> Sequence[Row[Any]]:
    """So many of them, from the one behind `last_id` on."""
    person = "somebody" if isinstance(query.person, int) else query.person
    statement = _happened(query.kind, person, is_first=last_id is None)
    values = {"actor_id": query.person, "last_id": last_id, "rows": rows}
    return await fetch(db, statement, user_id=user_id, deal_id=deal_id, **values)


@cache
def _happened(kind: str | None, person: Literal["me", "none", "somebody"] | None, *, is_first: bool) -> Select[Any]:
    actor, user = aliased(User), aliased(User)
    columns: list[Any] = [Event.id, Event.kind, Event.at, Event.payload, actor.id, actor.name, user.id, user.name]
    labels = ("id", "kind", "at", "payload", "actor_id", "actor_name", "user_id", "user_name")
    statement: Select[Any] = (
        select(*(column.label(label) for column, label in zip(columns, labels, strict=True)))
        .select_from(Event)
        .outerjoin(actor, and_(actor.id == Event.actor_id, actor.organisation_id == Event.organisation_id))
        .outerjoin(user, and_(user.id == Event.user_id, user.organisation_id == Event.organisation_id))
        .where(Event.deal_id == DEAL_ID, _IS_FOR_READER)
        .order_by(Event.id.desc())
        .limit(ROWS)
    )
    if not is_first:
        statement = statement.where(Event.id < bindparam("last_id"))
    if kind:
        statement = statement.where(Event.kind.startswith(KINDS[kind], autoescape=True))
    if person:
        asked = {"me": Event.actor_id == USER_ID, "none": Event.actor_id.is_(None), "somebody": Event.actor_id == bindparam("actor_id")}
        statement = statement.where(asked[person])
    return statement


_IS_FOR_READER = or_(Event.kind.not_in(PERSONAL), Event.actor_id == USER_ID, and_(Event.actor_id.is_(None), Event.user_id == USER_ID))


def _actors() -> Select[int, str]:
    me = aliased(User)
    here = select(me.organisation_id).where(me.id == USER_ID).scalar_subquery()
    latest = select(Event.actor_id).where(Event.deal_id == DEAL_ID, _IS_FOR_READER).order_by(Event.id.desc()).limit(ROWS).subquery()
    found = select(User.id, User.name).where(User.id.in_(select(latest.c.actor_id).distinct()), User.organisation_id == here)
    return found.order_by(func.lower(User.name), User.id)


_ACTORS = _actors()


def _event(row: Row[Any]) -> ActivityEvent:
    return ActivityEvent(
        id=row.id,
        kind=row.kind,
        at=row.at,
        actor=person_name(row.actor_id, row.actor_name),
        user=person_name(row.user_id, row.user_name),
        payload=row.payload,
    )
