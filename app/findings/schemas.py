"""Bodies and answers of the findings API."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from app.deals.fields import Identifier, Name, Prose, Whose, Words
from app.deals.schemas import PersonName
from app.http.query import Cursor, Limit
from app.http.schemas import Answer, Body

Severity = Literal["critical", "high", "medium", "low", "info"]
FindingStatus = Literal["open", "in_review", "accepted", "resolved"]
Sort = Literal["severity", "-severity", "status", "-status", "updated", "-updated", "number", "-number", "title", "-title"]


class FindingFacts(Body):
    """`text` is Markdown. `owner_id` is somebody who sees the deal."""

    text: Prose = ""
    severity: Severity = "medium"
    status: FindingStatus = "open"
    owner_id: Identifier | None = None


class NewFinding(FindingFacts):
    title: Name


class FindingChanges(FindingFacts):
    """What is left out stays as it is. With `version` (or If-Match) the change is refused when the finding has moved on."""

    title: Name = ""
    version: Identifier | None = None


class FindingView(Answer):
    id: int
    deal_id: int
    number: int
    title: str
    text: str
    severity: Severity
    status: FindingStatus
    owner: PersonName | None
    version: int
    created_at: datetime
    created_by: PersonName | None
    updated_at: datetime
    updated_by: PersonName | None


class OneFinding(Answer):
    finding: FindingView


class FindingList(Answer):
    """One page. `total` counts all matches; `next_cursor` is null on the last page, `previous_cursor` on the first. `first` is the number
    of the first one in the whole list, null where that is not known."""

    findings: list[FindingView]
    next_cursor: str | None
    previous_cursor: str | None
    first: int | None
    total: int


class FindingQuery(BaseModel):
    """`sort` goes gravest, least settled, latest first and A to Z; a minus turns it round."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Words = ""
    severity: Severity | None = None
    status: FindingStatus | Literal["unsettled"] | None = None
    owner: Whose | None = None
    sort: Sort = "severity"
    limit: Limit = 50
    cursor: Cursor | None = None
