"""Bodies and answers about the current deal; the OpenAPI document is made from these."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from app.access.permissions import Role
from app.current_deal.visits import FORMS, PAGES, QUERY, WITH_ITEMS
from app.http.ids import MAX_ID
from app.http.schemas import Answer, Body


class DealCard(Answer):
    """The deal as a session remembers it. `access_until` is unix milliseconds, null for no end."""

    id: int
    name: str
    role: Role
    access_until: int | None


class Selected(Answer):
    deal: DealCard
    selected_at: datetime


class Notice(Answer):
    model_config = ConfigDict(extra="allow")

    code: str


class CurrentDeal(Answer):
    deal: DealCard | None
    source: Literal["selected", "restored", "only_deal", "none"]
    notice: Notice | None


class Dismissal(Body):
    """`code` of the notice that was read; without it, whichever there is."""

    code: str | None = None


MAX_PLACE_BYTES = 4096
MAX_NEXT_ROWS = 5
_DAY_MS = 24 * 3600 * 1000
_Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
_Offset = Annotated[int, Field(strict=True, ge=0, le=MAX_ID)]


class Anchor(Body):
    """The first row in sight, by the id of what it shows: `out` is the share of it that is scrolled out of sight. `next` are the
    rows after it, to come back to where it is no more."""

    row: _Id
    next: Annotated[list[_Id], Field(max_length=MAX_NEXT_ROWS)] = []
    out: Annotated[float, Field(strict=True, ge=0, le=1)] = 0


class Listing(Body):
    """A page's list: `query` is its address' parameters, of which those are kept that the page knows."""

    query: dict[str, Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]] = {}
    anchor: Anchor | None = None


class Focus(Body):
    """The field that has the cursor, and what is selected in it."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][\w-]{0,39}$")]
    start: _Offset | None = None
    end: _Offset | None = None


def _as_seen_on(page: str) -> JsonDict:
    said: JsonDict = {
        "page": {"const": page},
        "deal_id": {"type": "integer" if page in PAGES else "null"},
        "form": {"enum": ["", *FORMS.get(page, ())]},
        "item_id": {} if page in WITH_ITEMS else {"type": "null"},
    }
    return {"properties": said, "required": ["page", "deal_id"] if page in PAGES else ["page"]}


class Seen(Body):
    """Where a person is: `page` of a deal, or `deals` or `board` without one. `listing` where the page is its list; otherwise what was
    said of the list stays. `item_id`: the finding, checklist item or person that is open. `ago_ms`: how long ago this was seen."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_as_seen_on(page) for page in QUERY]})

    page: Literal["overview", "findings", "checklist", "team", "activity", "deals", "board"]
    deal_id: _Id | None = None
    listing: Listing | None = None
    item_id: _Id | None = None
    form: Literal["", "new", "edit", "order"] = ""
    focus: Focus | None = None
    ago_ms: Annotated[int, Field(strict=True, ge=0, le=_DAY_MS)] = 0

    @model_validator(mode="after")
    def _goes_together(self) -> "Seen":
        if (self.page in PAGES) != (self.deal_id is not None):
            raise ValueError("give deal_id with the page of a deal, and only with it")
        if self.form and self.form not in FORMS.get(self.page, ()):
            raise ValueError("form: this page has no such form")
        if self.item_id is not None and self.page not in WITH_ITEMS:
            raise ValueError("item_id: nothing can be open on this page")
        return self
