"""Ids in addresses and forms: ASCII digits, 1 to 2^63 - 1. Anything else is as absent as an id that does not exist."""

import re

from quart import Quart
from werkzeug.routing import BaseConverter

from app.core.errors import NotFound

MAX_ID = 2**63 - 1


def _numbers_up_to(limit: int) -> str:
    """A pattern. Fewer digits than `limit` has, or as many of which the first that differs is lower."""
    digits = str(limit)
    lower = [
        f"{digits[:place]}[{0 if place else 1}-{int(digit) - 1}][0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if int(digit) > (0 if place else 1)
    ]
    return "|".join([f"[1-9][0-9]{{0,{len(digits) - 2}}}", *lower, digits])


ID = re.compile(_numbers_up_to(MAX_ID))


class IdConverter(BaseConverter):
    """`<id:deal_id>` in a rule: the view gets a number. An address with something else in its place leads nowhere."""

    # The pattern says all: what `to_python` refused would answer 405 where another rule takes other methods.
    regex = ID.pattern

    def to_python(self, value: str) -> int:
        return int(value)


def init_ids(app: Quart) -> None:
    """Before any rule is added."""
    app.url_map.converters["id"] = IdConverter


def parse_id(text: str) -> int:
    """An id that a form names. Raises `NotFound`."""
    if not ID.fullmatch(text):
        raise NotFound
    return int(text)
