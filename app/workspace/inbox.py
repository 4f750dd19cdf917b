"""The page behind the bell."""

from quart import Blueprint, redirect, render_template, request
from quart.typing import ResponseReturnValue
from quart_schema import hide

from app.deals.listing import parse_query
from app.notices.schemas import NoticeQuery
from app.notices.store import list_notices, update_read
from app.web import current_user, resources, signed_in
from app.workspace.shell import SEE_OTHER, shell_values

inbox = Blueprint("inbox", __name__)

LAST_ID = 2**31 - 1


@inbox.get("/notices")
@hide
@signed_in
async def show_inbox() -> ResponseReturnValue:
    house, user = resources(), current_user()
    query = parse_query(NoticeQuery, {name: value for name, value in request.args.items() if name == "cursor"})
    async with house.database.read() as db:
        found = await list_notices(db, user.id, query, now=house.clock.now())
        values = await shell_values(db)
    newest = found.notices[0].id if found.notices else 0
    return await render_template("workspace/notices.html", inbox=found, newest=newest, is_first=query.cursor is None, **values)


@inbox.post("/notices/read")
@hide
@signed_in
async def read() -> ResponseReturnValue:
    """For those without a script; with one, what is seen is read."""
    house, text = resources(), (await request.form).get("up_to", "")
    up_to = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else LAST_ID
    async with house.database.write() as db:
        await update_read(db, current_user().id, up_to=up_to, now=house.clock.now())
    return redirect("/notices", SEE_OTHER)
