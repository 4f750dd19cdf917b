"""Bodies and answers of the administration API."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.auth.routes import Device
from app.deals.fields import Email, Words
from app.http.openapi import one_of
from app.http.query import Cursor

Role = Literal["admin", "member"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PeopleQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Words = ""
    cursor: Cursor | None = None


class PersonQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    cursor: Cursor | None = None


class NewInvitation(_Body):
    email: Annotated[Email, Field(json_schema_extra={"format": "email"})]
    role: Role = "member"


class PersonChanges(_Body):
    """One of the two at a time: each ends the person's logins."""

    model_config = ConfigDict(json_schema_extra=one_of("role", "disabled"))

    role: Role | None = None
    disabled: bool | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "PersonChanges":
        if (self.role is None) == (self.disabled is None):
            raise ValueError("give either role or disabled")
        return self


class RestoreChoice(_Body):
    enabled: bool


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class PersonInList(_Answer):
    id: int
    name: str
    email: str
    role: Role
    is_operator: bool
    disabled_at: datetime | None
    created_at: datetime
    seen_at: datetime | None
    grants: int
    owned: int


class People(BaseModel):
    """`total` counts all matches; `next_cursor` is null on the last page."""

    people: list[PersonInList]
    next_cursor: str | None
    total: int


class GrantInList(_Answer):
    deal_id: int
    name: str
    role: Literal["editor", "viewer"]
    granted_at: datetime
    expires_at: datetime | None


class OnePerson(BaseModel):
    person: PersonInList
    logins: list[Device]
    grants: list[GrantInList]
    next_cursor: str | None


class InvitationInList(_Answer):
    id: int
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime
    by: str | None


class Invitations(BaseModel):
    invitations: list[InvitationInList]


class Link(BaseModel):
    """`url` is told this once; only its hash is kept."""

    id: int
    kind: Literal["invitation", "reset"]
    email: str
    url: str
    expires_at: datetime


class OneLink(BaseModel):
    link: Link


class Figures(_Answer):
    """`percent` is what was restored of what was tried, null where nobody came back; `nothing` counts sign-ins with nothing to restore."""

    days: int
    restored: int
    only_deal: int
    refused: int
    refused_deleted: int
    refused_revoked: int
    sign_ins: int
    nothing: int
    percent: float | None


class RestoreSwitch(_Answer):
    enabled: bool
    decided_by: Literal["environment", "operator", "organisation"]
    choice: bool


class Restore(BaseModel):
    switch: RestoreSwitch
    figures: Figures
    targets: Annotated[dict[str, float], Field(description="of_all counts refusals as failures; of_possible leaves them out")]


def dump(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")
