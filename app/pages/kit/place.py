"""Pages as they were left: where its address does not say more, a list is shown with the filters, the sort and the search it was left
with. js/place.js says where a person is, and brings the row they were at back into sight."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel
from quart import g, request

from app.core.errors import BadRequest
from app.current_deal.places import Remembered
from app.current_deal.visits import QUERY
from app.http.query import parse_query

# In an address: the whole list, however it was left.
ALL = "all"
# What a person calls the parameters that can lose their meaning.
_NAMES = {"owner": "person", "import": "import", "import_id": "import", "q": "search"}

Query = TypeVar("Query", bound=BaseModel)
Found = TypeVar("Found")


class Asked:
    """What a list is asked for: by its address, or else as it was left (`left`). Set up once the request's place is known."""

    def __init__(self, page: str) -> None:
        place: Remembered | None = g.get("place")
        says_more = bool(request.args.keys() & {ALL, *QUERY[page]})
        self.left = None if says_more or request.method not in ("GET", "HEAD") else place
        self.args: dict[str, str] = request.args.to_dict() | (self.left.query if self.left else {})
        # What was left out, because it means nothing any more.
        self.missing: list[str] = []
        g.asked = self

    def parse(self, model: type[Query]) -> Query:
        """Raises `BadRequest` for an address; what was left is taken as far as it goes."""
        try:
            return parse_query(model, self.args)
        except BadRequest as error:
            if self.left is None:
                raise
            self._leave_out({each["field"] for each in error.extra["errors"]})
            return parse_query(model, self.args)

    def without(self, query: Query, name: str) -> Query:
        """`query` without a filter whose value is gone."""
        self._leave_out({name})
        return type(query).model_validate({key: value for key, value in self.args.items() if value})

    async def find(self, query: Query, look: Callable[[Query], Awaitable[Found]]) -> tuple[Query, Found]:
        """What `look` finds; from the first page where the one that was left cannot be found again."""
        try:
            return query, await look(query)
        except BadRequest:
            if self.left is None or "cursor" not in self.args:
                raise
        del self.args["cursor"]
        query = query.model_copy(update={"cursor": None})
        return query, await look(query)

    def _leave_out(self, names: set[str]) -> None:
        # A position is one in the list as it was asked for.
        for name in names | {"cursor"}:
            if self.args.pop(name, "") and name in names:
                self.missing.append(_NAMES.get(name, name))


def query_left(page: str, model: type[Query]) -> Query | None:
    """What the list of the deal's `page` was left with, for what was opened from it; None where that is not known, or means nothing."""
    place: Remembered | None = g.get("place")
    if place is None or place.page != page or place.listing is None:
        return None
    try:
        return parse_query(model, {name: value for name, value in place.query.items() if name != "cursor"})
    except BadRequest:
        return None


def place_values() -> dict[str, Any]:
    """For shell.html: the page whose place is kept, and what js/place.js is to come back to on it."""
    page, place = g.get("place_page"), g.get("place")
    if not page or request.method not in ("GET", "HEAD"):
        return {}
    asked: Asked | None = g.get("asked") or (None if QUERY[page] or _below() != [page] else Asked(page))
    left: dict[str, Any] = {}
    if asked and asked.left:
        query = urlencode({name: asked.args[name] for name in QUERY[page] if asked.args.get(name)})
        left = {"query": query, "anchor": (asked.left.listing or {}).get("anchor")}
    if place and place.focus and _is_here(place):
        left["focus"] = place.focus
    return {"place_page": page, "place_left": left, "left_out": asked.missing if asked else []}


def _is_here(place: Remembered) -> bool:
    """This very page is the one that was left: its list, or what was open on it."""
    return _below() == [place.path] if place.page not in ("deals", "board") else True


def _below() -> list[str]:
    """The address below that of a deal, if it is below one."""
    return request.path.split("/", 3)[3:]
