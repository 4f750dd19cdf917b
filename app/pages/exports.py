"""The lists of deals, findings, checklist items and activity as files: what the page shows, on all of its pages."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from quart import Blueprint, request
from quart.typing import ResponseReturnValue

from app.access.permissions import ANY_ROLE
from app.checklist.schemas import ChecklistQuery
from app.checklist.store import list_items
from app.core.errors import NotFound
from app.deals.activity import ActivityQuery, export_activity
from app.deals.export import export_deals
from app.deals.listing import ListQuery
from app.deals.schemas import ActivityEvent, PersonName
from app.deals.store import require_role
from app.exports.answer import FORMATS, Format, download
from app.exports.table import Column, Kind, Rows, Table
from app.findings.schemas import FindingQuery
from app.findings.store import list_findings
from app.http.query import parse_query
from app.http.ratelimit import limit_rate
from app.http.web import current_resources, current_user, signed_in
from app.imports.mapping import LABELS, LIST_HEADINGS
from app.imports.references import reference_of
from app.models import Deal
from app.pages.deals.activity_words import sentence
from app.pages.findings import STATUS_TEXTS
from app.pages.kit.frame import show_missing
from app.resources import Resources

exports = Blueprint("export_pages", __name__)

Query = TypeVar("Query", bound=BaseModel)
_PAGE = 100
_KINDS: dict[str, Kind] = {"price_usd": "number", "announced_on": "date", "announced_year": "number", "founded_year": "number"}
_WIDTHS = {"name": 32, "acquirer": 28, "external_ref": 36, "price_usd": 18, "tagline": 60, "categories": 40, "homepage": 30}
_DEALS = (
    *(Column(label, _KINDS.get(fact, "text"), _WIDTHS.get(fact, 18)) for fact, label in LABELS.items()),
    *(Column(heading, "moment" if "UTC" in heading else "text", 20) for heading in LIST_HEADINGS[len(LABELS) :]),
)
_FINDINGS = (
    Column("Number", "number", 10),
    Column("Title", width=44),
    Column("Severity", width=12),
    Column("Status", width=12),
    Column("Owner", width=24),
    Column("Text", width=80),
    Column("Written by", width=24),
    Column("Written (UTC)", "moment", 20),
    Column("Last changed by", width=24),
    Column("Last changed (UTC)", "moment", 20),
)
_CHECKLIST = (
    Column("Section", width=28),
    Column("Item", width=60),
    Column("Done", width=8),
    Column("Done (UTC)", "moment", 20),
    Column("Due", "date", 12),
    Column("Owner", width=24),
    Column("Last changed by", width=24),
    Column("Last changed (UTC)", "moment", 20),
)
_ACTIVITY = (
    Column("id", "number", 12),
    Column("at", "moment", 20),
    Column("kind", width=24),
    Column("what", width=60),
    Column("by", width=24),
    Column("by_id", "number", 10),
    Column("about", width=24),
    Column("about_id", "number", 10),
)


@exports.get("/deals.csv")
@exports.get("/deals.xlsx")
@signed_in
async def deals() -> ResponseReturnValue:
    """Its reference and headings are such that importing it again changes nothing."""
    resources, user = current_resources(), current_user()
    await limit_rate(resources, "list", user.id, resources.settings.rate_limit_list)
    query = parse_query(ListQuery, request.args)
    table = Table("Deals", _DEALS, _deal_rows(resources, user.id, query))
    return await download(table, _format(), plain_name="deals", name=f"{user.organisation} deals")


@exports.get("/deals/<id:deal_id>/findings.csv")
@exports.get("/deals/<id:deal_id>/findings.xlsx")
@signed_in
async def findings(deal_id: int) -> ResponseReturnValue:
    return await _of_deal(deal_id, "findings", FindingQuery, _FINDINGS, _finding_rows)


@exports.get("/deals/<id:deal_id>/checklist.csv")
@exports.get("/deals/<id:deal_id>/checklist.xlsx")
@signed_in
async def checklist(deal_id: int) -> ResponseReturnValue:
    return await _of_deal(deal_id, "checklist", ChecklistQuery, _CHECKLIST, _item_rows)


@exports.get("/deals/<id:deal_id>/activity.csv")
@exports.get("/deals/<id:deal_id>/activity.xlsx")
@signed_in
async def activity(deal_id: int) -> ResponseReturnValue:
    """All that the filters leave, the latest first."""
    return await _of_deal(deal_id, "activity", ActivityQuery, _ACTIVITY, _event_rows)


async def _of_deal(
    deal_id: int,
    page: str,
    query_model: type[Query],
    columns: Sequence[Column],
    rows_of: Callable[[Resources, int, int, Query], Rows],
) -> ResponseReturnValue:
    resources, user = current_resources(), current_user()
    query = parse_query(query_model, request.args)
    try:
        async with resources.database.read() as db:
            await require_role(db, user.id, deal_id, ANY_ROLE, now=resources.clock.now())
            deal = await db.get_one(Deal, deal_id)
    except NotFound:
        return await show_missing(deal_id, page)
    table = Table(page.capitalize(), columns, rows_of(resources, user.id, deal_id, query))
    return await download(table, _format(), plain_name=f"deal-{deal_id}-{page}", name=f"{deal.name} {page}")


def _format() -> Format:
    return next(each for each in FORMATS if request.path.endswith(f".{each}"))


async def _deal_rows(resources: Resources, user_id: int, query: ListQuery) -> Rows:
    async for batch in export_deals(resources, user_id, query):
        yield [
            [
                *(reference_of(row.id, row.external_ref) if fact == "external_ref" else getattr(row, fact) for fact in LABELS),
                row.stage,
                row.owner_name,
                "yes" if row.is_archived else "no",
                row.updated_at,
            ]
            for row in batch
        ]


async def _finding_rows(resources: Resources, user_id: int, deal_id: int, query: FindingQuery) -> Rows:
    cursor = None
    query = query.model_copy(update={"limit": _PAGE})
    while True:
        async with resources.database.read() as db:
            page = query.model_copy(update={"cursor": cursor})
            found = await list_findings(db, user_id, deal_id, page, settings=resources.settings, now=resources.clock.now())
        yield [
            [
                each.number,
                each.title,
                each.severity,
                STATUS_TEXTS[each.status],
                _name(each.owner),
                each.text,
                _name(each.created_by),
                each.created_at,
                _name(each.updated_by),
                each.updated_at,
            ]
            for each in found.findings
        ]
        cursor = found.next_cursor
        if cursor is None:
            return


async def _item_rows(resources: Resources, user_id: int, deal_id: int, query: ChecklistQuery) -> Rows:
    async with resources.database.read() as db:
        found = await list_items(db, user_id, deal_id, query, now=resources.clock.now())
    yield [
        [
            each.section,
            each.title,
            "yes" if each.done else "no",
            each.done_at,
            each.due_on,
            _name(each.owner),
            _name(each.updated_by),
            each.updated_at,
        ]
        for each in found.items
    ]


async def _event_rows(resources: Resources, user_id: int, deal_id: int, query: ActivityQuery) -> Rows:
    async for batch in export_activity(resources, user_id, deal_id, query):
        yield [_event_cells(each, user_id) for each in batch]


def _event_cells(event: ActivityEvent, reader_id: int) -> list[Any]:
    by, about = event.actor, event.user
    people = (_name(by), by.id if by else None, _name(about), about.id if about else None)
    return [event.id, event.at, event.kind, sentence(event, reader_id=reader_id), *people]


def _name(person: PersonName | None) -> str:
    return person.name if person else ""
