"""The frame of every page inside a deal: access, surroundings, and the check which deal a form was made for."""

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import wraps
from typing import Any

from quart import render_template, request
from quart.typing import ResponseReturnValue
from sqlalchemy.ext.asyncio import AsyncSession
from werkzeug.datastructures import MultiDict

from app.access.permissions import ANY_ROLE, EDITING_ROLES, visible_to
from app.core.errors import Conflict, NotFound
from app.deals.news import count_news
from app.deals.schemas import DealDetail
from app.deals.store import checked_role, get_detail, require_role
from app.drafts.schemas import SavedDraft, parse_saved
from app.http.typed import typed_fields
from app.http.web import current_resources, current_user
from app.models import Deal
from app.pages.kit.drafts import links_to_drafts
from app.pages.kit.flash import see_other
from app.pages.kit.shell import address_of, current_id, shell_values, show_gone

Form = MultiDict[str, str]
Load = Callable[[AsyncSession, DealDetail], Awaitable[dict[str, Any]]]


async def show_deal(
    deal_id: int, page: str, template: str, load: Load, *, roles: Collection[str] = ANY_ROLE, status: int = 200
) -> ResponseReturnValue:
    """A page of the deal with what `load` finds for it, in a number of statements that no number of rows changes.

    Raises `Forbidden` where this person is none of `roles`. `EDITING_ROLES` is for forms: those of an archived deal are not shown.
    """
    resources, user = current_resources(), current_user()
    try:
        async with resources.database.read() as db:
            deal = await get_detail(db, user.id, deal_id, current_deal_id=current_id(), now=resources.clock.now())
            checked_role(deal.role, roles)
            if roles is EDITING_ROLES and deal.is_archived:
                raise Conflict("An archived deal cannot be edited; bring it back first.", code="deal_archived")
            shell = await shell_values(db, page=page, deal_id=deal_id)
            values = shell | await load(db, deal)
            news = await count_news(db, user.id, deal_id)
    except NotFound:
        return await show_missing(deal_id, page)
    left = (deal.access_until - resources.clock.now()) // timedelta(milliseconds=1) if deal.access_until else None
    values["begun"] = links_to_drafts(deal_id, news.drafts) if deal.can_edit else []
    return await render_template(template, deal=deal, page=page, news=news, access_left_ms=left, **values), status


async def nothing_more(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
    return {}


def deal_write(page: str) -> Callable[[Callable[..., Awaitable[ResponseReturnValue]]], Callable[..., Awaitable[ResponseReturnValue]]]:
    """A form of the deal page `page`: the view gets the deal's id, the form, and the other ids of its address.

    The form names the deal it was drawn for; one that went to the address of another is not served but shown with a choice.
    """

    def wrap(view: Callable[..., Awaitable[ResponseReturnValue]]) -> Callable[..., Awaitable[ResponseReturnValue]]:
        @wraps(view)
        async def write(deal_id: int, **more: int) -> ResponseReturnValue:
            try:
                form = await request.form
                if form.get("by", str(current_user().id)) != str(current_user().id):
                    # Another tab of this browser has changed hands since.
                    raise Conflict(
                        "This page was opened by somebody else who was signed in here. Nothing was changed.", code="other_person"
                    )
                if form.get("deal") != str(deal_id):
                    return await _show_mismatch(deal_id, form, page)
                return await view(deal_id, form, **more)
            except NotFound:
                return await show_missing(deal_id, page)

        return write

    return wrap


def saved_by(form: Form) -> SavedDraft | None:
    """The draft that this form was sent from, which ends where it is saved."""
    return parse_saved(form.get("draft", ""))


def after(deal_id: int, page: str, done: str, *, anchor: str = "", **more: object) -> ResponseReturnValue:
    """Back to a page of the deal, which says what was done; `saved` names the form, whose draft the browser forgets."""
    return see_other(address_of(deal_id, page), done, anchor=anchor, **more)


async def require_editing(deal_id: int) -> None:
    """Before anything is said about a form. Raises `NotFound`, `Forbidden`."""
    resources = current_resources()
    async with resources.database.read() as db:
        await require_role(db, current_user().id, deal_id, EDITING_ROLES, now=resources.clock.now())


async def show_missing(deal_id: int, page: str) -> ResponseReturnValue:
    """The 404 page for something missing in the deal, or for a deal that this person does not see."""
    resources = current_resources()
    try:
        async with resources.database.read() as db:
            deal = await get_detail(db, current_user().id, deal_id, current_deal_id=current_id(), now=resources.clock.now())
            values = await shell_values(db)
    except NotFound:
        return await show_gone()
    typed = await typed_fields()
    return await render_template("deals/missing.html", deal=deal, page=page, typed=typed, **values), NotFound.status


async def _show_mismatch(wanted: int, form: Form, page: str) -> ResponseReturnValue:
    """The form was drawn for one deal and sent to the address of another. Nothing is saved; whose it is, is for the person to say."""
    resources, user = current_resources(), current_user()
    stated = form.get("deal", "")
    ids = [wanted, *([int(stated)] if stated.isdecimal() and len(stated) < 19 else [])]
    async with resources.database.read() as db:
        seen = visible_to(user.id, Deal.id, Deal.name, now=resources.clock.now()).where(Deal.id.in_(ids))
        deals = {row.id: row.name for row in await db.execute(seen)}
    if wanted not in deals:
        raise NotFound
    fields = [(name, value) for name, value in form.items(multi=True) if name != "deal"]
    choices = [{"id": id_, "name": deals[id_], "action": _path_in(id_, wanted)} for id_ in ids[::-1] if id_ in deals]
    page_shown = await render_template("deals/mismatch.html", choices=choices, fields=fields, page=page)
    return page_shown, Conflict.status


def _path_in(deal_id: int, wanted: int) -> str:
    return request.path.replace(f"/deals/{wanted}/", f"/deals/{deal_id}/", 1)
