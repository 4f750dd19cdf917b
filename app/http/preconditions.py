"""From which version a change may be made: what a body and If-Match say together."""

import re

from quart import request

from app.core.errors import BadRequest

# Proxies that compress weaken an ETag, and so do we (compression.py). Ours names a version, whatever its bytes, so both are one.
_TAG = re.compile(r'(?:W/)?"(\d{1,18})"', re.ASCII)


def expected_versions(stated: int | None) -> set[int] | None:
    """The versions a change may be made from; None where neither the body nor If-Match says. Raises `BadRequest`."""
    expected = None if stated is None else {stated}
    header = ",".join(request.headers.getlist("If-Match")).strip() or "*"
    if header != "*":
        matched = parse_if_match(header)
        expected = matched if expected is None else expected & matched
    return expected


def parse_if_match(header: str) -> set[int]:
    """`"3"`, `W/"3"`, or a list of them. Raises `BadRequest`."""
    tags = [_TAG.fullmatch(part.strip()) for part in header.split(",") if part.strip()]
    versions = {int(tag[1]) for tag in tags if tag}
    if not versions or not all(tags):
        raise BadRequest('If-Match takes the ETag of what is changed, like "7", several of them like "7", "8", or *.', code="invalid")
    return versions
