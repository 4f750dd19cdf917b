"""The import below its command: any source of records, in one transaction, beside another import."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from app.core.database import Database
from app.imports import service
from app.imports.mapping import map_columns
from app.imports.reader import Batch, Record
from app.imports.report import ImportRefused, Report
from app.models import Deal, Event

NOW = datetime(2026, 11, 22, tzinfo=UTC)


async def two_batches() -> AsyncIterator[Batch]:
    yield Batch([Record(2, ["A"]), Record(3, ["B"])], 10)
    yield Batch([Record(4, ["C"])], 20)


async def test_any_source_of_records_will_do(database: Database) -> None:
    told: list[int] = []
    async with database.write() as db:
        report = await service.import_deals(db, two_batches(), map_columns(["Target"]), organisation="Acme", at=NOW, progress=told.append)
    assert (report.imported, told) == (3, [10, 20])
    async with database.read() as db:
        assert await db.scalar(select(func.count()).select_from(Deal)) == 3
        assert set(await db.scalars(select(Deal.created_at))) == {NOW}


async def test_refusal_rolls_back_what_was_written_before_it(database: Database) -> None:
    async def source() -> AsyncIterator[Batch]:
        yield Batch([Record(2, ["A"])], 10)
        yield Batch([Record(3, [""])], 20)

    with pytest.raises(ImportRefused) as refused:
        async with database.write() as db:
            await service.import_deals(db, source(), map_columns(["Target"]), organisation="Acme", at=NOW)
    assert [refusal.line for refusal in refused.value.report.refused] == [3]
    async with database.read() as db:
        assert await db.scalar(select(func.count()).select_from(Deal)) == 0
        assert await db.scalar(select(func.count()).select_from(Event)) == 0


async def test_two_imports_at_once_do_not_double(database_url: str) -> None:
    async def one() -> Report:
        database = Database(database_url, name="holdfast-test")
        try:
            async with database.write() as db:
                return await service.import_deals(db, two_batches(), map_columns(["Target"]), organisation="Acme", at=NOW)
        finally:
            await database.close()

    reports = await asyncio.gather(*(one() for _ in range(3)))
    assert sorted((report.imported, report.unchanged) for report in reports) == [(0, 3), (0, 3), (3, 0)]
