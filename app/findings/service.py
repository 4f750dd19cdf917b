"""Findings as a kind of thing inside a deal, and changing many at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.deals.store import check_person, lock_editable_deal
from app.findings.store import get_finding, next_number
from app.http.quotas import refuse_beyond
from app.models import Deal, Finding
from app.resources import Resources
from app.work.service import Kind, state_facts
from app.work.store import find_of_deal


@dataclass
class BulkOutcome:
    """Numbers of findings: those that are now as asked, and those left alone because somebody changed them first."""

    done: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)


async def change_findings(
    resources: Resources, user_id: int, deal_id: int, versions: Mapping[int, int], facts: Mapping[str, Any]
) -> BulkOutcome:
    """Set the same facts on many findings, each only at its given version. Findings of other deals are ignored."""
    now, outcome = resources.clock.now(), BulkOutcome()
    async with resources.database.write() as db:
        deal = await lock_editable_deal(db, user_id, deal_id, now=now)
        await check_person(db, deal_id, facts.get("owner_id"), now=now)
        for finding in await find_of_deal(db, Finding, deal, versions.keys()):
            if finding.version != versions[finding.id]:
                outcome.moved.append(finding.number)
                continue
            await state_facts(db, FINDING, deal, finding, facts, user_id, now, checked=True)
            outcome.done.append(finding.number)
    return outcome


async def _make(db: AsyncSession, deal: Deal, facts: Mapping[str, Any], user_id: int, now: datetime) -> Finding:
    made = {"version": 1, "created_at": now, "created_by_id": user_id, "updated_at": now, "updated_by_id": user_id}
    return Finding(deal_id=deal.id, number=await next_number(db, deal), **facts, **made)


def _check_quota(settings: Settings, finding: Finding) -> None:
    # Numbers are given one after the other and never again, so this needs no counting.
    refuse_beyond(
        settings.quota_findings, finding.number, "quota_findings", "findings in a deal, deleted ones included", "Begin another deal"
    )


FINDING = Kind(
    Finding,
    word="finding",
    events="finding.",
    get=get_finding,
    make=_make,
    check_quota=_check_quota,
    named=lambda finding: {"finding_id": finding.id, "number": finding.number},
)
