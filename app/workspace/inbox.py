"""The page behind the bell."""

from quart import Blueprint, redirect, render_template, request
from quart.typing import ResponseReturnValue
from quart_schema import hide

from app.notices.inbox import NoticeView, load_inbox, mark_read
from app.web import current_user, resources, signed_in
from app.workspace.shell import SEE_OTHER, shell_values

inbox_pages = Blueprint("inbox_pages", __name__)

ON_A_PAGE = 50
_SAID = {
    "deal.shared": "{actor} shared {deal} with you",
    "deal.role_changed": "{actor} changed your access to {deal}",
    "deal.transferred": "{actor} made you the owner of {deal}",
}


@inbox_pages.get("/notices")
@hide
@signed_in
async def show_inbox() -> ResponseReturnValue:
    house, user = resources(), current_user()
    text = request.args.get("before", "")
    before = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    async with house.database.read() as db:
        found = await load_inbox(db, user.id, before=before, limit=ON_A_PAGE, now=house.clock.now())
        values = await shell_values(db)
    notices = [{"notice": each, "text": sentence(each)} for each in found.notices]
    newest = found.notices[0].sequence if found.notices else 0
    last = found.notices[-1].sequence if found.notices else 0
    return await render_template(
        "workspace/notices.html", notices=notices, unread=found.unread, more=found.more, newest=newest, last=last, before=before, **values
    )


@inbox_pages.post("/notices/read")
@hide
@signed_in
async def read() -> ResponseReturnValue:
    """For those without a script; with one, what is seen is read."""
    house = resources()
    text = (await request.form).get("up_to", "")
    up_to = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    async with house.database.write() as db:
        await mark_read(db, current_user().id, up_to=up_to, now=house.clock.now())
    return redirect("/notices", SEE_OTHER)


def sentence(notice: NoticeView) -> str:
    """In a sentence, with names as they are now."""
    template = _SAID.get(notice.kind, notice.kind.replace(".", " "))
    actor = notice.actor.name if notice.actor else "Somebody"
    said = template.format(actor=actor, deal=notice.deal.name if notice.deal else "a deal")
    return f"{said} as {notice.role}" if notice.kind == "deal.shared" and notice.role else said
