"""What the pages share beyond their templates: the deals at hand, the page of a deal that is gone, where pages are."""

from typing import Any

from quart import g, render_template
from quart.typing import ResponseReturnValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound
from app.deals.listing import ListQuery, list_deals, list_switcher
from app.deals.schemas import DealList, DealSummary
from app.http.typed import typed_fields
from app.http.web import current_resources, current_user
from app.imports.history import find_filename
from app.pages.kit.context import current_deal
from app.pages.kit.place import Asked

# Deals offered where the one asked for cannot be shown, or none was chosen yet.
OTHERS = 5


async def shell_values(db: AsyncSession, *, page: str = "", deal_id: int | None = None) -> dict[str, Any]:
    """What shell.html shows from SQL: the deals of the switcher. `page` is one whose place is kept; what was kept is known from here on."""
    user, now = current_user(), current_resources().clock.now()
    deals, g.place = await list_switcher(db, user.id, current_deal_id=current_id(), page=page, deal_id=deal_id, now=now)
    g.place_page = page if user.remember_place and user.remember_last_deal else ""
    return {"at_hand": deals}


async def list_here(db: AsyncSession, query: ListQuery) -> DealList:
    resources = current_resources()
    return await list_deals(
        db, current_user().id, query, settings=resources.settings, current_deal_id=current_id(), now=resources.clock.now()
    )


async def asked_deals(db: AsyncSession, asked: Asked) -> tuple[ListQuery, str | None]:
    """What a list of deals is asked for, and the name of the import it is asked for, for those who may know it."""
    query = asked.parse(ListQuery)
    filename = await find_filename(db, current_user().id, query.import_id) if query.import_id else None
    if asked.left and query.import_id and filename is None:
        query = asked.without(query, "import")
    return query, filename


async def list_others() -> list[DealSummary]:
    async with current_resources().database.read() as db:
        return (await list_here(db, ListQuery(sort="recent", limit=OTHERS))).deals


async def show_gone() -> ResponseReturnValue:
    """The same for a deal that is gone, that one may not see, and that never was. What was typed into a form of it is the writer's."""
    return await render_template("deals/gone.html", others=await list_others(), typed=await typed_fields()), NotFound.status


def current_id() -> int | None:
    deal = current_deal()
    return deal["id"] if deal else None


def address_of(deal_id: int, page: str = "overview") -> str:
    return f"/deals/{deal_id}/{page}"
