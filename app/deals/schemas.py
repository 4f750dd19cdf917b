"""Bodies and answers of the deals API; the OpenAPI document is made from these."""

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from app.access.permissions import Role
from app.deals.fields import (
    Address,
    AskedId,
    Day,
    Dollars,
    Email,
    GrantRole,
    Identifier,
    Line,
    LongLine,
    Moment,
    Name,
    Party,
    Reference,
    Stage,
    Status,
    Terms,
    Year,
)
from app.http.openapi import one_of
from app.http.query import Limit
from app.http.schemas import Answer, Body


class DealFacts(Body):
    acquirer: Party = ""
    stage: Stage = "diligence"
    status: Status = ""
    terms: Terms = ""
    price_usd: Dollars | None = None
    announced_on: Day | None = None
    tagline: LongLine = ""
    categories: LongLine = ""
    founded_year: Year | None = None
    city: Line = ""
    region: Line = ""
    country: Line = ""
    homepage: Address = ""
    profile_url: Address = ""
    news_title: LongLine = ""
    news_url: Address = ""
    external_ref: Reference | None = None


class NewDeal(DealFacts):
    name: Name


class DealChanges(DealFacts):
    """What is left out stays as it is. With `version` (or If-Match) the change is refused when the deal has moved on."""

    name: Name = ""
    version: Identifier | None = None


class PersonRef(Body):
    """A colleague, by id or by address; exactly one of the two."""

    model_config = ConfigDict(json_schema_extra=one_of("user_id", "email"))

    user_id: Identifier | None = None
    email: Email | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "PersonRef":
        if (self.user_id is None) == (self.email is None):
            raise ValueError("give either user_id or email")
        return self


class NewMember(PersonRef):
    role: GrantRole
    expires_at: Moment | None = None


class MemberChanges(Body):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    role: GrantRole = "viewer"
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _some_change(self) -> "MemberChanges":
        if not self.model_fields_set:
            raise ValueError("give role, expires_at or both")
        return self


class DealSummary(Answer):
    id: int
    name: str
    role: Role
    access_until: datetime | None
    is_current: bool
    is_pinned: bool
    is_archived: bool
    acquirer: str
    stage: str
    status: str
    price_usd: int | None
    announced_on: date | None
    announced_year: int | None
    tagline: str
    categories: str
    country: str
    version: int
    updated_at: datetime
    visited_at: datetime | None


class PersonName(Answer):
    id: int
    name: str


def person_name(person_id: int | None, name: str | None) -> PersonName | None:
    """None for nobody, and for somebody who is gone."""
    return None if person_id is None else PersonName(id=person_id, name=name or "")


class DealDetail(DealSummary):
    terms: str
    founded_year: int | None
    city: str
    region: str
    homepage: str
    profile_url: str
    news_title: str
    news_url: str
    external_ref: str | None
    owner: PersonName | None
    can_edit: bool
    can_manage: bool
    created_at: datetime


class OneDeal(Answer):
    deal: DealDetail


class DealList(Answer):
    """One page. `total` counts all matches; `next_cursor` is null on the last page, `previous_cursor` on the first. `first` is the number
    of the first one in the whole list, null where that is not known."""

    deals: list[DealSummary]
    current_deal_id: int | None
    next_cursor: str | None
    previous_cursor: str | None
    first: int | None
    total: int


class Recents(Answer):
    deals: list[DealSummary]


class DeletedDeal(Answer):
    id: int
    name: str
    acquirer: str
    deleted_at: datetime
    gone_at: datetime


class Bin(Answer):
    deals: list[DeletedDeal]


class NewOwner(Answer):
    owner: PersonName


class MemberView(Answer):
    """Somebody who sees the deal: as owner, as administrator of the organisation, or by a grant."""

    user_id: int
    name: str
    email: str
    role: Role
    expires_at: datetime | None
    granted_at: datetime | None
    granted_by: PersonName | None = None


class OneMember(Answer):
    member: MemberView


class Members(Answer):
    members: list[MemberView]
    can_manage: bool


class ActivityEvent(Answer):
    id: int
    kind: str
    at: datetime
    actor: PersonName | None
    user: PersonName | None
    payload: dict[str, Any]


class Activity(Answer):
    events: list[ActivityEvent]
    next_cursor: str | None


class FactChange(Answer):
    """A fact as it was before a change and after it; null for none."""

    field: str
    before: str | int | bool | None
    after: str | int | bool | None


class HistoryStep(Answer):
    """One change. `by` is null for somebody who is gone, and for what nobody in particular did."""

    version: int
    verb: str
    at: datetime
    by: PersonName | None
    changes: list[FactChange]


class History(Answer):
    """The changes that are kept, the latest first. `older` is the version to ask for the next ones with, null on the last page."""

    steps: list[HistoryStep]
    older: int | None


class HistoryQuery(BaseModel):
    """`older`: only changes before the one that made this version."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    limit: Limit = 20
    older: AskedId | None = None
