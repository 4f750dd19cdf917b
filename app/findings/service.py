"""What can be done to findings. Each change is one transaction: the deal is locked, the row changes, the event is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.deals.service import record
from app.deals.store import check_person, lock_editable_deal
from app.errors import Conflict, NotFound
from app.findings.schemas import FindingView
from app.findings.store import find_of_deal, get_finding, next_number
from app.models import Deal, Finding
from app.resources import Resources


@dataclass
class BulkOutcome:
    """Numbers of findings: those that are now as asked, and those left alone because somebody changed them first."""

    done: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)


async def create_finding(house: Resources, user_id: int, deal_id: int, facts: Mapping[str, Any]) -> int:
    """Returns its id. Raises `BadRequest` for an owner who does not see the deal."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        await check_person(db, deal_id, facts.get("owner_id"), now=now)
        number = await next_number(db, deal)
        made = {"version": 1, "created_at": now, "created_by_id": user_id, "updated_at": now, "updated_by_id": user_id}
        finding = Finding(deal_id=deal.id, number=number, **facts, **made)
        db.add(finding)
        await db.flush()
        await _record(db, "finding.created", deal, finding, user_id, now)
        return finding.id


async def change_finding(
    house: Resources, user_id: int, deal_id: int, item_id: int, facts: Mapping[str, Any], *, expected: Collection[int] | None = None
) -> FindingView:
    """State other facts. Raises `Conflict`, with the finding as it is and as asked for, when it is at none of the `expected` versions."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        finding = await _get(db, deal, item_id)
        await _refuse_moved(db, finding, user_id, expected, facts, now)
        await _state(db, deal, finding, facts, user_id, now)
        await db.flush()
        return await get_finding(db, user_id, deal_id, item_id, now=now)


async def change_findings(
    house: Resources, user_id: int, deal_id: int, versions: Mapping[int, int], facts: Mapping[str, Any]
) -> BulkOutcome:
    """The same facts for many, each only if it still is at its version. What is not in this deal is not there."""
    now, outcome = house.clock.now(), BulkOutcome()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        await check_person(db, deal_id, facts.get("owner_id"), now=now)
        for finding in await find_of_deal(db, deal, versions.keys()):
            if finding.version != versions[finding.id]:
                outcome.moved.append(finding.number)
                continue
            await _state(db, deal, finding, facts, user_id, now, checked=True)
            outcome.done.append(finding.number)
    return outcome


async def delete_finding(house: Resources, user_id: int, deal_id: int, item_id: int, *, expected: Collection[int] | None = None) -> None:
    """Out of every list; `bring_back_finding` undoes it. Raises `Conflict` like `change_finding`."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        finding = await _get(db, deal, item_id)
        await _refuse_moved(db, finding, user_id, expected, {}, now)
        finding.deleted_at = now
        _mark_changed(finding, user_id, now)
        await _record(db, "finding.deleted", deal, finding, user_id, now)


async def bring_back_finding(house: Resources, user_id: int, deal_id: int, item_id: int) -> None:
    """Undo its deletion. Nothing happens where it is not deleted. Raises `NotFound` where there never was one."""
    now = house.clock.now()
    async with house.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        for finding in await find_of_deal(db, deal, [item_id], deleted=True):
            finding.deleted_at = None
            _mark_changed(finding, user_id, now)
            await _record(db, "finding.undeleted", deal, finding, user_id, now)
            return
        await _get(db, deal, item_id)


async def _get(db: AsyncSession, deal: Deal, item_id: int) -> Finding:
    found = await find_of_deal(db, deal, [item_id])
    if not found:
        raise NotFound
    return found[0]


async def _refuse_moved(
    db: AsyncSession, finding: Finding, user_id: int, expected: Collection[int] | None, facts: Mapping[str, Any], now: datetime
) -> None:
    if expected is not None and finding.version not in expected:
        current = await get_finding(db, user_id, finding.deal_id, finding.id, now=now)
        raise Conflict("Somebody changed this finding meanwhile.", current=current.model_dump(mode="json"), yours=dict(facts))


async def _state(
    db: AsyncSession, deal: Deal, finding: Finding, facts: Mapping[str, Any], user_id: int, now: datetime, *, checked: bool = False
) -> None:
    """Set the facts that differ. `checked`: the owner is known to see the deal."""
    changed = sorted(name for name, value in facts.items() if getattr(finding, name) != value)
    if not changed:
        return
    if "owner_id" in changed and not checked:
        await check_person(db, deal.id, facts["owner_id"], now=now)
    for name in changed:
        setattr(finding, name, facts[name])
    _mark_changed(finding, user_id, now)
    await _record(db, "finding.updated", deal, finding, user_id, now, fields=changed)


def _mark_changed(finding: Finding, user_id: int, now: datetime) -> None:
    finding.version += 1
    finding.updated_at, finding.updated_by_id = now, user_id


async def _record(db: AsyncSession, kind: str, deal: Deal, finding: Finding, actor_id: int, at: datetime, **payload: Any) -> None:
    await record(db, kind, deal, actor_id, at, finding_id=finding.id, number=finding.number, **payload)
