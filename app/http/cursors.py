"""Cursors of keyset pages: opaque, signed, and good only for the question they were given out for."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import QueryableAttribute

from app.core.config import Settings
from app.core.errors import BadRequest

Column = ColumnElement[Any] | QueryableAttribute[Any]


Row = TypeVar("Row")
# Where a page begins: with the first row, or it lies behind a row or before one, that has a sort key or none.
Side = Literal["first", "behind", "before"]


class Position(NamedTuple):
    """Of a page: the row it lies beside, and how many rows come before the page, as far as that is known."""

    side: Side = "first"
    key: Any = None
    id: int = 0
    start: int | None = 0


class Paging(NamedTuple):
    """What a list says of one of its pages: cursors of those around it, and the number of its first row in the whole list."""

    next_cursor: str | None
    previous_cursor: str | None
    first: int | None


class Cursors:
    """Seals the position of the last row of a page. `question` is everything but the position."""

    def __init__(self, settings: Settings, *question: object) -> None:
        keys = [*settings.secret_key_fallbacks, settings.secret_key]
        self._serializer = URLSafeSerializer(keys, salt=f"holdfast cursor {question!r}")

    def seal(self, *position: Any) -> str:
        return str(self._serializer.dumps(position))

    def open(self, cursor: str, parts: int, *, most: int | None = None) -> Sequence[Any]:
        """The position, in so many parts, or up to `most`. Raises `BadRequest` for a cursor that was not given out for this question."""
        try:
            position = tuple(self._serializer.loads(cursor))[: most or parts]  # another version's may have more
        except (BadData, ValueError, TypeError) as error:
            raise BadRequest("This cursor belongs to another list, or to none.", code="invalid_cursor") from error
        if len(position) < parts:
            raise BadRequest("This cursor belongs to another list, or to none.", code="invalid_cursor")
        return position

    def position(self, cursor: str | None) -> Position:
        """Raises `BadRequest` like `open`."""
        if not cursor:
            return Position()
        key, id_, *more = self.open(cursor, 2, most=4)
        start = more[0] if more else None
        return Position("before" if more[1:] == ["before"] else "behind", key, id_, start)

    def page(self, rows: Sequence[Row], limit: int, at: Position, key: Callable[[Row], tuple[Any, int]]) -> tuple[Sequence[Row], Paging]:
        """Of up to `limit` + 1 rows, as the statement has them: those of the page in the order of the list, and what it says of itself."""
        more, shown = len(rows) > limit, rows[:limit]
        start = at.start
        if at.side == "before":
            shown = shown[::-1]
            start = 0 if not more else None if start is None else max(start - len(shown), 0)
        has_next, has_previous = more or at.side == "before", more if at.side == "before" else at.side == "behind"
        if not shown:
            return shown, Paging(None, None, None)
        after = None if start is None else start + len(shown)
        return shown, Paging(
            self.seal(*key(shown[-1]), after) if has_next else None,
            self.seal(*key(shown[0]), start, "before") if has_previous else None,
            None if start is None else start + 1,
        )


def beyond(key: Column, id_: Column, position: tuple[Any, Any], *, descending: bool) -> ColumnElement[bool]:
    """The rows after `position` (key, id) in the order of `in_order`."""
    value, last_id = position
    next_id = id_ < last_id if descending else id_ > last_id
    if value is None:
        return and_(key.is_(None), next_id)
    return or_(key < value if descending else key > value, and_(key == value, next_id), key.is_(None))


def ahead(key: Column, id_: Column, position: tuple[Any, Any], *, descending: bool) -> ColumnElement[bool]:
    """The rows before `position` (key, id) in the order of `in_order`."""
    value, first_id = position
    previous_id = id_ > first_id if descending else id_ < first_id
    if value is None:
        return or_(key.is_not(None), previous_id)
    return or_(key > value if descending else key < value, and_(key == value, previous_id))


def in_order(key: Column, id_: Column, *, descending: bool) -> tuple[ColumnElement[Any], ...]:
    """Rows without a key come last in either direction; ids settle what is equal."""
    if descending:
        return key.desc().nulls_last(), id_.desc()
    return key.asc().nulls_last(), id_.asc()


def in_reverse_order(key: Column, id_: Column, *, descending: bool) -> tuple[ColumnElement[Any], ...]:
    """`in_order` from its end."""
    if descending:
        return key.asc().nulls_first(), id_.asc()
    return key.desc().nulls_first(), id_.desc()
