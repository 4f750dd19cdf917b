"""The answer that downloads a table."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import BinaryIO, Literal
from urllib.parse import quote

from quart import Response

from app.exports.table import Table
from app.exports.text_file import write_csv
from app.exports.workbook_process import make_workbook

Format = Literal["csv", "xlsx"]
FORMATS: tuple[Format, ...] = ("csv", "xlsx")
_TYPES = {"csv": "text/csv; charset=utf-8", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
_CHUNK = 256 * 1024
_MAX_NAME = 120
_NOT_IN_NAMES = frozenset('/\\:*?"<>|')


async def download(table: Table, format_: Format, *, plain_name: str, name: str) -> Response:
    """`plain_name` in ASCII is for old browsers, `name` for everybody else's folder. Raises `Unavailable`."""
    if format_ == "csv":
        response = Response(write_csv(table), content_type=_TYPES[format_])
    else:
        file = await make_workbook(table)
        response = Response(_read(file), content_type=_TYPES[format_])
        response.content_length = os.fstat(file.fileno()).st_size
    shown = "".join(" " if letter in _NOT_IN_NAMES or not letter.isprintable() else letter for letter in name)
    shown = " ".join(shown.split()).strip(". ")[:_MAX_NAME] or plain_name
    names = f"filename=\"{plain_name}.{format_}\"; filename*=UTF-8''{quote(f'{shown}.{format_}', safe='')}"
    response.headers["Content-Disposition"] = f"attachment; {names}"
    return response


async def _read(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
