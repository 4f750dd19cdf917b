"""Says in a sentence what an event of the audit trail was, and to what it happened."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import fetch
from app.deals.schemas import ActivityEvent, PersonName
from app.models import DEAL_ID, ChecklistItem, Finding

_SAID = {
    "deal.created": "{actor} created this deal",
    "deal.updated": "{actor} changed this deal",
    "deal.archived": "{actor} archived this deal",
    "deal.unarchived": "{actor} took this deal out of the archive",
    "deal.deleted": "{actor} put this deal into the bin",
    "deal.undeleted": "{actor} took this deal out of the bin",
    "deal.transferred": "{actor} made {user} the owner",
    "deal.selected": "{actor} began to work on this deal",
    "deal.restored": "{user} came back to this deal",
    "deal.restore_undone": "{actor} did not want to come back to this deal",
    "deal.cleared": "{actor} left this deal",
    "deal.swept": "{user} no longer had access, and does not come back to this deal by themselves",
    "deal.pinned": "{actor} pinned this deal",
    "deal.unpinned": "{actor} unpinned this deal",
    "member.granted": "{actor} gave {user} access",
    "member.changed": "{actor} changed the access of {user}",
    "member.revoked": "{actor} withdrew the access of {user}",
    "finding.created": "{actor} added finding #{number}",
    "finding.updated": "{actor} changed finding #{number}",
    "finding.deleted": "{actor} deleted finding #{number}",
    "finding.undeleted": "{actor} brought back finding #{number}",
    "checklist.item_created": "{actor} added an item to the checklist",
    "checklist.item_updated": "{actor} changed an item of the checklist",
    "checklist.item_done": "{actor} ticked an item of the checklist",
    "checklist.item_reopened": "{actor} took back a tick on the checklist",
    "checklist.item_deleted": "{actor} deleted an item of the checklist",
    "checklist.item_undeleted": "{actor} brought back an item of the checklist",
    "checklist.item_moved": "{actor} moved an item of the checklist",
    "checklist.section_moved": "{actor} moved a section of {items} items of the checklist",
    "checklist.template_added": "{actor} added {items} items of the {template} checklist",
    "checklist.template_removed": "{actor} took back {items} items of a standard checklist",
}
_TITLES = union_all(
    *(
        select(literal(kind), table.id, table.title).where(table.deal_id == DEAL_ID, table.id.in_(bindparam(f"{kind}_ids", expanding=True)))
        for kind, table in (("finding", Finding), ("checklist", ChecklistItem))
    )
)
_FIELDS = {"price_usd": "price", "owner_id": "owner", "due_on": "due date", "external_ref": "external reference", "announced_on": "date"}


def sentence(event: ActivityEvent, *, reader_id: int) -> str:
    """Who is gone, or did it by a command, is "somebody": an event outlives the people in it."""
    template = _SAID.get(event.kind, event.kind.replace(".", " "))
    said: dict[str, Any] = {name: event.payload.get(name, "") for name in ("number", "items", "template")}
    text = template.format(actor=_name(event.actor, reader_id), user=_name(event.user, reader_id), **said)
    role = event.payload.get("role")
    if event.kind in ("member.granted", "member.changed") and role:
        text += f" as {role}"
    if event.kind in ("deal.updated", "finding.updated", "checklist.item_updated") and event.payload.get("fields"):
        text += f": {', '.join(_FIELDS.get(name, name.replace('_', ' ')) for name in event.payload['fields'])}"
    return text[0].upper() + text[1:]


def address(event: ActivityEvent, deal_id: int) -> str | None:
    """Where the thing is that it happened to, if it has a page and is not deleted by this very event."""
    if event.kind.startswith("finding.") and event.kind != "finding.deleted":
        return f"/deals/{deal_id}/findings/{event.payload.get('finding_id', '')}"
    if event.kind.startswith("checklist.item_") and event.kind != "checklist.item_deleted":
        return f"/deals/{deal_id}/checklist#item-{event.payload.get('item_id', '')}"
    return None


async def find_titles(db: AsyncSession, deal_id: int, events: Sequence[ActivityEvent]) -> dict[int, str]:
    """By event: what the thing is called that it happened to, also one deleted since. Events themselves hold no names."""
    subjects = {each.id: _subject(each) for each in events}
    ids = {f"{kind}_ids": sorted({id_ for each, id_ in subjects.values() if each == kind}) for kind in ("finding", "checklist")}
    titles = {(kind, id_): title for kind, id_, title in await fetch(db, _TITLES, deal_id=deal_id, **ids)}
    return {event_id: titles[subject] for event_id, subject in subjects.items() if subject in titles}


def _subject(event: ActivityEvent) -> tuple[str, int]:
    """Kind and id of the thing it happened to, where that is a thing inside the deal."""
    kind = event.kind.partition(".")[0]
    return kind, int(event.payload.get({"finding": "finding_id", "checklist": "item_id"}.get(kind, ""), 0))


def _name(person: PersonName | None, reader_id: int) -> str:
    if person is None:
        return "somebody"
    return "you" if person.id == reader_id else person.name
