"""What a signed-in person is told: live, and kept until it is read."""

from quart import Blueprint, Response

from app.live import current_live, event_stream, last_event_id
from app.notices.updates import Updates
from app.openapi import documented
from app.sessions.interface import current_session
from app.web import resources, signed_in

blueprint = Blueprint("notices", __name__, url_prefix="/api")


@blueprint.get("/events")
@documented("events")
@signed_in
async def events() -> Response:
    """Server-sent events: the selection of this login, access given and taken, notices. docs/events.md names them."""
    live, session = current_live(), current_session()
    updates = live.shared("updates", lambda: Updates(resources()))
    return await event_stream(updates.listen(live, login_id=session.login_id, user_id=session.user_id, since=last_event_id()))
