"""Makes a workbook of a table outside of this process, so that others' requests keep their turns."""

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast
from weakref import WeakKeyDictionary

import structlog

import app
from app.errors import Unavailable
from app.exports.table import Table, plain

log = structlog.get_logger()

MOST_AT_ONCE = 2
PATIENCE_SECONDS = 300
_ROOT = str(Path(app.__file__).parents[1])
_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def make_workbook(table: Table) -> BinaryIO:
    """A nameless file, which the caller closes. Raises `Unavailable`."""
    file = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  # closed by the caller
    try:
        async with _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MOST_AT_ONCE)):
            await _write(table, file)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


async def _write(table: Table, file: BinaryIO) -> None:
    environment = {"PYTHONPATH": _ROOT, "PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.exports.workbook", str(file.fileno()),
        stdin=pipe, stdout=asyncio.subprocess.DEVNULL, stderr=pipe, pass_fds=(file.fileno(),), env=environment, cwd="/",
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reading = asyncio.create_task(process.stderr.read())
            # What it says of its death is in `said`.
            with suppress(BrokenPipeError, ConnectionResetError):
                await _send(table, process.stdin)
            said = await reading
            await process.wait()
    except TimeoutError:
        raise Unavailable("The workbook was not finished in time. Filter the list, or take the CSV file.") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        log.error("A workbook could not be written.", exit_status=process.returncode, reason=said.decode(errors="replace")[-2000:])
        raise Unavailable("The workbook could not be written. Take the CSV file; the reason is in the log.")


async def _send(table: Table, stdin: asyncio.StreamWriter) -> None:
    stdin.write(_line({"name": table.name, "columns": table.columns}))
    async for batch in table.rows:
        stdin.write(b"".join(_line([plain(value) for value in row]) for row in batch))
        await stdin.drain()
    stdin.close()


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
