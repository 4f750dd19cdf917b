"""The page behind the bell."""

from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.http.query import parse_query
from app.http.web import current_resources, current_user, signed_in
from app.notices.schemas import NoticeQuery
from app.notices.store import list_notices, update_read
from app.pages.kit.flash import see_other
from app.pages.kit.shell import shell_values

inbox = Blueprint("inbox", __name__)

LAST_ID = 2**31 - 1


@inbox.get("/notices")
@signed_in
async def show_inbox() -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    query = parse_query(NoticeQuery, {name: value for name, value in request.args.items() if name == "cursor"})
    async with resources.database.read() as db:
        found = await list_notices(db, user.id, query, now=resources.clock.now())
        values = await shell_values(db)
    newest = found.notices[0].id if found.notices else 0
    return await render_template("deals/notices.html", inbox=found, newest=newest, is_first=query.cursor is None, **values)


@inbox.post("/notices/read")
@signed_in
async def read() -> ResponseReturnValue:
    """For those without a script; with one, what is seen is read."""
    resources, text = current_resources(), (await request.form).get("up_to", "")
    up_to = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else LAST_ID
    async with resources.database.write() as db:
        await update_read(db, current_user().id, up_to=up_to, now=resources.clock.now())
    return see_other("/notices")
