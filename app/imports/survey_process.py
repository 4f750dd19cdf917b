"""Surveys a file in a process of its own (`subprocesses.py`), with limits on memory and time: `python -m app.imports.survey_process`."""

import asyncio
import io
import json
import os
import sys
from contextlib import suppress
from dataclasses import fields
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import structlog

from app.core.errors import AppError, PayloadTooLarge
from app.core.subprocesses import be_nice, run_module
from app.imports.foreign import is_zip
from app.imports.survey import Survey, survey_file
from app.imports.unreadable import UnreadableFile

log = structlog.get_logger()

# Smaller text files are surveyed in a thread, in less time than a process takes to start.
SMALL_TEXT = 1 << 20
MEMORY_BYTES, CPU_SECONDS = 1 << 30, 240
_TOO_MUCH = "This file takes too much memory or time to read. Save the sheet with the deals as CSV and upload that."


async def survey(file: BinaryIO, *, sheet: str | None = None) -> tuple[Survey, BinaryIO | None]:
    """The survey, and for a workbook its sheet as an anonymous file, which the caller closes.

    Raises `UnreadableFile`, `PayloadTooLarge`.
    """
    is_workbook = await asyncio.to_thread(is_zip, file)
    size = await asyncio.to_thread(file.seek, 0, os.SEEK_END)
    if not is_workbook and size <= SMALL_TEXT:
        return await asyncio.to_thread(survey_file, file, io.BytesIO()), None
    written = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  # closed by the caller
    try:
        found = await _run(file, written, sheet)
        written.seek(0)
    except BaseException:
        written.close()
        raise
    if is_workbook:
        return found, written
    written.close()
    return found, None


async def _run(file: BinaryIO, written: BinaryIO, sheet: str | None) -> Survey:
    file.flush()
    try:
        ended = await run_module(__name__, json.dumps(sheet), passed=written, source=file)
    except TimeoutError:
        raise UnreadableFile(_TOO_MUCH) from None
    if ended.exit_status != 0:
        log.warning("A file to import could not be surveyed: its process died.", exit_status=ended.exit_status, reason=ended.reason)
        raise UnreadableFile(_TOO_MUCH)
    return _understand(json.loads(ended.answer))


def _understand(answer: dict[str, Any]) -> Survey:
    if "unreadable" in answer:
        raise UnreadableFile(answer["unreadable"])
    if "too_large" in answer:
        raise PayloadTooLarge(answer["too_large"])
    known = {each.name for each in fields(Survey)}
    return Survey(**{name: value for name, value in answer.items() if name in known})


def main(descriptor: str, sheet: str) -> None:
    _limit()
    with open(0, "rb", closefd=False) as file, os.fdopen(int(descriptor), "wb", closefd=False) as written:
        try:
            answer = survey_file(file, written, sheet=json.loads(sheet)).as_dict()
        except PayloadTooLarge as error:
            answer = {"too_large": error.detail}
        except AppError as error:
            answer = {"unreadable": error.detail}
        except MemoryError:
            answer = {"unreadable": _TOO_MUCH}
    sys.stdout.write(json.dumps(answer))


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource  # there is none on Windows

    be_nice()
    for which, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_SECONDS)):
        # Where the system knows no such limit, the others and the timeout of the parent hold.
        with suppress(OSError, ValueError):
            resource.setrlimit(which, (most, most))


if __name__ == "__main__":
    main(*sys.argv[1:])
