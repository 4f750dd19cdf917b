"""Lays out the demo: real acquisitions as deals, their acquirers as organisations, and people to sign in as.

Each organisation is laid out once, in the transaction that also writes its `import.finished` event with source "demo".
That event is the mark: whatever people change or take away afterwards stays as they left it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import exists, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.statements import insert_into
from app.demo.work import insert_work, stages
from app.events.service import event_row
from app.imports.mapping import map_columns
from app.imports.reader import TextTable
from app.imports.report import RowWarning
from app.imports.rows import Row, read_row
from app.imports.store import DEALS, insert_deals, lock_organisations
from app.models import Event, Member, Organisation, User

DEMO_FILE = Path(__file__).with_name("data") / "acquisitions.csv"
DEMO_PASSWORD = "holdfast-demo-password"  # noqa: S105 (public by design, which is why production refuses it)
DEMO = "demo"
EDITOR_OF_NEWEST, VIEWER_OF_NEXT = 10, 5


@dataclass(frozen=True, slots=True)
class DemoPerson:
    organisation: str
    part: str
    role: str = "member"
    is_operator: bool = False
    # External references of the deals this person may view, beyond what the part brings with it.
    viewer_of: tuple[str, ...] = ()

    @property
    def email(self) -> str:
        return f"{self.part}@{self.organisation.lower()}.example"

    @property
    def name(self) -> str:
        return f"{self.organisation} {self.part.capitalize()}"


PEOPLE = (
    DemoPerson("Google", "admin", role="admin"),
    DemoPerson("Google", "lead"),
    DemoPerson("Google", "analyst"),
    DemoPerson("Microsoft", "admin", role="admin"),
    DemoPerson("Microsoft", "lead"),
    DemoPerson("Microsoft", "analyst"),
    DemoPerson("Microsoft", "solo", viewer_of=("Microsoft acquired Mojang in 2014",)),
    DemoPerson("Microsoft", "nobody"),
    DemoPerson("Holdfast", "operator", is_operator=True),
)


@dataclass(slots=True)
class Demo:
    """The file, read: its rows by organisation. Organisations with people but no deals have no rows."""

    rows: dict[str, list[Row]]
    warnings: list[RowWarning]


@dataclass(slots=True)
class Seeded:
    organisations: int = 0
    deals: int = 0
    people: int = 0
    warnings: list[RowWarning] = field(default_factory=list)


def read_demo() -> Demo:
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    warnings: list[RowWarning] = []
    with DEMO_FILE.open("rb") as stream:
        table = TextTable(stream)
        columns = map_columns(table.headings)
        for batch in table.batches():
            for record in batch.records:
                row = read_row(record, columns)
                if not isinstance(row, Row):
                    raise ValueError(f"{DEMO_FILE.name}, line {row.line}: {row.reason}")
                rows[row.facts["acquirer"]].append(row)
                warnings += row.warnings
    return Demo({**rows, **{person.organisation: rows[person.organisation] for person in PEOPLE}}, warnings)


async def list_missing(db: AsyncSession, names: Sequence[str]) -> list[str]:
    """Those organisations of the demo that were never laid out."""
    mark = exists().where(
        Event.organisation_id == Organisation.id, Event.kind == "import.finished", Event.payload["source"].as_string() == DEMO
    )
    done = set(await db.scalars(select(Organisation.name).where(Organisation.name.in_(names), mark)))
    return [name for name in names if name not in done]


async def seed_demo(db: AsyncSession, demo: Demo, password_hashes: Mapping[str, str], *, at: datetime) -> Seeded:
    """Lay out what is missing. `password_hashes` holds one hash for each person's address."""
    ids = await lock_organisations(db, sorted(demo.rows), at=at)
    # Asked again under the lock: another start may have been quicker.
    missing = await list_missing(db, sorted(demo.rows))
    if not missing:
        return Seeded()
    people = await _insert_people(db, missing, ids, password_hashes, at=at)
    deals = await _insert_deals(db, demo, missing, ids, people, at=at)
    await _insert_grants(db, demo, people, deals, at=at)
    parts = {(person.organisation, person.part): user_id for person, user_id in people.items()}
    names = {organisation_id: name for name, organisation_id in ids.items()}
    await insert_work(db, parts, {reference: (names[home], deal_id) for (home, reference), deal_id in deals.items()}, at=at)
    counts = {name: sum(organisation_id == ids[name] for organisation_id, _ in deals) for name in missing}
    events = [
        event_row("import.finished", at=at, organisation_id=ids[name], source=DEMO, rows=len(demo.rows[name]), imported=counts[name])
        for name in missing
    ]
    events += [
        event_row("user.added", at=at, organisation_id=ids[person.organisation], user_id=user_id) for person, user_id in people.items()
    ]
    await db.execute(insert(Event), events)
    return Seeded(len(missing), len(deals), len(people), demo.warnings)


def newest_first(rows: Sequence[Row]) -> list[Row]:
    """By the date, where it is one of the year the row names, then by external reference; rows without such a date last."""

    def age(row: Row) -> tuple[int, str]:
        announced: date | None = row.facts.get("announced_on")
        credible = announced is not None and announced.year == row.facts.get("announced_year")
        return (-announced.toordinal() if announced and credible else 0, row.reference)

    return sorted(rows, key=age)


async def _insert_people(
    db: AsyncSession, missing: Sequence[str], ids: Mapping[str, int], password_hashes: Mapping[str, str], *, at: datetime
) -> dict[DemoPerson, int]:
    """The people of these organisations with their new ids; an address that is taken stays with whom it belongs to."""
    people = {person.email: person for person in PEOPLE if person.organisation in missing}
    if not people:
        return {}
    values = [
        {
            "organisation_id": ids[person.organisation],
            "email": email,
            "name": person.name,
            "password_hash": password_hashes[email],
            "role": person.role,
            "is_operator": person.is_operator,
            "created_at": at,
        }
        for email, person in people.items()
    ]
    statement = insert_into(db, User).values(values).on_conflict_do_nothing(index_elements=["email"]).returning(User.email, User.id)
    return {people[row.email]: row.id for row in await db.execute(statement)}


async def _insert_deals(
    db: AsyncSession, demo: Demo, missing: Sequence[str], ids: Mapping[str, int], people: Mapping[DemoPerson, int], *, at: datetime
) -> dict[tuple[int, str], int]:
    """The deals of these organisations that are not there yet: their new ids by organisation and reference."""
    known = await _deal_ids(db, [ids[name] for name in missing])
    owners = {(person.organisation, person.part): user_id for person, user_id in people.items()}
    new: list[dict[str, Any]] = []
    for name in missing:
        stage_of = stages(newest_first(demo.rows[name]))
        for row in demo.rows[name]:
            if (ids[name], row.reference) in known:
                continue
            part = "lead" if row.facts.get("announced_year", 1) % 2 == 0 else "admin"
            owner = owners.get((name, part))
            columns = {"organisation_id": ids[name], "external_ref": row.reference, "owner_id": owner, "stage": stage_of[row.reference]}
            new.append(columns | row.facts)
    await insert_deals(db, new, at=at)
    present = await _deal_ids(db, [ids[name] for name in missing])
    return {key: present[key] for key in present.keys() - known.keys()}


async def _deal_ids(db: AsyncSession, organisation_ids: Sequence[int]) -> dict[tuple[int, str], int]:
    columns = (DEALS.c.organisation_id, DEALS.c.external_ref, DEALS.c.id)
    found = await db.execute(select(*columns).where(DEALS.c.organisation_id.in_(organisation_ids), DEALS.c.external_ref.is_not(None)))
    return {(row.organisation_id, row.external_ref): row.id for row in found}


async def _insert_grants(
    db: AsyncSession, demo: Demo, people: Mapping[DemoPerson, int], deals: Mapping[tuple[int, str], int], *, at: datetime
) -> None:
    by_reference = {reference: deal_id for (_, reference), deal_id in deals.items()}
    grants: list[dict[str, Any]] = []
    for person, user_id in people.items():
        roles = dict.fromkeys(person.viewer_of, "viewer")
        if person.part == "analyst":
            newest = [row.reference for row in newest_first(demo.rows[person.organisation])]
            roles |= dict.fromkeys(newest[:EDITOR_OF_NEWEST], "editor")
            roles |= dict.fromkeys(newest[EDITOR_OF_NEWEST : EDITOR_OF_NEWEST + VIEWER_OF_NEXT], "viewer")
        grants += [
            {"deal_id": by_reference[reference], "user_id": user_id, "role": role, "created_at": at}
            for reference, role in roles.items()
            if reference in by_reference
        ]
    if grants:
        await db.execute(insert(Member), grants)
