"""The checklist of a deal: its sections, ticking, the forms of its items, and the standard lists to start from."""

from functools import partial
from itertools import groupby
from typing import Any

from quart import Blueprint, request
from quart.typing import ResponseReturnValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import EDITING_ROLES
from app.checklist.order import raise_item
from app.checklist.schemas import ChecklistQuery, ItemChanges, NewItem
from app.checklist.service import ITEM, add_template, remove_untouched
from app.checklist.standard import TEMPLATES
from app.checklist.store import MAX_ITEMS, fitting_items, get_item, list_items
from app.core.errors import BadRequest, Conflict, NotFound
from app.deals.schemas import DealDetail, PersonName
from app.deals.store import list_people
from app.http.ids import parse_id
from app.http.web import current_resources, current_user, signed_in
from app.pages.findings import person_options
from app.pages.kit.fields import Field
from app.pages.kit.forms import NO_VERSION, SAVED, FormSheet, blank_sheet, sheet_of
from app.pages.kit.frame import Form, after, deal_write, require_editing, saved_by, show_deal
from app.pages.kit.listing import ListState, Options
from app.pages.kit.place import Asked, query_left
from app.work.service import change_thing, create_thing, delete_thing, undelete_thing

checklist = Blueprint("checklist_pages", __name__)

NEW = "item-new"


@checklist.get("/deals/<id:deal_id>/checklist")
@signed_in
async def show_list(deal_id: int) -> ResponseReturnValue:
    return await show_deal(deal_id, "checklist", "checklist/list.html", partial(_load_list, sheet=None))


@checklist.get("/deals/<id:deal_id>/checklist/order")
@signed_in
async def show_order(deal_id: int) -> ResponseReturnValue:
    """The list to be put into another order, with a button for every step."""
    template = "checklist/order.html"
    return await show_deal(deal_id, "checklist", template, partial(_load_list, sheet=None), roles=EDITING_ROLES)


@checklist.get("/deals/<id:deal_id>/checklist/<id:item_id>")
@signed_in
async def show(deal_id: int, item_id: int) -> ResponseReturnValue:
    return await show_deal(deal_id, "checklist", "checklist/one.html", partial(_load_one, item_id=item_id))


@checklist.get("/deals/<id:deal_id>/checklist/<id:item_id>/edit")
@signed_in
async def edit(deal_id: int, item_id: int) -> ResponseReturnValue:
    return await _show_form(deal_id, item_id, None)


@checklist.post("/deals/<id:deal_id>/checklist")
@signed_in
@deal_write("checklist")
async def create(deal_id: int, form: Form) -> ResponseReturnValue:
    await require_editing(deal_id)
    resources, user, sheet = current_resources(), current_user(), blank_sheet(item_fields())
    made: list[int] = []

    async def save(facts: dict[str, Any], version: int | None) -> None:
        made.append(await create_thing(resources, ITEM, user.id, deal_id, facts, saved=saved_by(form)))

    status = await sheet.submit(form, NewItem, save)
    if status != SAVED:
        load = partial(_load_list, sheet=sheet)
        return await show_deal(deal_id, "checklist", "checklist/list.html", load, roles=EDITING_ROLES, status=status)
    return after(deal_id, "checklist", "item_created", saved=NEW, anchor=f"item-{made[0]}", section=request.args.get("section", ""))


@checklist.post("/deals/<id:deal_id>/checklist/order")
@signed_in
@deal_write("checklist")
async def move(deal_id: int, form: Form) -> ResponseReturnValue:
    """Every button names the two that change places, as it was drawn: who is to be above, and who stands there now."""
    for button in ("up", "down", "section-up", "section-down"):
        if button not in form:
            continue
        lower, _, upper = form[button].partition(":")
        try:
            section = button.startswith("section")
            await raise_item(current_resources(), current_user().id, deal_id, parse_id(lower), above_id=parse_id(upper), section=section)
        except Conflict as conflict:
            if conflict.code != "order_moved":
                raise
            return after(deal_id, "checklist/order", "order_moved")
        moved = upper if button.endswith("down") else lower
        return after(deal_id, "checklist/order", "", moved=f"{button}-{moved}")
    raise BadRequest("Some fields are missing.")


@checklist.post("/deals/<id:deal_id>/checklist/templates")
@signed_in
@deal_write("checklist")
async def add_standard(deal_id: int, form: Form) -> ResponseReturnValue:
    template = TEMPLATES.get(form.get("template", ""))
    if template is None:
        raise NotFound
    try:
        added = await add_template(current_resources(), current_user().id, deal_id, template)
    except Conflict as conflict:
        if conflict.code != "checklist_full":
            raise
        return after(deal_id, "checklist", "template_too_long", number=conflict.extra["room"])
    if not added.number:
        return after(deal_id, "checklist", "template_known")
    return after(deal_id, "checklist", "template_added", number=added.number, first=added.first_id, last=added.last_id)


@checklist.post("/deals/<id:deal_id>/checklist/untouched")
@signed_in
@deal_write("checklist")
async def take_back(deal_id: int, form: Form) -> ResponseReturnValue:
    """Undo of a standard list that was added."""
    first, last = parse_id(form.get("first", "")), parse_id(form.get("last", ""))
    number = await remove_untouched(current_resources(), current_user().id, deal_id, first_id=first, last_id=last)
    return after(deal_id, "checklist", "template_removed", number=number)


@checklist.post("/deals/<id:deal_id>/checklist/<id:item_id>")
@signed_in
@deal_write("checklist")
async def change(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    await require_editing(deal_id)
    resources, user, sheet = current_resources(), current_user(), blank_sheet(item_fields())

    async def save(facts: dict[str, Any], version: int | None) -> None:
        expected, saved = {version or NO_VERSION}, saved_by(form)
        await change_thing(resources, ITEM, user.id, deal_id, item_id, facts, expected=expected, saved=saved)

    try:
        status = await sheet.submit(form, ItemChanges, save)
    except NotFound:
        sheet.message, sheet.version = "This item was deleted meanwhile. What you typed is kept here: save it as a new one", None
        load = partial(_load_list, sheet=sheet)
        return await show_deal(deal_id, "checklist", "checklist/list.html", load, roles=EDITING_ROLES, status=404)
    if status != SAVED:
        return await _show_form(deal_id, item_id, sheet, status)
    return after(deal_id, "checklist", "edit_saved", saved=f"item-{item_id}", anchor=f"item-{item_id}")


@checklist.post("/deals/<id:deal_id>/checklist/<id:item_id>/tick")
@signed_in
@deal_write("checklist")
async def tick(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    """Done, or not done after all. An item that somebody reworded meanwhile is shown first: it may no longer be what was done."""
    await require_editing(deal_id)
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        item = await get_item(db, user.id, deal_id, item_id, now=resources.clock.now())
    sheet = sheet_of(item_fields(), item.model_dump())

    async def save(facts: dict[str, Any], version: int | None) -> None:
        await change_thing(resources, ITEM, user.id, deal_id, item_id, facts, expected={version or NO_VERSION})

    typed = {**sheet.values, **{f"was-{name}": value for name, value in sheet.values.items()}}
    typed |= {"version": form.get("version") or str(NO_VERSION), "done": form.get("done", "")}
    status = await sheet.submit(typed, ItemChanges, save)
    if status != SAVED:
        sheet.message = "This item was changed while you looked at it. See whether it still is what you have done"
        return await _show_form(deal_id, item_id, sheet, status)
    if form.get("here", "").endswith(f"/{item_id}"):
        return after(deal_id, f"checklist/{item_id}", "")
    return after(deal_id, "checklist", "", anchor=f"item-{item_id}", **_kept_filters(form))


@checklist.post("/deals/<id:deal_id>/checklist/<id:item_id>/delete")
@signed_in
@deal_write("checklist")
async def delete(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    try:
        await delete_thing(current_resources(), ITEM, current_user().id, deal_id, item_id, expected={parse_id(form.get("version", ""))})
    except Conflict as conflict:
        if "current" not in conflict.extra:
            raise
        return after(deal_id, f"checklist/{item_id}", "read_again")
    return after(deal_id, "checklist", "item_deleted", undo=item_id)


@checklist.post("/deals/<id:deal_id>/checklist/<id:item_id>/restore")
@signed_in
@deal_write("checklist")
async def bring_back(deal_id: int, form: Form, item_id: int) -> ResponseReturnValue:
    await undelete_thing(current_resources(), ITEM, current_user().id, deal_id, item_id)
    return after(deal_id, "checklist", "item_undeleted", anchor=f"item-{item_id}")


async def _load_list(db: AsyncSession, deal: DealDetail, *, sheet: FormSheet | None) -> dict[str, Any]:
    resources, user, asked = current_resources(), current_user(), Asked("checklist")
    now, query = resources.clock.now(), asked.parse(ChecklistQuery)
    people = await list_people(db, deal.id, now=now)
    if asked.left and isinstance(query.owner, int) and query.owner not in {each.id for each in people}:
        query = asked.without(query, "owner")
    found = await list_items(db, user.id, deal.id, query, now=now)
    values = {"q": query.q, "state": query.state or "", "owner": str(query.owner or ""), "cursor": ""}
    state = ListState(f"/deals/{deal.id}/checklist", values)
    shown = sheet or blank_sheet((), section=request.args.get("section", "")[:120])
    shown.fields = item_fields(people)
    shown.values = dict.fromkeys((each.name for each in shown.fields), "") | shown.values
    owners: Options = (("", "anybody"), ("me", "me"), ("none", "nobody"), *((str(each.id), each.name) for each in people))
    states: Options = (("", "all"), ("open", "open"), ("overdue", "overdue"), ("done", "done"))
    return {
        "found": found,
        "owners": person_options(people, None),
        "sections": [(section, list(items)) for section, items in groupby(found.items, key=lambda each: each.section)],
        "sheet": shown,
        "state": state,
        "choices": [state.choice("state", "Show", states), state.choice("owner", "Who", owners)],
        "filtered": state.is_filtered("q", "state", "owner"),
        "most": MAX_ITEMS,
        "templates": TEMPLATES.values(),
        "today": now.date(),
    }


async def _load_one(db: AsyncSession, deal: DealDetail, *, item_id: int) -> dict[str, Any]:
    now = current_resources().clock.now()
    every = (await list_items(db, current_user().id, deal.id, ChecklistQuery(), now=now)).items
    item = next((each for each in every if each.id == item_id), None)
    if item is None:
        raise NotFound
    fitting = fitting_items(every, query_left("checklist", ChecklistQuery) or ChecklistQuery(), current_user().id, now)
    listed = fitting if item in fitting else every
    at = listed.index(item)
    around = {"previous": listed[at - 1 : at] if at else [], "next": listed[at + 1 : at + 2]}
    return {
        "item": item,
        "beside": {name: (each.id, each.title) for name, found in around.items() for each in found},
        "owners": person_options(await list_people(db, deal.id, now=now), item.owner) if deal.can_edit else (),
        "today": now.date(),
    }


async def _show_form(deal_id: int, item_id: int, sheet: FormSheet | None, status: int = 200) -> ResponseReturnValue:
    async def load(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
        now = current_resources().clock.now()
        item = await get_item(db, current_user().id, deal.id, item_id, now=now)
        fields = item_fields(await list_people(db, deal.id, now=now), item.owner)
        shown = sheet or sheet_of(fields, item.model_dump())
        shown.fields = fields
        by_name = {each.name: each for each in fields}
        shown.differences = [each._replace(field=by_name[each.field.name]) for each in shown.differences]
        return {"sheet": shown, "item": item}

    return await show_deal(deal_id, "checklist", "checklist/form.html", load, roles=EDITING_ROLES, status=status)


def item_fields(people: list[PersonName] | None = None, owner: PersonName | None = None) -> tuple[Field, ...]:
    return (
        Field("title", "What", "wide", longest=300, required=True),
        Field("section", "Section", longest=120, required=True),
        Field("owner_id", "Who", "person", options=person_options(people or [], owner)),
        Field("due_on", "Due", "day"),
        Field("done", "Done", "check"),
    )


def _kept_filters(form: Form) -> dict[str, str]:
    """A tick stays in the list as it was filtered."""
    return {name: form[name] for name in ("q", "state", "owner") if form.get(name)}
