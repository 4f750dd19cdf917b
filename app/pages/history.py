"""The history of a finding, of an item of the checklist and of a deal's facts: who changed what, and bringing it back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError
from quart import Blueprint, request
from quart.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.checklist.schemas import ItemChanges
from app.checklist.service import ITEM
from app.core.errors import BadRequest, Conflict
from app.deals.history import find_steps, page_of
from app.deals.schemas import DealChanges, DealDetail, HistoryQuery, PersonName
from app.deals.service import change_deal
from app.deals.store import get_detail, list_people
from app.findings.schemas import FindingChanges
from app.findings.service import FINDING
from app.history.store import Kind, Step, facts_at
from app.http.ids import parse_id
from app.http.query import parse_query
from app.http.web import current_resources, current_user, signed_in
from app.models import User
from app.pages.checklist import item_fields
from app.pages.deals.overview import FIELDS
from app.pages.findings import finding_fields
from app.pages.kit.conflicts import contrasts
from app.pages.kit.fields import Field, as_text
from app.pages.kit.frame import Form, after, deal_write, require_editing, show_deal
from app.pages.kit.shell import current_id
from app.work.service import change_thing

history = Blueprint("history_pages", __name__)

VERBS = {
    "created": "added it",
    "updated": "changed it",
    "done": "ticked it",
    "reopened": "took back the tick",
    "deleted": "deleted it",
    "undeleted": "brought it back from its deletion",
    "imported": "changed it by an import",
}


@dataclass(frozen=True)
class _Subject:
    """What has a history: the page of the deal it is on, where its own page is, and how it is read and changed."""

    kind: Kind
    page: str
    home: str
    title: Callable[[Any], str]
    fields: Callable[[list[PersonName]], Sequence[Field]]
    changes: type[BaseModel]
    find: Callable[..., Awaitable[Any]]
    change: Callable[..., Awaitable[Any]]


async def _find_deal(db: AsyncSession, user_id: int, deal_id: int, item_id: int, **options: Any) -> DealDetail:
    return await get_detail(db, user_id, deal_id, current_deal_id=current_id(), **options)


async def _change_deal(resources: Any, user_id: int, deal_id: int, item_id: int, facts: dict[str, Any], **options: Any) -> None:
    await change_deal(resources, user_id, deal_id, facts, **options)


_FINDING = _Subject(
    "finding",
    "findings",
    "findings/{}",
    lambda thing: f"finding #{thing.number}",
    finding_fields,
    FindingChanges,
    FINDING.get,
    lambda resources, *args, **options: change_thing(resources, FINDING, *args, **options),
)
_ITEM = _Subject(
    "item",
    "checklist",
    "checklist/{}",
    lambda thing: f"“{thing.title}”",
    item_fields,
    ItemChanges,
    ITEM.get,
    lambda resources, *args, **options: change_thing(resources, ITEM, *args, **options),
)
_DEAL = _Subject(
    "deal", "overview", "overview", lambda thing: f"the facts of {thing.name}", lambda people: FIELDS, DealChanges, _find_deal, _change_deal
)


@history.get("/deals/<id:deal_id>/history")
@signed_in
async def of_deal(deal_id: int) -> ResponseReturnValue:
    return await _show(_DEAL, deal_id, deal_id)


@history.get("/deals/<id:deal_id>/findings/<id:item_id>/history")
@signed_in
async def of_finding(deal_id: int, item_id: int) -> ResponseReturnValue:
    return await _show(_FINDING, deal_id, item_id)


@history.get("/deals/<id:deal_id>/checklist/<id:item_id>/history")
@signed_in
async def of_item(deal_id: int, item_id: int) -> ResponseReturnValue:
    return await _show(_ITEM, deal_id, item_id)


@history.post("/deals/<id:deal_id>/history")
@signed_in
@deal_write("overview")
async def put_back_deal(deal_id: int, form: Form) -> ResponseReturnValue:
    return await _put_back(_DEAL, deal_id, deal_id, form)


@history.post("/deals/<id:deal_id>/findings/<id:item_id>/history")
@signed_in
@deal_write("findings")
async def put_back_finding(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    return await _put_back(_FINDING, deal_id, item_id, form)


@history.post("/deals/<id:deal_id>/checklist/<id:item_id>/history")
@signed_in
@deal_write("checklist")
async def put_back_item(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    return await _put_back(_ITEM, deal_id, item_id, form)


async def _show(subject: _Subject, deal_id: int, item_id: int) -> ResponseReturnValue:
    return await show_deal(deal_id, subject.page, "deals/history.html", partial(_load, subject=subject, item_id=item_id))


async def _load(db: AsyncSession, deal: DealDetail, *, subject: _Subject, item_id: int) -> dict[str, Any]:
    user, now = current_user(), current_resources().clock.now()
    thing = deal if subject.kind == "deal" else await subject.find(db, user.id, deal.id, item_id, now=now)
    steps = await find_steps(db, subject.kind, thing, user.id, now=now)
    fields = subject.fields(await _people_in(db, deal, steps) if subject.kind != "deal" else [])
    page, older = page_of(steps, parse_query(HistoryQuery, request.args))
    # Texts made to be slow to compare: the loop stays free for everybody else.
    shown = await asyncio.to_thread(lambda: [_shown(step, fields) | {"differs": bool(facts_at(steps, step.version))} for step in page])
    first = steps[-1].version - 1 if steps and steps[-1].verb != "created" and not older else 0
    home = f"/deals/{deal.id}/" + subject.home.format(item_id)
    path = f"/deals/{deal.id}/history" if subject.kind == "deal" else f"{home}/history"
    return {"thing": thing, "what": subject.title(thing), "steps": shown, "first": first, "home": home, "path": path, "older": older}


def _shown(step: Step, fields: Sequence[Field]) -> dict[str, Any]:
    """What a page says of a change, with the words marked that differ."""
    values = ((each, as_text(step.before[each.name]), as_text(step.after[each.name])) for each in fields if each.name in step.before)
    changes = [(field.label, contrasts(field, before, after)) for field, before, after in values]
    said = {"version": step.version, "at": step.at, "by": step.by_name or "Somebody", "verb": VERBS.get(step.verb, "changed it")}
    return said | {"changes": changes}


async def _people_in(db: AsyncSession, deal: DealDetail, steps: Sequence[Step]) -> list[PersonName]:
    """Who sees the deal, and whoever else a change names; who is gone has no name any more."""
    people = await list_people(db, deal.id, now=current_resources().clock.now())
    named = {each.get("owner_id") for step in steps for each in (step.before, step.after)} - {None, *(each.id for each in people)}
    ids = {each for each in named if isinstance(each, int)}
    if not ids:
        return people
    of_here = select(User.organisation_id).where(User.id == current_user().id).scalar_subquery()
    found = await db.execute(select(User.id, User.name).where(User.id.in_(ids), User.organisation_id == of_here))
    names = {row.id: row.name for row in found}
    return [*people, *(PersonName(id=each, name=names.get(each, "somebody who is gone")) for each in sorted(ids))]


async def _put_back(subject: _Subject, deal_id: int, item_id: int, form: Form) -> ResponseReturnValue:
    """A new version that says what the thing said at `to`, if it is still at `version`, as it was shown."""
    await require_editing(deal_id)
    resources, user = current_resources(), current_user()
    to, version = parse_id(form.get("to", "") or "0"), parse_id(form.get("version", ""))
    home = subject.home.format(item_id)
    async with resources.database.read() as db:
        now = resources.clock.now()
        thing = await subject.find(db, user.id, deal_id, item_id, now=now)
        steps = await find_steps(db, subject.kind, thing, user.id, now=now)
        people = {each.id for each in await list_people(db, deal_id, now=now)}
    facts = _typed(subject.changes, facts_at(steps, to))
    kept = facts.get("owner_id") is not None and facts["owner_id"] not in people
    if kept:
        del facts["owner_id"]
    try:
        await subject.change(resources, user.id, deal_id, item_id, facts, expected={version})
    except Conflict as conflict:
        if "current" not in conflict.extra and conflict.code != "external_ref_taken":
            raise
        where = home if subject.kind != "deal" else ""
        return after(deal_id, f"{where}/history".lstrip("/"), "reference_taken" if "current" not in conflict.extra else "history_moved")
    undo: dict[str, Any] = {"undo": item_id, "to": version, "version": version + 1} if thing.version == version and facts else {}
    kind = subject.kind
    return after(
        deal_id,
        home,
        "deal_brought_back" if kind == "deal" else "finding_brought_back" if kind == "finding" else "item_brought_back",
        owner="kept" if kept else "",
        **undo,
    )


def _typed(model: type[BaseModel], facts: Mapping[str, Any]) -> dict[str, Any]:
    """As the thing has them. Raises `BadRequest` for what today's rules do not allow any more."""
    known = {name: value for name, value in facts.items() if name in model.model_fields}
    try:
        stated = model.model_validate(known).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise BadRequest("What it said then is not allowed any more, so it cannot be brought back as it was.") from error
    # The year of a deal goes with its day, and is not stated by itself.
    return stated | {name: value for name, value in facts.items() if name == "announced_year"}
