"""The activity of a deal: what happened, filtered, and the same as a file."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any

from quart import Blueprint, Response, request
from quart.typing import ResponseReturnValue
from quart_schema import hide
from sqlalchemy.ext.asyncio import AsyncSession

from app.deals.activity import KINDS, ActivityQuery, export_activity, list_activity, list_actors
from app.deals.listing import parse_query
from app.deals.permissions import ANY_ROLE
from app.deals.schemas import ActivityEvent, DealDetail
from app.deals.store import require_role
from app.errors import NotFound
from app.web import current_user, path_id, resources, signed_in
from app.workspace.activity import address, find_titles, sentence
from app.workspace.frame import show_deal, show_missing
from app.workspace.listing import ListState

activity = Blueprint("activity_pages", __name__)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@activity.get("/deals/<deal_id>/activity")
@hide
@signed_in
async def show(deal_id: str) -> ResponseReturnValue:
    return await show_deal(deal_id, "activity", "workspace/activity.html", _load)


@activity.get("/deals/<deal_id>/activity.csv")
@hide
@signed_in
async def export(deal_id: str) -> ResponseReturnValue:
    """All that the filters leave, the latest first, in a file that a spreadsheet shows and does not run."""
    house, user = resources(), current_user()
    query = parse_query(ActivityQuery, request.args)
    try:
        wanted = path_id(deal_id)
        async with house.database.read() as db:
            await require_role(db, user.id, wanted, ANY_ROLE, now=house.clock.now())
    except NotFound:
        return await show_missing(deal_id, "activity")
    events = export_activity(house, user.id, wanted, query)
    response = Response(_rows(events, user.id), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="deal-{wanted}-activity.csv"'
    return response


async def _load(db: AsyncSession, deal: DealDetail) -> dict[str, Any]:
    user, query = current_user(), parse_query(ActivityQuery, request.args)
    found = await list_activity(db, user.id, deal.id, query, settings=resources().settings)
    actors = await list_actors(db, user.id, deal.id)
    titles = await find_titles(db, deal.id, found.events)
    values = {"kind": query.kind or "", "person": str(query.person or ""), "cursor": query.cursor or ""}
    state = ListState(f"/deals/{deal.id}/activity", values)
    people = (("", "anybody"), ("me", "me"), *((str(each.id), each.name) for each in actors if each.id != user.id), ("none", "nobody"))
    return {
        "events": [
            {
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


async def _rows(events: AsyncIterator[list[ActivityEvent]], reader_id: int) -> AsyncIterator[bytes]:
    # The mark at the beginning is how spreadsheets know that it is UTF-8.
    yield "\ufeff".encode() + _line(("id", "at", "kind", "what", "by", "by_id", "about", "about_id"))
    async for batch in events:
        yield b"".join(_line(_cells(each, reader_id)) for each in batch)


def _cells(event: ActivityEvent, reader_id: int) -> Iterable[object]:
    by, about = event.actor, event.user
    people = (by.name if by else "", by.id if by else "", about.name if about else "", about.id if about else "")
    return (event.id, event.at.isoformat(), event.kind, sentence(event, reader_id=reader_id), *people)


def _line(cells: Iterable[object]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow([_safe(str(cell)) for cell in cells])
    return written.getvalue().encode()


def _safe(text: str) -> str:
    """A cell that a spreadsheet takes for text, whatever it begins with."""
    return f"'{text}" if text.startswith(_FORMULA) else text
