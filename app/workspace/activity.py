"""Says in a sentence what an event of the audit trail was."""

from app.deals.schemas import ActivityEvent, PersonName

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
    "deal.cleared": "{actor} left this deal",
    "deal.swept": "{user} no longer had access, and does not come back to this deal by themselves",
    "deal.pinned": "{actor} pinned this deal",
    "deal.unpinned": "{actor} unpinned this deal",
    "member.granted": "{actor} gave {user} access",
    "member.changed": "{actor} changed the access of {user}",
    "member.revoked": "{actor} withdrew the access of {user}",
}


def sentence(event: ActivityEvent, *, reader_id: int) -> str:
    """Who is gone, or did it by a command, is "somebody": an event outlives the people in it."""
    template = _SAID.get(event.kind, event.kind.replace(".", " "))
    text = template.format(actor=_name(event.actor, reader_id), user=_name(event.user, reader_id))
    role = event.payload.get("role")
    if event.kind in ("member.granted", "member.changed") and role:
        text += f" as {role}"
    return text[0].upper() + text[1:]


def _name(person: PersonName | None, reader_id: int) -> str:
    if person is None:
        return "somebody"
    return "you" if person.id == reader_id else person.name
