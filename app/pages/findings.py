"""The findings of a deal: the list, one of them, and the forms to write, change, settle and delete them."""

from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from quart import Blueprint
from quart.typing import ResponseReturnValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import EDITING_ROLES
from app.core.errors import BadRequest, Conflict, NotFound
from app.deals.schemas import DealDetail, PersonName
from app.deals.store import list_people
from app.findings.markdown import render_markdown
from app.findings.schemas import FindingChanges, FindingList, FindingQuery, NewFinding
from app.findings.service import FINDING, change_findings
from app.findings.store import find_beside, get_finding, list_findings
from app.http.ids import parse_id
from app.http.web import current_resources, current_user, signed_in
from app.models import FINDING_STATUSES, SEVERITIES
from app.pages.kit.fields import Field
from app.pages.kit.forms import NO_VERSION, SAVED, FormSheet, blank_sheet, sheet_of
from app.pages.kit.frame import Form, after, deal_write, require_editing, saved_by, show_deal
from app.pages.kit.listing import ListState, Options
from app.pages.kit.place import Asked, query_left
from app.work.service import change_thing, create_thing, delete_thing, undelete_thing

findings = Blueprint("findings_pages", __name__)

STATUS_TEXTS = {"open": "open", "in_review": "in review", "accepted": "accepted", "resolved": "resolved"}
SEVERITY_OPTIONS = tuple((each, each.capitalize()) for each in SEVERITIES)
STATUS_OPTIONS = tuple((each, STATUS_TEXTS[each].capitalize()) for each in FINDING_STATUSES)
_KEEP = "keep"


@findings.get("/deals/<id:deal_id>/findings")
@signed_in
async def show_list(deal_id: int) -> ResponseReturnValue:
    return await show_deal(deal_id, "findings", "findings/list.html", _load_list)


@findings.get("/deals/<id:deal_id>/findings/new")
@signed_in
async def write(deal_id: int) -> ResponseReturnValue:
    return await _show_form(deal_id, None, blank_sheet((), severity="medium", status="open"))


@findings.get("/deals/<id:deal_id>/findings/<id:item_id>")
@signed_in
async def show(deal_id: int, item_id: int) -> ResponseReturnValue:
    return await show_deal(deal_id, "findings", "findings/one.html", partial(_load_one, item_id=item_id))


@findings.get("/deals/<id:deal_id>/findings/<id:item_id>/edit")
@signed_in
async def edit(deal_id: int, item_id: int) -> ResponseReturnValue:
    return await _show_form(deal_id, item_id, None)


@findings.post("/deals/<id:deal_id>/findings")
@signed_in
@deal_write("findings")
async def create(deal_id: int, form: Form) -> ResponseReturnValue:
    await require_editing(deal_id)
    resources, user, sheet = current_resources(), current_user(), blank_sheet(finding_fields())
    made: list[int] = []

    async def save(facts: dict[str, Any], version: int | None) -> None:
        made.append(await create_thing(resources, FINDING, user.id, deal_id, facts, saved=saved_by(form)))

    status = await sheet.submit(form, NewFinding, save)
    if status != SAVED:
        return await _show_form(deal_id, None, sheet, status)
    return after(deal_id, f"findings/{made[0]}", "finding_created", saved="finding-new")


@findings.post("/deals/<id:deal_id>/findings/bulk")
@signed_in
@deal_write("findings")
async def change_many(deal_id: int, form: Form) -> ResponseReturnValue:
    """What is chosen for all that are ticked. One that somebody changed meanwhile is left alone, and named."""
    await require_editing(deal_id)
    facts = _bulk_facts(form)
    versions = dict(_ticked(text) for text in form.getlist("item"))
    here = {name: value for name, value in parse_qsl(form.get("query", "")) if name in FindingQuery.model_fields}
    if not versions or not facts:
        return after(deal_id, "findings", "nothing_chosen", **here)
    outcome = await change_findings(current_resources(), current_user().id, deal_id, versions, facts)
    moved = ",".join(map(str, outcome.moved))
    return after(deal_id, "findings", "findings_changed", number=len(outcome.done), moved=moved, **here)


@findings.post("/deals/<id:deal_id>/findings/<id:item_id>")
@signed_in
@deal_write("findings")
async def change(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    await require_editing(deal_id)
    resources, user, sheet = current_resources(), current_user(), blank_sheet(finding_fields())

    async def save(facts: dict[str, Any], version: int | None) -> None:
        expected, saved = {version or NO_VERSION}, saved_by(form)
        await change_thing(resources, FINDING, user.id, deal_id, item_id, facts, expected=expected, saved=saved)

    try:
        status = await sheet.submit(form, FindingChanges, save)
    except NotFound:
        # Deleted meanwhile: what was typed becomes a new one, if the person wants it.
        sheet.message, sheet.version = "This finding was deleted meanwhile. What you typed is kept here: save it as a new one", None
        return await _show_form(deal_id, None, sheet, NotFound.status)
    if status != SAVED:
        return await _show_form(deal_id, item_id, sheet, status)
    return after(deal_id, f"findings/{item_id}", "edit_saved", saved=f"finding-{item_id}")


@findings.post("/deals/<id:deal_id>/findings/<id:item_id>/delete")
@signed_in
@deal_write("findings")
async def delete(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    try:
        await delete_thing(current_resources(), FINDING, current_user().id, deal_id, item_id, expected=_versions(form))
    except Conflict as conflict:
        if "current" not in conflict.extra:
            raise
        return after(deal_id, f"findings/{item_id}", "read_again")
    return after(deal_id, "findings", "finding_deleted", undo=item_id)


@findings.post("/deals/<id:deal_id>/findings/<id:item_id>/restore")
@signed_in
@deal_write("findings")
async def bring_back(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    await undelete_thing(current_resources(), FINDING, current_user().id, deal_id, item_id)
    return after(deal_id, f"findings/{item_id}", "finding_undeleted")


async def _load_list(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
    resources, user, asked = current_resources(), current_user(), Asked("findings")
    now, query = resources.clock.now(), asked.parse(FindingQuery)
    people = await list_people(db, deal.id, now=now)
    if asked.left and isinstance(query.owner, int) and query.owner not in {each.id for each in people}:
        query = asked.without(query, "owner")

    async def look(wanted: FindingQuery) -> FindingList:
        return await list_findings(db, user.id, deal.id, wanted, settings=resources.settings, now=now)

    query, found = await asked.find(query, look)
    chosen = query.model_dump(exclude_defaults=True, exclude={"limit"})
    values = {name: str(chosen.get(name) or "") for name in ("q", "severity", "status", "owner", "sort", "cursor")}
    state = ListState(f"/deals/{deal.id}/findings", values)
    owners: Options = (("", "anybody"), ("me", "me"), ("none", "nobody"), *((str(each.id), each.name) for each in people))
    choices = [
        state.choice("severity", "Severity", (("", "any"), *((value, text.lower()) for value, text in SEVERITY_OPTIONS))),
        state.choice("status", "Status", (("", "any"), ("unsettled", "not settled"), *STATUS_TEXTS.items())),
        state.choice("owner", "Owner", owners),
    ]
    heads = {name: state.head(name) for name in ("severity", "status", "updated")} | {"title": state.head("title", ascending=True)}
    if not values["sort"]:
        heads["severity"] = {"address": state.url(sort="-severity"), "order": "descending"}
    return {
        "found": found,
        "people": people,
        "owners": person_options(people, None),
        "state": state,
        "choices": choices,
        "heads": heads,
        "filtered": state.is_filtered("q", "severity", "status", "owner"),
        "status_texts": STATUS_TEXTS,
        "severity_options": SEVERITY_OPTIONS,
        "status_options": STATUS_OPTIONS,
    }


async def _load_one(db: AsyncSession, deal: DealDetail, *, item_id: int) -> dict[str, Any]:
    user, now = current_user(), current_resources().clock.now()
    finding = await get_finding(db, user.id, deal.id, item_id, now=now)
    beside = await find_beside(db, user.id, finding, query_left("findings", FindingQuery), now=now)
    return {
        "finding": finding,
        "beside": {way: (each[0], f"#{each[1]}") for way, each in beside._asdict().items() if each},
        "html": await render_markdown(finding.text),
        "owners": person_options(await list_people(db, deal.id, now=now), finding.owner) if deal.can_edit else (),
        "status_texts": STATUS_TEXTS,
        "severity_options": SEVERITY_OPTIONS,
        "status_options": STATUS_OPTIONS,
    }


async def _show_form(deal_id: int, item_id: int | None, sheet: FormSheet | None, status: int = 200) -> ResponseReturnValue:
    """The form of a new finding, or of `item_id`; `sheet` is what was typed already."""

    async def load(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
        now, shown = current_resources().clock.now(), sheet
        people = await list_people(db, deal.id, now=now)
        fields, finding = finding_fields(people), None
        if item_id is not None:
            finding = await get_finding(db, current_user().id, deal.id, item_id, now=now)
            fields = finding_fields(people, finding.owner)
            shown = shown or sheet_of(fields, finding.model_dump())
        assert shown is not None
        # The people to choose from are known only now.
        shown.fields = fields
        shown.values = dict.fromkeys((each.name for each in fields), "") | shown.values
        by_name = {each.name: each for each in fields}
        shown.differences = [each._replace(field=by_name[each.field.name]) for each in shown.differences]
        return {"sheet": shown, "finding": finding}

    return await show_deal(deal_id, "findings", "findings/form.html", load, roles=EDITING_ROLES, status=status)


def finding_fields(people: list[PersonName] | None = None, owner: PersonName | None = None) -> tuple[Field, ...]:
    return (
        Field("title", "Title", "wide", required=True),
        Field("severity", "Severity", "choice", options=SEVERITY_OPTIONS),
        Field("status", "Status", "choice", options=STATUS_OPTIONS),
        Field("owner_id", "Owner", "person", options=person_options(people or [], owner)),
        Field("text", "Text", "prose", "You can use Markdown: **bold**, *italic*, - lists, [links](https://…), tables.", longest=20_000),
    )


def person_options(people: list[PersonName], owner: PersonName | None) -> Options:
    """Nobody, who sees the deal, and whoever owns the thing although they no longer do."""
    more = [owner] if owner and owner.id not in {each.id for each in people} else []
    return (("", "Nobody yet"), *((str(each.id), each.name) for each in [*people, *more]))


def _bulk_facts(form: Form) -> dict[str, Any]:
    facts: dict[str, Any] = {name: form[name] for name in ("severity", "status") if form.get(name, _KEEP) != _KEEP}
    owner = form.get("owner_id", _KEEP)
    if owner != _KEEP:
        facts["owner_id"] = parse_id(owner) if owner else None
    if facts.get("severity", SEVERITIES[0]) not in SEVERITIES or facts.get("status", FINDING_STATUSES[0]) not in FINDING_STATUSES:
        raise BadRequest("Some fields are missing.")
    return facts


def _ticked(text: str) -> tuple[int, int]:
    """`id:version` of a row."""
    item_id, _, version = text.partition(":")
    return parse_id(item_id), parse_id(version)


def _versions(form: Form) -> set[int]:
    return {parse_id(form.get("version", ""))}
