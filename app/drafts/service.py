"""Keeping what somebody types: in the order it was typed, and never over what they typed elsewhere."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import user_can_access_deal
from app.core.errors import Conflict, NotFound, PayloadTooLarge
from app.drafts.schemas import MAX_DRAFTS, MAX_TEXT_BYTES, DraftName, DraftText
from app.drafts.store import find_draft, put_draft
from app.resources import Resources

FIRST_WORDS = 120
# Where a text says what it is about; else the longest of its fields does.
_TELLING = ("title", "text", "name", "tagline", "email")


async def keep_draft(resources: Resources, user_id: int, deal_id: int, name: DraftName, text: DraftText, *, device: str) -> int:
    """Returns the version that is kept: an older text of the same tab that comes late changes nothing.

    Raises `NotFound` where this person does not see the deal, and `Conflict` with the `current` draft where somewhere else was
    written meanwhile (`draft_moved`), where it was saved or discarded meanwhile (`draft_gone`), or where there are enough (`drafts_full`).
    """
    if text.size() > MAX_TEXT_BYTES:
        raise PayloadTooLarge(f"A draft may have {MAX_TEXT_BYTES} bytes.")
    values = {"deal_id": deal_id, "device": device, "first_words": first_words(text.fields)} | name._asdict()
    values |= text.model_dump(exclude={"follows"})
    async with resources.database.write() as db:
        if await put_draft(db, user_id, values, follows=text.follows, now=resources.clock.now()):
            return text.version
        return await _kept_instead(db, user_id, deal_id, name, text, resources)


async def _kept_instead(db: AsyncSession, user_id: int, deal_id: int, name: DraftName, text: DraftText, resources: Resources) -> int:
    now = resources.clock.now()
    if not await user_can_access_deal(db, user_id, deal_id, now=now):
        raise NotFound
    current = await find_draft(db, user_id, deal_id=deal_id, now=now, **name._asdict())
    if current is None:
        if text.follows:
            raise Conflict("This draft was saved or discarded meanwhile.", code="draft_gone", current=None)
        raise Conflict(f"You have {MAX_DRAFTS} drafts, which is as many as are kept. Save or discard some.", code="drafts_full")
    if current.writer == text.writer:
        return current.version
    raise Conflict("You wrote this somewhere else meanwhile.", code="draft_moved", current=current.model_dump(mode="json"))


def first_words(fields: dict[str, str]) -> str:
    """What a list shows of a text, on one line."""
    telling = next((fields[name] for name in _TELLING if fields.get(name, "").strip()), max(fields.values(), key=len, default=""))
    line = " ".join(telling[: 10 * FIRST_WORDS].split())
    return "".join(character for character in line if character.isprintable())[:FIRST_WORDS]
