"""Changes of a deal. Each is one transaction: the row, the live sessions it concerns, the event."""

from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.permissions import MANAGING_ROLES, visible_to
from app.core.errors import Conflict, NotFound
from app.core.statements import execute_dml, insert_into
from app.current_deal.session_data import clear_restore_backoff, dismiss, if_still_on, refresh_card, strip_deal
from app.deals.realign import Realignment
from app.deals.schemas import PersonRef
from app.deals.store import colleague, find_grant, find_in_bin, get_colleague, get_detail, lock_deal, lock_editable_deal
from app.drafts.schemas import SavedDraft
from app.drafts.store import delete_saved
from app.events.service import record_event
from app.history.store import keep_revision
from app.http.quotas import check_deals
from app.models import Deal, Pin, Session, User
from app.resources import Resources
from app.sessions.record import SessionData


async def create_deal(resources: Resources, creator_id: int, facts: dict[str, Any]) -> int:
    """A deal of the creator's organisation, owned by them. Returns its id. Raises `Conflict` for a reference in use."""
    now, created = resources.clock.now(), 0

    async def insert(db: AsyncSession) -> None:
        nonlocal created
        # Locked, so that what the person may do is decided before and not beside what takes it away.
        creator = await db.get_one(User, creator_id, with_for_update={"read": True})
        await check_deals(db, creator.organisation_id, resources.settings.quota_deals)
        deal = Deal(organisation_id=creator.organisation_id, owner_id=creator_id, version=1, created_at=now, updated_at=now)
        _state(deal, facts)
        db.add(deal)
        await _flush(db)
        created = deal.id
        await keep_revision(db, "deal", deal.id, deal.id, deal.version, "created", creator_id, now, {})
        await record(db, "deal.created", deal, creator_id, now)

    # The creator may have their first deal now, so their sessions retry the restore.
    await resources.sessions.change_sessions(Session.user_id == creator_id, clear_restore_backoff, also=insert)
    return created


async def change_deal(
    resources: Resources,
    user_id: int,
    deal_id: int,
    facts: dict[str, Any],
    *,
    expected: Collection[int] | None = None,
    saved: SavedDraft | None = None,
) -> None:
    """State other facts; `saved` is the draft that ends with it.

    Raises `Conflict`, with the deal as it is, when it is at none of the `expected` versions.
    """
    now = resources.clock.now()

    async def change(db: AsyncSession) -> None:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        if expected is not None and deal.version not in expected:
            current = await get_detail(db, user_id, deal_id, current_deal_id=None, now=now)
            raise Conflict("Somebody changed this deal meanwhile.", current=current.model_dump(mode="json", exclude={"is_current"}))
        before = _state(deal, facts)
        if before:
            mark_changed(deal, now)
            await _flush(db)
            await keep_revision(db, "deal", deal.id, deal.id, deal.version, "updated", user_id, now, before)
            await record(db, "deal.updated", deal, user_id, now, fields=sorted(before))
        await delete_saved(db, user_id, deal_id, saved)

    if "name" in facts:
        rename = if_still_on(deal_id, partial(refresh_card, name=facts["name"]))
        await resources.sessions.change_sessions(Session.current_deal_id == deal_id, rename, also=change)
    else:
        async with resources.database.write() as db:
            await change(db)


async def archive_deal(resources: Resources, user_id: int, deal_id: int, *, archived: bool) -> None:
    """Make it read-only, or editable again. Everybody keeps their place."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await lock_deal(db, user_id, deal_id, roles=MANAGING_ROLES, now=now)
        if (deal.archived_at is not None) != archived:
            deal.archived_at = now if archived else None
            mark_changed(deal, now)
            await record(db, "deal.archived" if archived else "deal.unarchived", deal, user_id, now)


async def delete_deal(resources: Resources, user_id: int, deal_id: int) -> None:
    """Into the bin, and out of every live session. The people who worked on it come back to it when it comes back."""
    now, pointer_version = resources.clock.now(), None

    async def bin_it(db: AsyncSession) -> None:
        nonlocal pointer_version
        pointer_version = await db.scalar(select(User.last_deal_version).where(User.id == user_id))
        deal = await lock_deal(db, user_id, deal_id, roles=MANAGING_ROLES, now=now)
        deal.deleted_at = now
        mark_changed(deal, now)
        await db.flush()
        await record(db, "deal.deleted", deal, user_id, now)

    def strip(data: SessionData) -> SessionData | None:
        """Whoever did it needs no notice that the deal is gone, nor whom to ask for it."""
        changed = strip_deal(data)
        by_them = data.get("user", {}).get("id") == user_id
        return (dismiss(changed, "deal_unavailable") or changed) | {"refused": pointer_version} if by_them else changed

    await resources.sessions.change_sessions(Session.current_deal_id == deal_id, if_still_on(deal_id, strip), also=bin_it)


async def undelete_deal(resources: Resources, user_id: int, deal_id: int) -> None:
    """Out of the bin. Raises `NotFound` where it is neither in this person's bin nor visible to them."""
    now = resources.clock.now()

    async def bring_back(db: AsyncSession) -> None:
        deal = await find_in_bin(db, user_id, deal_id, now=now)
        if deal is None:
            await lock_deal(db, user_id, deal_id, roles=MANAGING_ROLES, now=now)
            return
        deal.deleted_at = None
        mark_changed(deal, now)
        await db.flush()
        await record(db, "deal.undeleted", deal, user_id, now)

    left_here = Session.user_id.in_(select(User.id).where(User.last_deal_id == deal_id))
    await resources.sessions.change_sessions(left_here, clear_restore_backoff, also=bring_back)


async def transfer_deal(resources: Resources, user_id: int, deal_id: int, *, to: PersonRef) -> User:
    """Make a colleague the owner. The old one keeps what a grant or their role in the organisation gives them."""
    now, realignment = resources.clock.now(), Realignment(deal_id)
    which = colleague(user_id, user_id=to.user_id, email=to.email)
    owner: User

    async def transfer(db: AsyncSession) -> None:
        nonlocal owner
        deal = await lock_deal(db, user_id, deal_id, roles=MANAGING_ROLES, now=now)
        owner, old_owner_id = await get_colleague(db, which), deal.owner_id
        if old_owner_id == owner.id:
            return
        grant = await find_grant(db, deal_id, owner.id)
        if grant is not None:
            await db.delete(grant)  # ownership says more
        deal.owner_id = owner.id
        mark_changed(deal, now)
        await realignment.load(db, {owner.id} | ({old_owner_id} if old_owner_id else set()), now=now)
        await record(db, "deal.transferred", deal, user_id, now, concerns=owner.id, from_user_id=old_owner_id)

    # The old owner's place is lost only in sessions on this deal; the new owner's sessions may have a first deal now.
    concerned = or_(Session.current_deal_id == deal_id, Session.user_id.in_(select(User.id).where(which)))
    await resources.sessions.change_sessions(concerned, realignment.change, also=transfer)
    return owner


async def pin_deal(resources: Resources, user_id: int, deal_id: int, *, pinned: bool) -> None:
    """Pin or unpin a deal for this person only. Raises `NotFound`."""
    now = resources.clock.now()
    async with resources.database.write() as db:
        deal = await db.scalar(visible_to(user_id, Deal, now=now).where(Deal.id == deal_id))
        if deal is None:
            raise NotFound
        if pinned:
            pin = insert_into(db, Pin).values(user_id=user_id, deal_id=deal_id, pinned_at=now).on_conflict_do_nothing()
            changed = await execute_dml(db, pin)
        else:
            changed = await execute_dml(db, delete(Pin).where(Pin.user_id == user_id, Pin.deal_id == deal_id))
        if changed:
            await record(db, "deal.pinned" if pinned else "deal.unpinned", deal, user_id, now)


async def record(
    db: AsyncSession, kind: str, deal: Deal, actor_id: int, at: datetime, *, concerns: int | None = None, **payload: Any
) -> None:
    """An event about `deal`; `concerns` is the other person it is about."""
    organisation_id = deal.organisation_id
    await record_event(db, kind, at=at, organisation_id=organisation_id, actor_id=actor_id, user_id=concerns, deal_id=deal.id, **payload)


def mark_changed(deal: Deal, now: datetime) -> None:
    deal.version += 1
    deal.updated_at = now


def _state(deal: Deal, facts: dict[str, Any]) -> dict[str, Any]:
    """Set facts; returns those that changed, as they were."""
    if facts.get("announced_on"):
        facts = facts | {"announced_year": facts["announced_on"].year}
    before = {name: getattr(deal, name) for name, value in facts.items() if getattr(deal, name) != value}
    for name in before:
        setattr(deal, name, facts[name])
    return before


async def _flush(db: AsyncSession) -> None:
    try:
        await db.flush()
    except IntegrityError as error:
        # The one rule of the table that a valid body can break.
        raise Conflict("Another deal of your organisation has this external reference.", code="external_ref_taken") from error
