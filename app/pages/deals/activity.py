"""The activity of a deal: what happened, filtered."""

from typing import Any

from quart import Blueprint
from quart.typing import ResponseReturnValue
from sqlalchemy.ext.asyncio import AsyncSession

from app.deals.activity import KINDS, ActivityQuery, list_activity, list_actors
from app.deals.schemas import DealDetail
from app.http.web import current_resources, current_user, signed_in
from app.pages.deals.activity_words import address, find_titles, sentence
from app.pages.kit.frame import show_deal
from app.pages.kit.listing import ListState
from app.pages.kit.place import Asked

activity = Blueprint("activity_pages", __name__)


@activity.get("/deals/<id:deal_id>/activity")
@signed_in
async def show(deal_id: int) -> ResponseReturnValue:
    return await show_deal(deal_id, "activity", "deals/activity.html", _load)


async def _load(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
    user, asked, settings = current_user(), Asked("activity"), current_resources().settings
    query = asked.parse(ActivityQuery)
    actors = await list_actors(db, user.id, deal.id)
    if asked.left and isinstance(query.person, int) and query.person not in {each.id for each in actors}:
        query = asked.without(query, "person")
    query, found = await asked.find(query, lambda wanted: list_activity(db, user.id, deal.id, wanted, settings=settings))
    titles = await find_titles(db, deal.id, found.events)
    values = {"kind": query.kind or "", "person": str(query.person or ""), "cursor": query.cursor or ""}
    state = ListState(f"/deals/{deal.id}/activity", values)
    people = (("", "anybody"), ("me", "me"), *((str(each.id), each.name) for each in actors if each.id != user.id), ("none", "nobody"))
    return {
        "events": [
            {
                "id": each.id,
                "at": each.at,
                "text": sentence(each, reader_id=user.id),
                "address": address(each, deal.id),
                "title": titles.get(each.id),
                "kind": each.kind.partition(".")[0],
            }
            for each in found.events
        ],
        "next_cursor": found.next_cursor,
        "state": state,
        "choices": [
            state.choice("kind", "Kind", (("", "everything"), *((each, each) for each in KINDS))),
            state.choice("person", "By", people),
        ],
        "filtered": state.is_filtered("kind", "person"),
    }
