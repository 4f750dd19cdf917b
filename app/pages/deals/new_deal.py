"""The form that begins a deal. What was typed comes back with what is wrong with it."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from quart import Blueprint, render_template, request
from quart.typing import ResponseReturnValue

from app.core.errors import Unavailable
from app.deals.schemas import NewDeal
from app.deals.service import create_deal
from app.http.web import current_resources, current_user, signed_in
from app.pages.kit.flash import see_other
from app.pages.kit.shell import address_of, shell_values

new_deal = Blueprint("new_deal", __name__)

FIELDS = ("name", "acquirer", "stage", "price_usd", "announced_on", "tagline", "categories", "country", "homepage")
_WORDS = {
    "name": "Give the deal a name that can be read, of at most 200 characters.",
    "price_usd": "Give a whole number of US dollars, such as 1,650,000,000, or leave it empty.",
    "announced_on": "Give a day, such as 2026-11-30, or leave it empty.",
    "homepage": "Give an address that begins with http:// or https://, or leave it empty.",
}
NOTHING_TYPED: Mapping[str, str] = {}


@new_deal.get("/deals/new")
@signed_in
async def form() -> ResponseReturnValue:
    return await _show({"acquirer": current_user().organisation, "stage": "diligence"})


@new_deal.post("/deals/new")
@signed_in
async def create() -> ResponseReturnValue:
    typed = {name: value.strip() for name, value in (await request.form).items() if name in FIELDS}
    try:
        facts = NewDeal.model_validate(_as_facts(typed))
    except ValidationError as error:
        wrong = {str(each["loc"][0]): each["msg"].removeprefix("Value error, ") for each in error.errors(include_url=False)}
        return await _show(typed, {name: _WORDS.get(name, said) for name, said in wrong.items()}), 400
    deal_id = await create_deal(current_resources(), current_user().id, facts.model_dump())
    return see_other(address_of(deal_id), "created")


async def _show(typed: Mapping[str, str], wrong: Mapping[str, str] = NOTHING_TYPED) -> str:
    values: dict[str, Any] = {}
    try:
        async with current_resources().database.read() as db:
            values = await shell_values(db)
    except Unavailable:
        pass  # the form itself needs nothing of the database yet
    return await render_template("deals/new_deal.html", typed=typed, wrong=wrong, **values)


def _as_facts(typed: Mapping[str, str]) -> dict[str, Any]:
    """What the API would have been sent. An empty field says nothing, but for the name, which must say something."""
    facts: dict[str, Any] = {name: value for name, value in typed.items() if value}
    price = typed.get("price_usd", "").replace(",", "").replace(" ", "").removeprefix("$")
    if price.isascii() and price.isdigit() and len(price) < 20:
        facts["price_usd"] = int(price)
    return {"name": ""} | facts
