"""Ids in addresses and forms: ASCII digits, 1 to 2^63 - 1. Anything else is as absent as an id that does not exist."""

from quart import Quart, Request
from werkzeug.routing import BaseConverter

from app.core.errors import NotFound

MAX_ID = 2**63 - 1
# No row has it.
NO_ID = 0


class IdConverter(BaseConverter):
    """`<id:deal_id>` in a rule: the view gets a number. Anything else is `NO_ID`, so that who may ask is decided first."""

    def to_python(self, value: str) -> int:
        return int(value) if _is_id(value) else NO_ID


def init_ids(app: Quart) -> None:
    """Before any rule is added."""
    app.url_map.converters["id"] = IdConverter


def refuse_wrong_ids(request: Request) -> None:
    """Last of all, once it is known who asks. Raises `NotFound`."""
    if request.view_args and NO_ID in request.view_args.values():
        raise NotFound


def parse_id(text: str) -> int:
    """An id that a form names. Raises `NotFound`."""
    if not _is_id(text):
        raise NotFound
    return int(text)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and not text.startswith("0") and len(text) <= 19 and int(text) <= MAX_ID
