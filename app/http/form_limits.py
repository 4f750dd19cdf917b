"""Forms of very many fields: a page of ours has dozens, and each costs time to take apart."""

import asyncio
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from quart.formparser import FormDataParser
from quart.wrappers.request import Body
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

# As many as the library allows for multipart forms by itself.
MAX_FIELDS = 1000
MAX_ESCAPES_ON_THE_LOOP = 10_000

_Parsed = tuple[MultiDict[Any, Any], MultiDict[Any, Any]]


async def _parse_urlencoded(
    parser: FormDataParser, body: Body, mimetype: str, content_length: int | None, options: dict[str, str]
) -> _Parsed:
    data: bytes = await body
    if data.count(b"&") >= MAX_FIELDS:
        raise RequestEntityTooLarge
    # 120 000 signs of per cent, each of which may begin a character, take 60 ms.
    parse = partial(parse_qsl, data.decode(), keep_blank_values=True)
    fields = await asyncio.to_thread(parse) if data.count(b"%") > MAX_ESCAPES_ON_THE_LOOP else parse()
    return MultiDict(fields), MultiDict()


class BoundedFormParser(FormDataParser):
    """Refuses with 413 what has more than `MAX_FIELDS` fields, before they are taken apart."""

    parse_functions = FormDataParser.parse_functions | dict.fromkeys(
        ("application/x-www-form-urlencoded", "application/x-url-encoded"), _parse_urlencoded
    )
