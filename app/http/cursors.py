"""Cursors of keyset pages: opaque, signed, and good only for the person and the question they were given out for."""

from collections.abc import Sequence
from typing import Any

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import QueryableAttribute

from app.core.config import Settings
from app.core.errors import BadRequest

Column = ColumnElement[Any] | QueryableAttribute[Any]


class Cursors:
    """Seals the position of the last row of a page. `question` is everything but the position."""

    def __init__(self, settings: Settings, *question: object) -> None:
        keys = [*settings.secret_key_fallbacks, settings.secret_key]
        self._serializer = URLSafeSerializer(keys, salt=f"holdfast cursor {question!r}")

    def seal(self, *position: Any) -> str:
        return str(self._serializer.dumps(position))

    def open(self, cursor: str, parts: int) -> Sequence[Any]:
        """The position, in so many parts. Raises `BadRequest` for a cursor that was not given out for this question."""
        try:
            position = tuple(self._serializer.loads(cursor))[:parts]  # another version's may have more
        except (BadData, ValueError, TypeError) as error:
            raise BadRequest("This cursor belongs to another list, or to none.", code="invalid_cursor") from error
        if len(position) < parts:
            raise BadRequest("This cursor belongs to another list, or to none.", code="invalid_cursor")
        return position


def beyond(key: Column, id_: Column, position: tuple[Any, Any], *, descending: bool) -> ColumnElement[bool]:
    """The rows after `position` (key, id) in the order of `in_order`."""
    value, last_id = position
    next_id = id_ < last_id if descending else id_ > last_id
    if value is None:
        return and_(key.is_(None), next_id)
    return or_(key < value if descending else key > value, and_(key == value, next_id), key.is_(None))


def in_order(key: Column, id_: Column, *, descending: bool) -> tuple[ColumnElement[Any], ...]:
    """Rows without a key come last in either direction; ids settle what is equal."""
    if descending:
        return key.desc().nulls_last(), id_.desc()
    return key.asc().nulls_last(), id_.asc()
