"""What happened to a deal, from the audit trail, the latest first."""

from pydantic import BaseModel, ConfigDict
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.config import Settings
from app.deals.cursors import Cursors
from app.deals.listing import Cursor, Limit
from app.deals.schemas import Activity, ActivityEvent, PersonName
from app.models import Event, User

# Where somebody goes is their own business; what happens to the deal is everybody's who sees it.
_PERSONAL = ("deal.selected", "deal.restored", "deal.restore_refused", "deal.cleared", "deal.pinned", "deal.unpinned", "deal.swept")


class ActivityQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: Limit = 50
    cursor: Cursor | None = None


async def list_activity(db: AsyncSession, user_id: int, deal_id: int, query: ActivityQuery, *, settings: Settings) -> Activity:
    """The caller has made sure that this person sees the deal. Names are those of the deal's own organisation."""
    cursors = Cursors(settings, "activity", user_id, deal_id)
    actor, user = aliased(User), aliased(User)
    own = or_(Event.actor_id == user_id, and_(Event.actor_id.is_(None), Event.user_id == user_id))
    statement = (
        select(Event, actor.id, actor.name, user.id, user.name)
        .outerjoin(actor, and_(actor.id == Event.actor_id, actor.organisation_id == Event.organisation_id))
        .outerjoin(user, and_(user.id == Event.user_id, user.organisation_id == Event.organisation_id))
        .where(Event.deal_id == deal_id, or_(Event.kind.not_in(_PERSONAL), own))
        .order_by(Event.id.desc())
        .limit(query.limit + 1)
    )
    if query.cursor:
        (last_id,) = cursors.open(query.cursor)
        statement = statement.where(Event.id < last_id)
    rows = (await db.execute(statement)).all()
    events = [_event(*row) for row in rows[: query.limit]]
    return Activity(events=events, next_cursor=cursors.seal(events[-1].id) if len(rows) > query.limit else None)


def _event(event: Event, actor_id: int | None, actor: str | None, user_id: int | None, user: str | None) -> ActivityEvent:
    return ActivityEvent(
        id=event.id, kind=event.kind, at=event.at, actor=_person(actor_id, actor), user=_person(user_id, user), payload=event.payload
    )


def _person(person_id: int | None, name: str | None) -> PersonName | None:
    return None if person_id is None else PersonName(id=person_id, name=name or "")
