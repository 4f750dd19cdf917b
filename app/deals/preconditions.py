"""From which version a change may be made: what a body and If-Match say together."""

import re

from quart import request

from app.errors import BadRequest


def expected_versions(stated: int | None) -> set[int] | None:
    """The versions a change may be made from; None where neither the body nor If-Match says. Raises `BadRequest`."""
    expected = None if stated is None else {stated}
    header = request.headers.get("If-Match", "*").strip()
    if header != "*":
        if not re.fullmatch(r'"\d{1,18}"(\s*,\s*"\d{1,18}")*', header, re.ASCII):
            raise BadRequest('If-Match takes the ETag of what is changed, like "7".', code="invalid")
        matched = {int(version) for version in re.findall(r"\d+", header)}
        expected = matched if expected is None else expected & matched
    return expected
