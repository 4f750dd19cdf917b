"""Makes a workbook of a table outside of this process, so that others' requests keep their turns."""

import asyncio
import json
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import structlog

from app.core.errors import Unavailable
from app.core.subprocesses import run_module
from app.exports.table import Table, plain

log = structlog.get_logger()


async def make_workbook(table: Table) -> BinaryIO:
    """A nameless file, which the caller closes. Raises `Unavailable`."""
    file = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  # closed by the caller
    try:
        await _write(table, file)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


async def _write(table: Table, file: BinaryIO) -> None:
    async def send(stdin: asyncio.StreamWriter) -> None:
        stdin.write(_line({"name": table.name, "columns": table.columns}))
        async for batch in table.rows:
            stdin.write(b"".join(_line([plain(value) for value in row]) for row in batch))
            await stdin.drain()
        stdin.close()

    try:
        ended = await run_module("app.exports.workbook", passed=file, source=send)
    except TimeoutError:
        raise Unavailable("The workbook was not finished in time. Filter the list, or take the CSV file.") from None
    if ended.exit_status != 0:
        log.error("A workbook could not be written.", exit_status=ended.exit_status, reason=ended.reason)
        raise Unavailable("The workbook could not be written. Take the CSV file; the reason is in the log.")


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
