"""What a deal, or a thing inside it, said before, as the API shows it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from app.deals.schemas import FactChange, History, HistoryQuery, HistoryStep, person_name
from app.history.store import Kind, Step, list_steps


def facts_of(thing: BaseModel) -> dict[str, Any]:
    """What a thing says now, under the names of its facts, as JSON."""
    said = thing.model_dump(mode="json")
    owner: Mapping[str, Any] | None = said.get("owner")
    return said | {"owner_id": owner and owner["id"]}


async def find_steps(db: AsyncSession, kind: Kind, thing: Any, user_id: int, *, now: datetime) -> list[Step]:
    """Of a thing as this person has just read it."""
    deal_id = thing.id if kind == "deal" else thing.deal_id
    return await list_steps(db, kind, user_id, deal_id, thing.id, facts_of(thing), now=now)


def page_of(steps: Sequence[Step], query: HistoryQuery) -> tuple[Sequence[Step], int | None]:
    """Some of the changes, and what to ask for the next ones with."""
    wanted = [step for step in steps if query.older is None or step.version < query.older]
    return wanted[: query.limit], wanted[query.limit - 1].version if len(wanted) > query.limit else None


def as_history(steps: Sequence[Step], query: HistoryQuery) -> History:
    page, older = page_of(steps, query)
    return History(steps=[_shown(step) for step in page], older=older)


def _shown(step: Step) -> HistoryStep:
    by = person_name(step.by_id, step.by_name) if step.by_name is not None else None
    changes = [FactChange(field=name, before=step.before[name], after=step.after[name]) for name in sorted(step.before)]
    return HistoryStep(version=step.version, verb=step.verb, at=step.at, by=by, changes=changes)
