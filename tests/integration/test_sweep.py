"""The weekly sweep: who can no longer come back to a deal forgets it, whoever can keeps it, and the bin is emptied after 30 days."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from app.access.permissions import BIN_LIFE
from app.core.batches import BatchSizer
from app.core.database import Database
from app.current_deal.sweep import Swept, _forget, _next_window, sweep_stale_deals
from app.models import Deal, Event, Member, Organisation, User
from tests.factories import make_deal, make_member, make_organisation, make_user
from tests.fakes import FakeClock

DAY = timedelta(days=1)


@dataclass
class Office:
    """An organisation whose `owner` shares deals with colleagues."""

    database: Database
    clock: FakeClock
    organisation: Organisation
    owner: User

    async def deal(self, **values: Any) -> Deal:
        return await make_deal(self.database, self.organisation, owner=self.owner, **values)

    async def colleague(self, deal: Deal, *, granted: bool = True, until: datetime | None = None, **values: Any) -> int:
        """Somebody whose last deal is `deal`."""
        person = await make_user(self.database, self.organisation, last_deal_id=deal.id, last_deal_version=7, **values)
        if granted:
            await make_member(self.database, deal, person, expires_at=until)
        return person.id

    async def pointer(self, user_id: int) -> tuple[int | None, int]:
        async with self.database.read() as db:
            user = await db.get_one(User, user_id)
            return user.last_deal_id, user.last_deal_version

    async def events(self, kind: str) -> list[tuple[int | None, int | None, str | None]]:
        async with self.database.read() as db:
            found = await db.scalars(select(Event).where(Event.kind == kind).order_by(Event.id))
            return [(event.user_id, event.deal_id, event.payload.get("reason")) for event in found]

    async def sweep(self) -> Swept:
        return await sweep_stale_deals(self.database, self.clock)


@pytest.fixture
async def office(database: Database, clock: FakeClock) -> Office:
    organisation = await make_organisation(database)
    return Office(database, clock, organisation, await make_user(database, organisation))


async def test_who_cannot_come_back_forgets_and_everybody_else_keeps(office: Office, clock: FakeClock) -> None:
    now = clock.now()
    open_deal, archived = await office.deal(), await office.deal(archived_at=now - DAY)
    deleted = await office.deal(deleted_at=now - DAY)
    gone = {
        await office.colleague(deleted): (deleted.id, "deleted"),
        await office.colleague(open_deal, granted=False): (open_deal.id, "revoked"),
        await office.colleague(open_deal, until=now - DAY): (open_deal.id, "expired"),
    }
    kept = {
        await office.colleague(open_deal): open_deal.id,
        await office.colleague(open_deal, until=now + DAY): open_deal.id,
        await office.colleague(archived): archived.id,
        await office.colleague(open_deal, granted=False, role="admin"): open_deal.id,
        await office.colleague(open_deal, granted=False, disabled_at=now): open_deal.id,
    }
    assert await office.sweep() == Swept(deleted=1, revoked=1, expired=1)
    assert [await office.pointer(user_id) for user_id in gone] == [(None, 8)] * 3
    assert {user_id: (await office.pointer(user_id))[0] for user_id in kept} == kept
    assert await office.events("deal.swept") == [(user_id, *why) for user_id, why in gone.items()]
    assert await office.sweep() == Swept(), "what is done is not done again"
    assert len(await office.events("deal.swept")) == 3


async def test_who_is_granted_or_chooses_meanwhile_is_not_swept(office: Office, clock: FakeClock) -> None:
    """Between the look and the transaction that clears."""
    deal, other = await office.deal(), await office.deal()
    granted, chose, still_stale = [await office.colleague(deal, granted=False) for _ in range(3)]
    window = {row.id: row for row in await _next_window(office.database, clock.now(), 0)}
    assert {row.id for row in window.values() if not row.sees} == {granted, chose, still_stale}
    async with office.database.write() as db:
        db.add(Member(deal_id=deal.id, user_id=granted, role="viewer", created_at=clock.now()))
        # To another deal that they do not see either: their choice is theirs all the same.
        await db.execute(update(User).where(User.id == chose).values(last_deal_id=other.id, last_deal_version=8))
    assert await _forget(office.database, window, clock.now(), BatchSizer()) == ["revoked"]
    assert [await office.pointer(user_id) for user_id in (granted, chose, still_stale)] == [(deal.id, 7), (other.id, 8), (None, 8)]


async def test_many_are_swept_in_batches_each_once(office: Office) -> None:
    deal = await office.deal()
    async with office.database.write() as db:
        facts = {"organisation_id": office.organisation.id, "password_hash": "", "created_at": office.clock.now(), "last_deal_id": deal.id}
        people = [User(email=f"{number}@many.example", name="X", **facts) for number in range(1203)]
        db.add_all(people)
    told: list[dict[str, int]] = []

    async def progress(done: int | None = None, total: int | None = None, **counts: int) -> None:
        told.append(counts)

    assert (await sweep_stale_deals(office.database, office.clock, progress=progress)).revoked == 1203
    assert len(told) > 1, "in more than one transaction"
    events = await office.events("deal.swept")
    assert sorted(user_id or 0 for user_id, _, _ in events) == sorted(person.id for person in people)


async def test_bin_is_emptied_after_thirty_days(office: Office, clock: FakeClock) -> None:
    now = clock.now()
    old, young = await office.deal(deleted_at=now - BIN_LIFE), await office.deal(deleted_at=now - BIN_LIFE + DAY)
    person = await office.colleague(old)
    assert await office.sweep() == Swept(deleted=1, purged=1)
    assert await office.pointer(person) == (None, 8)
    assert await office.events("deal.purged") == [(None, old.id, None)]
    async with office.database.read() as db:
        assert list(await db.scalars(select(Deal.id))) == [young.id]
        assert list(await db.scalars(select(Member.deal_id))) == []


async def test_deal_brought_back_before_the_sweep_keeps_its_people(office: Office, clock: FakeClock) -> None:
    deal = await office.deal(deleted_at=clock.now() - DAY)
    person = await office.colleague(deal)
    async with office.database.write() as db:
        await db.execute(update(Deal).values(deleted_at=None))
    assert await office.sweep() == Swept()
    assert await office.pointer(person) == (deal.id, 7)
    async with office.database.write() as db:
        await db.execute(delete(Member))
    assert await office.sweep() == Swept(revoked=1)
