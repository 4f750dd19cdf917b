"""The SQL of an import: the organisation's row, its deals by external reference, inserts and updates by the batch."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Table, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import insert_into
from app.history.store import keep_revisions, revision_of
from app.imports.references import id_in
from app.models import Deal, Organisation

DEALS: Table = Deal.metadata.tables["deals"]

DealRow = Row[Any]
# What a file may say about a deal, and how a deal is inserted where the file says nothing.
EMPTY_FACTS: dict[str, Any] = {
    "name": "",
    "acquirer": "",
    "status": "",
    "terms": "",
    "price_usd": None,
    "announced_on": None,
    "announced_year": None,
    "tagline": "",
    "categories": "",
    "founded_year": None,
    "city": "",
    "region": "",
    "country": "",
    "homepage": "",
    "profile_url": "",
    "news_title": "",
    "news_url": "",
}


async def find_organisation(db: AsyncSession, name: str) -> int | None:
    return await db.scalar(select(Organisation.id).where(Organisation.name == name))


async def lock_organisations(db: AsyncSession, names: Sequence[str], *, at: datetime) -> dict[str, int]:
    """The ids by name, made where missing, and locked against another import into them until the transaction ends."""
    if names:
        values = [{"name": name, "created_at": at} for name in names]
        await db.execute(insert_into(db, Organisation).values(values).on_conflict_do_nothing(index_elements=["name"]))
    # key_share: deals and people of the organisation can still be added beside us.
    found = await db.execute(
        select(Organisation.name, Organisation.id)
        .where(Organisation.name.in_(names))
        .order_by(Organisation.id)
        .with_for_update(key_share=True)
    )
    return {row.name: row.id for row in found}


async def lock_organisation(db: AsyncSession, organisation_id: int) -> None:
    """As `lock_organisations`, of one that is known."""
    await db.execute(select(Organisation.id).where(Organisation.id == organisation_id).with_for_update(key_share=True))


async def find_deals(
    db: AsyncSession, organisation_id: int, references: Sequence[str], facts: Sequence[str], *, lock: bool
) -> dict[str, DealRow]:
    """By reference: `id`, `version`, `deleted_at` and the columns named in `facts`, of those deals that exist, in the bin or not.

    A reference that one of our own lists gave to a deal names it where no deal has it for its external one. `lock` keeps them as they are.
    """
    columns = [DEALS.c.external_ref, DEALS.c.id, DEALS.c.version, DEALS.c.deleted_at, *(DEALS.c[fact] for fact in facts)]
    wanted = select(*columns).where(DEALS.c.organisation_id == organisation_id)
    if lock:
        wanted = wanted.order_by(DEALS.c.id).with_for_update(key_share=True)
    found = {row.external_ref: row for row in await db.execute(wanted.where(DEALS.c.external_ref.in_(references)))}
    ours = {deal_id: reference for reference in references if reference not in found and (deal_id := id_in(reference))}
    if ours:
        found |= {ours[row.id]: row for row in await db.execute(wanted.where(DEALS.c.id.in_(ours)))}
    return found


async def insert_deals(db: AsyncSession, deals: Sequence[dict[str, Any]], *, at: datetime) -> None:
    """`deals` hold the organisation, the external reference, any facts and all the same further columns."""
    if deals:
        await db.execute(insert(DEALS), [{**EMPTY_FACTS, "created_at": at, "updated_at": at, **deal} for deal in deals])


async def update_deals(db: AsyncSession, changes: Sequence[tuple[DealRow, dict[str, Any]]], *, by_id: int | None, at: datetime) -> None:
    """Set the given facts of each deal, as `find_deals` found it; the same facts of many deals are one statement."""
    alike: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    revisions = []
    for deal, facts in changes:
        before = {name: getattr(deal, name) for name in facts}
        revisions.append(revision_of("deal", deal.id, deal.id, deal.version + 1, "imported", by_id, at, before))
        alike[tuple(sorted(facts))].append({"deal_id": deal.id, **{f"new_{name}": value for name, value in facts.items()}})
    for names, parameters in alike.items():
        new = {name: bindparam(f"new_{name}", type_=DEALS.c[name].type) for name in names}
        statement = update(DEALS).where(DEALS.c.id == bindparam("deal_id"))
        await db.execute(statement.values(**new, version=DEALS.c.version + 1, updated_at=at), parameters)
    await keep_revisions(db, revisions)
