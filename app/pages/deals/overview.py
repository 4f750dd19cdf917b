"""The overview of a deal, and the form to change its facts."""

from typing import Any

from quart import Blueprint
from quart.typing import ResponseReturnValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import EDITING_ROLES
from app.core.errors import Conflict
from app.deals.activity import find_last_change
from app.deals.members import list_members
from app.deals.schemas import DealChanges, DealDetail
from app.deals.service import change_deal
from app.http.web import current_resources, current_user, signed_in
from app.models import STAGES
from app.pages.deals.progress import find_progress
from app.pages.kit.fields import Field
from app.pages.kit.forms import NO_VERSION, SAVED, FormSheet, blank_sheet, sheet_of
from app.pages.kit.frame import Form, after, deal_write, require_editing, saved_by, show_deal

overview = Blueprint("overview_pages", __name__)

DRAFT = "deal"
GROUPS = (
    (
        "Deal",
        (
            Field("name", "Name", "wide", required=True),
            Field("tagline", "What the company does", "wide", longest=2000),
            Field("acquirer", "Acquirer"),
            Field("stage", "Stage", "choice", options=tuple((each, each.capitalize()) for each in STAGES)),
            Field("status", "Status", help="As your records say it, for example Complete or Pending.", longest=40),
            Field("terms", "Terms", help="For example Cash, Stock, Cash and stock.", longest=80),
            Field("price_usd", "Price in US dollars", "whole", "Whole dollars. Leave it empty while it is undisclosed.", longest=30),
            Field("announced_on", "Announced on", "day"),
        ),
    ),
    (
        "Company",
        (
            Field("founded_year", "Founded", "whole", "The year, such as 2005.", longest=4),
            Field("city", "City", longest=120),
            Field("region", "Region", longest=120),
            Field("country", "Country", longest=120),
            Field("homepage", "Homepage", "address", longest=2000),
            Field("categories", "Categories", help="Separate them with commas.", longest=2000),
        ),
    ),
    (
        "Sources",
        (
            Field("news_title", "Announcement", "wide", longest=2000),
            Field("news_url", "Link to the announcement", "address", longest=2000),
            Field("profile_url", "Link to a profile", "address", longest=2000),
            Field("external_ref", "External reference", nullable=True, help="What your own system calls this deal."),
        ),
    ),
)
FIELDS = tuple(field for _, fields in GROUPS for field in fields)


@overview.get("/deals/<id:deal_id>/overview")
@signed_in
async def show(deal_id: int) -> ResponseReturnValue:
    return await show_deal(deal_id, "overview", "deals/overview.html", _load)


@overview.get("/deals/<id:deal_id>/edit")
@signed_in
async def edit(deal_id: int) -> ResponseReturnValue:
    return await _show_form(deal_id, None)


@overview.post("/deals/<id:deal_id>/edit")
@signed_in
@deal_write("overview")
async def change(deal_id: int, form: Form) -> ResponseReturnValue:
    await require_editing(deal_id)
    resources, user, sheet = current_resources(), current_user(), blank_sheet(FIELDS)

    async def save(facts: dict[str, Any], version: int | None) -> None:
        try:
            await change_deal(resources, user.id, deal_id, facts, expected={version or NO_VERSION}, saved=saved_by(form))
        except Conflict as conflict:
            if current := conflict.extra.get("current"):
                async with resources.database.read() as db:
                    last = await find_last_change(db, deal_id, "deal.updated")
                current["updated_by"] = {"name": last[0] if last else ""}
            raise

    status = await sheet.submit(form, DealChanges, save)
    if status != SAVED:
        return await _show_form(deal_id, sheet, status)
    return after(deal_id, "overview", "edit_saved", saved=DRAFT)


async def _load(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
    now = current_resources().clock.now()
    return {"members": await list_members(db, deal.id, now=now), "progress": await find_progress(db, deal.id, today=now.date())}


async def _show_form(deal_id: int, sheet: FormSheet | None, status: int = 200) -> ResponseReturnValue:
    async def load(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
        return {"sheet": sheet or sheet_of(FIELDS, deal.model_dump()), "groups": GROUPS, "draft": DRAFT}

    return await show_deal(deal_id, "overview", "deals/edit.html", load, roles=EDITING_ROLES, status=status)
