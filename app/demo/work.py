"""What the demo's deals are in the middle of: their stages, and the work inside some of them, from demo/work.toml."""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.checklist.standard import TEMPLATES
from app.imports.rows import Row
from app.models import ChecklistItem, Finding

WORK: Mapping[str, Any] = tomllib.loads((Path(__file__).with_name("data") / "work.toml").read_text(encoding="utf-8"))
# The newest deals of an organisation are under way, in these stages by turns; what is older is closed.
UNDER_WAY = ("sourcing", "diligence", "diligence", "negotiation", "signing")
NEWEST = 25
# From the day of the demo on: when the items that are not done are due, by turns; the first is overdue. None: no day, and nobody yet.
DUE_IN_DAYS = (-2, 3, None, 7, 14, None, 30)


def stages(newest_first: Sequence[Row]) -> dict[str, str]:
    """By external reference, for the deals of one organisation."""
    spread = {row.reference: UNDER_WAY[rank % len(UNDER_WAY)] if rank < NEWEST else "closed" for rank, row in enumerate(newest_first)}
    return spread | {reference: work["stage"] for reference, work in WORK.items() if reference in spread}


async def insert_work(
    db: AsyncSession, people: Mapping[tuple[str, str], int], deals: Mapping[str, tuple[str, int]], *, at: datetime
) -> None:
    """Findings and checklists. `people` are ids by organisation and part, `deals` organisation and id by external reference."""
    findings: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for reference, work in WORK.items():
        if reference not in deals:
            continue
        organisation, deal_id = deals[reference]
        by = people.get((organisation, work["by"]))
        made = {"deal_id": deal_id, "created_at": at, "updated_at": at, "updated_by_id": by}
        for number, finding in enumerate(work["findings"], start=1):
            facts = {"severity": finding["severity"], "status": finding.get("status", "open"), "text": finding["text"].strip()}
            owner = people.get((organisation, finding.get("owner", "")))
            findings.append({**made, **facts, "number": number, "title": finding["title"], "owner_id": owner, "created_by_id": by})
        for place, (section, title) in enumerate(TEMPLATES[work["checklist"]].items):
            is_done, days = place < work["done"], DUE_IN_DAYS[(place - work["done"]) % len(DUE_IN_DAYS)]
            due_on = None if is_done or days is None else at.date() + timedelta(days=days)
            facts = {"section": section, "title": title, "position": place + 1, "due_on": due_on, "done_at": at if is_done else None}
            items.append({**made, **facts, "owner_id": None if days is None else by})
    if findings:
        await db.execute(insert(Finding), findings)
        await db.execute(insert(ChecklistItem), items)
