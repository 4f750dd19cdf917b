"""What explaining a person reads: how they stand to a few deals, and what happened to them. Never a deal's contents."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import and_, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.access.permissions import ROLE, visible_to
from app.auth.email_address import canonical_email
from app.models import Deal, Event, Member, Organisation, User
from app.ops.console.schemas import DealState, ExplainedPerson, Happening

# Enough to find the last change of anything; read backwards along an index, so a busy deal costs no more than this.
LOOK_BACK = 300
# What others do to a deal concerns everybody who has it open.
_OF_THE_DEAL = ("deal.deleted", "deal.undeleted", "deal.transferred", "deal.archived", "deal.unarchived")


async def find_deal_states(db: AsyncSession, user_id: int, deal_ids: Collection[int], *, now: datetime) -> dict[int, DealState]:
    """How this person stands to each deal, by id. Whether they see it is `permissions`' answer; why not is looked up beside it."""
    if not deal_ids:
        return {}
    seen = visible_to(user_id, Deal.id, ROLE, now=now).where(Deal.id.in_(deal_ids))
    roles = {row.id: row.role for row in await db.execute(seen)}
    grant = aliased(Member)
    rows = await db.execute(
        select(Deal.id, Deal.deleted_at, Deal.archived_at, grant.role, grant.expires_at)
        .outerjoin(grant, and_(grant.deal_id == Deal.id, grant.user_id == user_id))
        .where(Deal.id.in_(deal_ids))
    )
    states = {}
    for row in rows:
        role = roles.get(row.id)
        ended = row.expires_at is not None and row.expires_at <= now
        state = "visible" if role else "deleted" if row.deleted_at else "grant_ended" if ended else "no_access"
        until = row.expires_at if role in (None, "editor", "viewer") else None
        states[row.id] = DealState(
            id=row.id,
            state=state,
            role=role or row.role,
            access_until=until,
            deleted_at=row.deleted_at,
            archived=row.archived_at is not None,
        )
    return states


async def list_happenings(db: AsyncSession, user_id: int, deal_id: int | None) -> list[Happening]:
    """What happened to this person, and to the deal their pointer names, the latest first. Who did it by e-mail address."""
    looks = [select(Event.id).where(Event.user_id == user_id).order_by(Event.id.desc()).limit(LOOK_BACK).subquery()]
    if deal_id is not None:
        looks.append(select(Event.id).where(Event.deal_id == deal_id).order_by(Event.id.desc()).limit(LOOK_BACK).subquery())
    ids = union_all(*(select(look.c.id) for look in looks)).subquery()
    actor = aliased(User)
    rows = await db.execute(
        select(Event, actor.email)
        .outerjoin(actor, actor.id == Event.actor_id)
        .where(Event.id.in_(select(ids.c.id)), or_(Event.user_id == user_id, Event.kind.in_(_OF_THE_DEAL)))
        .order_by(Event.id.desc())
    )
    return [
        Happening(
            event_id=event.id,
            at=event.at,
            kind=event.kind,
            deal_id=event.deal_id,
            user_id=event.user_id,
            by="themselves"
            if event.actor_id == user_id
            else email or ("a command or the system" if event.actor_id is None else "someone erased"),
            reason=event.payload.get("reason") or event.payload.get("source"),
        )
        for event, email in rows
    ]


async def find_people(db: AsyncSession, text: str, *, limit: int) -> list[ExplainedPerson]:
    """Whose address contains `text`, in the order of their addresses."""
    found = select(User, Organisation.name).join(Organisation, Organisation.id == User.organisation_id)
    wanted = dict.fromkeys((text.lower(), canonical_email(text)))
    contains = or_(*(User.email.contains(each, autoescape=True) for each in wanted))
    rows = await db.execute(found.where(contains).order_by(User.email).limit(limit))
    return [as_person(user, organisation) for user, organisation in rows]


def as_person(user: User, organisation: str) -> ExplainedPerson:
    return ExplainedPerson(
        id=user.id, email=user.email, name=user.name, organisation=organisation, role=user.role, disabled_at=user.disabled_at
    )
