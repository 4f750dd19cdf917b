"""One's own drafts over HTTP. Nobody else reads them, and nothing of them is logged or recorded."""

from quart import Blueprint, Response, jsonify, request

from app.access.permissions import user_can_access_deal
from app.core.errors import AppError, NotFound
from app.drafts.schemas import (
    ENVELOPE_BYTES,
    MAX_TEXT_BYTES,
    DraftHeld,
    DraftList,
    DraftName,
    DraftQuery,
    DraftText,
    KeptDraft,
    OneDraft,
    parse_name,
)
from app.drafts.service import keep_draft
from app.drafts.store import discard_draft, find_draft, list_drafts
from app.http.devices import describe_device
from app.http.json_bodies import read_json
from app.http.openapi import documented
from app.http.query import parse_query
from app.http.ratelimit import limit_rate, limits_itself
from app.http.web import current_resources, current_user, signed_in

blueprint = Blueprint("drafts", __name__, url_prefix="/api")


@blueprint.get("/drafts")
@documented("drafts", DraftList, query=DraftQuery, problems=(400,))
@signed_in
async def list_() -> Response:
    """What you typed and did not save, the latest first; `form` goes with `deal_id`."""
    resources, query = current_resources(), parse_query(DraftQuery, request.args)
    async with resources.database.read() as db:
        form = _form(query.form) if query.form else None
        found = await list_drafts(db, current_user().id, deal_id=query.deal_id, form=form, now=resources.clock.now())
    return jsonify(DraftList(drafts=found).model_dump(mode="json"))


@blueprint.get("/drafts/<id:draft_id>")
@documented("drafts", OneDraft, problems=(404,))
@signed_in
async def show(draft_id: int) -> Response:
    """One of your drafts with its text. For 30 days after you lost the deal, what you typed and nothing else of it."""
    resources = current_resources()
    async with resources.database.read() as db:
        draft = await find_draft(db, current_user().id, id=draft_id, now=resources.clock.now())
    if draft is None:
        raise NotFound
    return jsonify(OneDraft(draft=draft).model_dump(mode="json"))


@blueprint.put("/deals/<id:deal_id>/drafts/<name>")
@documented("drafts", KeptDraft, body=DraftText, problems=(400, 403, 404, 409, 413, 415, 429))
@signed_in
@limits_itself
async def keep(deal_id: int, name: str) -> Response:
    """Keep what is being typed: `deal`, `finding-7`, or `finding-new.<tab>`. 409 where another device wrote it, with that text."""
    resources, user, named = current_resources(), current_user(), parse_name(name)
    # Typing is counted apart, so that it never uses up what is left for saving.
    await limit_rate(resources, "draft", user.id, resources.settings.rate_limit_write)
    if named is None:
        raise NotFound
    try:
        text = await read_json(DraftText, max_bytes=MAX_TEXT_BYTES + ENVELOPE_BYTES)
    except AppError:
        async with resources.database.read() as db:
            if not await user_can_access_deal(db, user.id, deal_id, now=resources.clock.now()):
                raise NotFound from None
        raise
    device = describe_device(request.headers.get("User-Agent", ""))
    return jsonify(KeptDraft(version=await keep_draft(resources, user.id, deal_id, named, text, device=device)).model_dump())


@blueprint.delete("/deals/<id:deal_id>/drafts/<name>")
@documented("drafts", query=DraftHeld, status=204, problems=(400, 403, 404))
@signed_in
async def discard(deal_id: int, name: str) -> tuple[str, int]:
    """Discard it. With `writer` or `version`, only if that tab wrote it last or it is at that version."""
    resources, named = current_resources(), parse_name(name)
    if named is None:
        raise NotFound
    held = parse_query(DraftHeld, request.args)
    async with resources.database.write() as db:
        await discard_draft(db, current_user().id, deal_id, named, writer=held.writer, version=held.version, now=resources.clock.now())
    return "", 204


def _form(text: str) -> DraftName:
    form, _, item = text.partition("-")
    return DraftName(form, int(item) if item.isdecimal() else 0)
