"""Notices of the signed-in person: the live stream, and the list until read."""

from quart import Blueprint, Response, jsonify, request

from app.http.json_bodies import read_json
from app.http.live import current_live, event_stream, last_event_id
from app.http.openapi import EventStream, documented
from app.http.query import parse_query
from app.http.web import current_resources, current_user, signed_in
from app.notices.schemas import NoticeList, NoticeQuery, ReadUpTo
from app.notices.store import list_notices, update_read
from app.notices.updates import Updates
from app.sessions.interface import current_session

blueprint = Blueprint("notices", __name__, url_prefix="/api")


@blueprint.get("/events")
@documented("events", EventStream)
@signed_in
async def events() -> Response:
    """Server-sent events: the selection of this login, access given and taken, notices. docs/events.md names them."""
    live, session, resources = current_live(), current_session(), current_resources()
    updates = live.shared("updates", lambda: Updates(resources))
    messages = updates.listen(live, login_id=session.login_id, user_id=session.user_id, since=last_event_id())
    return await event_stream(messages)


@blueprint.get("/notices")
@documented("notices", NoticeList, query=NoticeQuery, problems=(400,))
@signed_in
async def list_() -> Response:
    """One's own notices, the newest first; `?unread=true` leaves out what has been read."""
    resources, query = current_resources(), parse_query(NoticeQuery, request.args)
    async with resources.database.read() as db:
        found = await list_notices(db, current_user().id, query, now=resources.clock.now())
    return jsonify(found.model_dump(mode="json"))


@blueprint.post("/notices/read")
@documented("notices", body=ReadUpTo, status=204, problems=(400, 403, 413, 415))
@signed_in
async def read() -> tuple[str, int]:
    """Everything up to an id has been read; it stays in the list."""
    resources, asked = current_resources(), await read_json(ReadUpTo)
    async with resources.database.write() as db:
        await update_read(db, current_user().id, up_to=asked.up_to, now=resources.clock.now())
    return "", 204
