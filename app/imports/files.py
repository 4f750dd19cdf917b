"""The file of an import: stored in SQL in pieces, copied to an anonymous local file for reading, deleted after use."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from sqlalchemy import delete, insert, select

from app.core.database import Database
from app.core.errors import NotFound, PayloadTooLarge
from app.core.statements import execute_dml
from app.core.time_budget import ensure_time_budget
from app.http.uploads import MAX_FILE
from app.imports.limits import MAX_LINES, MAX_SHEET_SIZE, too_many_lines
from app.models import ImportPiece

# One transaction each: on SQLite, whose writers wait for each other, a few hundredths of a second.
PIECE = 1024 * 1024
# A file has up to three hundred pieces: what a request may wait for the database in all is not for so many, so each has its own time.
PIECE_SECONDS = 5
# The pieces of a workbook itself are numbered from here; those below are its chosen sheet, which is what is imported.
WORKBOOK = 1_000_000
MAX_FILE_TEXT = f"{MAX_FILE // (1024 * 1024)} MB"


async def spool(chunks: AsyncIterable[bytes], *, largest: int = MAX_FILE) -> BinaryIO:
    """Write `chunks` to an anonymous file, which the caller closes. Raises `PayloadTooLarge`."""
    file = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  # closed by the caller
    size = lines = 0
    try:
        async for chunk in chunks:
            size += len(chunk)
            lines += chunk.count(b"\n")
            check_size(size, lines, largest=largest)
            await asyncio.to_thread(file.write, chunk)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def check_size(size: int, lines: int = 0, *, largest: int = MAX_FILE) -> None:
    if size > largest:
        raise PayloadTooLarge(f"A file to import may have {MAX_FILE_TEXT}. Split it, or ask an operator to use the command line.")
    if lines > MAX_LINES:
        raise too_many_lines()


async def store_file(database: Database, import_id: int, file: BinaryIO, *, first: int = 0) -> None:
    """Piece by piece, so that other writers do not wait long."""
    await asyncio.to_thread(file.seek, 0)
    number = first
    while piece := await asyncio.to_thread(file.read, PIECE):
        ensure_time_budget(PIECE_SECONDS)
        async with database.write() as db:
            await db.execute(insert(ImportPiece).values(import_id=import_id, number=number, data=piece))
        number += 1


@asynccontextmanager
async def local_copy(database: Database, import_id: int, *, first: int = 0) -> AsyncIterator[BinaryIO]:
    """A local copy of an import's file. Raises `NotFound` if it is gone."""
    file = await spool(_pieces(database, import_id, first), largest=MAX_SHEET_SIZE)
    try:
        yield file
    finally:
        file.close()


async def delete_file(database: Database, import_id: int, *, before: int | None = None) -> None:
    """Delete piece by piece; `before`: only pieces with lower numbers."""
    mine = select(ImportPiece.number).where(ImportPiece.import_id == import_id)
    if before is not None:
        mine = mine.where(ImportPiece.number < before)
    first = mine.order_by(ImportPiece.number).limit(1).scalar_subquery()
    gone = delete(ImportPiece).where(ImportPiece.import_id == import_id, ImportPiece.number == first)
    while True:
        ensure_time_budget(PIECE_SECONDS)
        async with database.write() as db:
            deleted = await execute_dml(db, gone)
        if not deleted:
            return


async def _pieces(database: Database, import_id: int, first: int) -> AsyncIterator[bytes]:
    number = first
    while True:
        ensure_time_budget(PIECE_SECONDS)
        async with database.read() as db:
            wanted = select(ImportPiece.data).where(ImportPiece.import_id == import_id, ImportPiece.number == number)
            piece: bytes | None = await db.scalar(wanted)
        if piece is None:
            break
        yield piece
        number += 1
    if number == first:
        raise NotFound("The file is no longer here.")
