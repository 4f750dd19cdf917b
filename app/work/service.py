"""Changes of the things inside a deal. Each is one transaction: lock the deal, change the row, write what it replaced and the event."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.core.errors import Conflict, NotFound
from app.deals.service import record
from app.deals.store import check_person, lock_editable_deal
from app.drafts.schemas import SavedDraft
from app.drafts.store import delete_saved
from app.history import store as history
from app.models import Deal
from app.resources import Resources
from app.work.store import Thing, find_of_deal


def _put(thing: Any, name: str, value: Any, now: datetime) -> None:
    setattr(thing, name, value)


def _no_quota(settings: Settings, thing: Any) -> None:
    pass


def _updated(thing: Any, changed: list[str]) -> str:
    return "updated"


@dataclass(frozen=True)
class Kind(Generic[Thing]):
    """One kind of thing: `word` is what people call it, and its revisions; `events` what the kinds of its events begin with."""

    table: type[Thing]
    word: history.Kind
    events: str
    # As the API shows it, for a person who sees the deal.
    get: Callable[..., Awaitable[Any]]
    # A new one, in a deal that is locked.
    make: Callable[[AsyncSession, Deal, Mapping[str, Any], int, datetime], Awaitable[Thing]]
    # What its events know it by: numbers, no text.
    named: Callable[[Thing], dict[str, int]]
    put: Callable[[Thing, str, Any, datetime], None] = _put
    # Raises `QuotaReached` where a deal has enough of them.
    check_quota: Callable[[Settings, Thing], None] = _no_quota
    # What its event says was done, once these facts are changed.
    verb: Callable[[Thing, list[str]], str] = _updated


async def create_thing(
    resources: Resources, kind: Kind[Thing], user_id: int, deal_id: int, facts: Mapping[str, Any], *, saved: SavedDraft | None = None
) -> int:
    """Returns its id; `saved` is the draft that ends with it.

    Raises `BadRequest` for an owner who does not see the deal, and what `kind.make` does.
    """
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        await check_person(db, deal_id, facts.get("owner_id"), now=now)
        thing = await kind.make(db, deal, facts, user_id, now)
        kind.check_quota(resources.settings, thing)
        db.add(thing)
        await db.flush()
        await history.keep_revision(db, *revised(kind, thing, "created", user_id, now, {}))
        await record_thing(db, kind, "created", deal, thing, user_id, now)
        await delete_saved(db, user_id, deal_id, saved)
        return thing.id


async def change_thing(
    resources: Resources,
    kind: Kind[Thing],
    user_id: int,
    deal_id: int,
    item_id: int,
    facts: Mapping[str, Any],
    *,
    expected: Collection[int] | None = None,
    saved: SavedDraft | None = None,
) -> Any:
    """State other facts; `saved` is the draft that ends with it.

    Raises `Conflict`, with the thing as it is and as asked for, when it is at none of the `expected` versions.
    """
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        thing = await get_of_deal(db, kind, deal, item_id)
        await _refuse_moved(db, kind, thing, user_id, expected, facts, now)
        await state_facts(db, kind, deal, thing, facts, user_id, now)
        await delete_saved(db, user_id, deal_id, saved)
        await db.flush()
        return await kind.get(db, user_id, deal_id, item_id, now=now)


async def delete_thing(
    resources: Resources, kind: Kind[Thing], user_id: int, deal_id: int, item_id: int, *, expected: Collection[int] | None = None
) -> None:
    """Out of every list; `undelete_thing` undoes it. Raises `Conflict` like `change_thing`."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        thing = await get_of_deal(db, kind, deal, item_id)
        await _refuse_moved(db, kind, thing, user_id, expected, {}, now)
        thing.deleted_at = now
        await keep_change(db, kind, thing, "deleted", user_id, now, {})
        await record_thing(db, kind, "deleted", deal, thing, user_id, now)


async def undelete_thing(resources: Resources, kind: Kind[Thing], user_id: int, deal_id: int, item_id: int) -> None:
    """Undo its deletion. Nothing happens where it is not deleted. Raises `NotFound` where there never was one."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        for thing in await find_of_deal(db, kind.table, deal, [item_id], deleted=True):
            thing.deleted_at = None
            await keep_change(db, kind, thing, "undeleted", user_id, now, {})
            await record_thing(db, kind, "undeleted", deal, thing, user_id, now)
            return
        await get_of_deal(db, kind, deal, item_id)


async def get_of_deal(db: AsyncSession, kind: Kind[Thing], deal: Deal, item_id: int) -> Thing:
    """Of a deal that the caller has locked. Raises `NotFound`."""
    found = await find_of_deal(db, kind.table, deal, [item_id])
    if not found:
        raise NotFound
    return found[0]


async def state_facts(
    db: AsyncSession,
    kind: Kind[Thing],
    deal: Deal,
    thing: Thing,
    facts: Mapping[str, Any],
    user_id: int,
    now: datetime,
    *,
    checked: bool = False,
) -> None:
    """Set the facts that differ. `checked`: the owner is known to see the deal."""
    changed = sorted(name for name, value in facts.items() if getattr(thing, name) != value)
    if not changed:
        return
    if "owner_id" in changed and not checked:
        await check_person(db, deal.id, facts["owner_id"], now=now)
    before = {name: getattr(thing, name) for name in changed}
    for name in changed:
        kind.put(thing, name, facts[name], now)
    verb = kind.verb(thing, changed)
    await keep_change(db, kind, thing, verb, user_id, now, before)
    await record_thing(db, kind, verb, deal, thing, user_id, now, fields=changed)


def mark_changed(thing: Thing, user_id: int, now: datetime) -> None:
    thing.version += 1
    thing.updated_at, thing.updated_by_id = now, user_id


def revised(kind: Kind[Thing], thing: Thing, verb: str, user_id: int, now: datetime, before: Mapping[str, Any]) -> tuple[Any, ...]:
    """What `history.revision_of` makes a row of."""
    return kind.word, thing.deal_id, thing.id, thing.version, verb, user_id, now, before


async def keep_change(
    db: AsyncSession, kind: Kind[Thing], thing: Thing, verb: str, user_id: int, now: datetime, before: Mapping[str, Any]
) -> None:
    """Another version of it, and what that replaced."""
    mark_changed(thing, user_id, now)
    await history.keep_revision(db, *revised(kind, thing, verb, user_id, now, before))


async def record_thing(
    db: AsyncSession, kind: Kind[Thing], verb: str, deal: Deal, thing: Thing, actor_id: int, at: datetime, **payload: Any
) -> None:
    await record(db, kind.events + verb, deal, actor_id, at, **kind.named(thing), **payload)


async def _refuse_moved(
    db: AsyncSession,
    kind: Kind[Thing],
    thing: Thing,
    user_id: int,
    expected: Collection[int] | None,
    facts: Mapping[str, Any],
    now: datetime,
) -> None:
    if expected is None or thing.version in expected:
        return
    current = await kind.get(db, user_id, thing.deal_id, thing.id, now=now)
    yours = {name: value.isoformat() if isinstance(value, date) else value for name, value in facts.items()}
    raise Conflict(f"Somebody changed this {kind.word} meanwhile.", current=current.model_dump(mode="json"), yours=yours)
