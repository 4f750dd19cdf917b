"""The page of all that one typed and did not save: to go on with, to read and copy, or to discard."""

from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.core.errors import NotFound
from app.drafts.schemas import MAX_DRAFTS
from app.drafts.store import discard_by_id, find_draft, list_drafts, undiscard_by_id
from app.http.web import current_resources, current_user, signed_in
from app.pages.kit.drafts import link_to_draft
from app.pages.kit.flash import see_other
from app.pages.kit.shell import shell_values

blueprint = Blueprint("draft_pages", __name__)


@blueprint.get("/drafts")
@signed_in
async def show_list() -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        found = await list_drafts(db, user.id, now=resources.clock.now())
        values = await shell_values(db)
    links = {each.id: link_to_draft(each.deal_id, each.form, each.item_id, draft_id=each.id, number=each.item_number) for each in found}
    discarded = request.args.get("discarded", "")
    return await render_template(
        "drafts/list.html", drafts=found, links=links, most=MAX_DRAFTS, discarded=discarded if discarded.isdecimal() else "", **values
    )


@blueprint.get("/drafts/<id:draft_id>")
@signed_in
async def show(draft_id: int) -> ResponseReturnValue:
    """Its text, to be copied: also of a deal that is lost, and of something that was deleted."""
    resources, user = current_resources(), current_user()
    async with resources.database.read() as db:
        draft = await find_draft(db, user.id, id=draft_id, now=resources.clock.now())
        values = await shell_values(db)
    if draft is None:
        raise NotFound
    link = link_to_draft(draft.deal_id, draft.form, draft.item_id, draft_id=draft.id, number=draft.item_number)
    return await render_template("drafts/one.html", draft=draft, link=link, typed=list(draft.fields.items()), **values)


@blueprint.post("/drafts/<id:draft_id>/discard")
@signed_in
async def discard(draft_id: int) -> ResponseReturnValue:
    resources = current_resources()
    async with resources.database.write() as db:
        await discard_by_id(db, current_user().id, draft_id, now=resources.clock.now())
    return see_other("/drafts", discarded=draft_id)


@blueprint.post("/drafts/<id:draft_id>/restore")
@signed_in
async def bring_back(draft_id: int) -> ResponseReturnValue:
    """Undo of a discard, for as long as the nightly job has not come by."""
    async with current_resources().database.write() as db:
        await undiscard_by_id(db, current_user().id, draft_id)
    return see_other("/drafts")
