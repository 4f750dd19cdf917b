"""Takes a file out of a request, in the order of checks: what it is (415), how large (413), whether it is there (400)."""

from collections.abc import AsyncIterator
from typing import BinaryIO, cast

from quart import request
from werkzeug.exceptions import RequestEntityTooLarge

from app.core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from app.http.uploads import HELD
from app.imports.files import MAX_FILE_TEXT, check_size, spool

FORM = "multipart/form-data"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PLAIN = frozenset({"text/csv", "text/plain", "text/tab-separated-values", "application/csv", "application/octet-stream", XLSX})


async def take_file(*, plain: bool) -> tuple[str, BinaryIO]:
    """The name and a local copy of the uploaded file, which the caller closes. `plain`: the body itself may be the file."""
    if request.mimetype != FORM and not (plain and request.mimetype in PLAIN):
        raise UnsupportedMediaType("Send the file as text/csv or application/octet-stream, or as the field `file` of multipart/form-data.")
    try:
        if request.mimetype == FORM:
            return await _take_field()
        return request.args.get("filename", ""), await spool(request.body)
    except RequestEntityTooLarge as error:
        raise PayloadTooLarge(f"A file to import may have {MAX_FILE_TEXT}.") from error


async def _take_field() -> tuple[str, BinaryIO]:
    field = (await request.files).get("file")
    if field is None or not field.filename:
        raise BadRequest("Choose a file first.", code="no_file")
    file = cast(BinaryIO, field.stream)
    check_size(file.seek(0, 2))
    file.seek(0)
    # Again, now by its lines, which are known only after reading all of it.
    return field.filename, await spool(_chunks(file))


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    while chunk := file.read(HELD):
        yield chunk
