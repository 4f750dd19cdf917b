"""What the notices look like over HTTP."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Actor(BaseModel):
    id: int
    name: str


class NoticeView(BaseModel):
    """`id` rises by one a person and notice. `deal_id` is absent where the deal is not available to its reader any more."""

    id: int
    kind: Literal["deal.shared", "deal.role_changed", "deal.transferred"]
    text: str
    deal_id: int | None
    actor: Actor | None
    at: datetime
    read: bool


class NoticeList(BaseModel):
    notices: list[NoticeView]
    unread: int
    next_cursor: int | None


class ReadUpTo(BaseModel):
    """Everything up to this id has been read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    up_to: Annotated[int, Field(ge=0, lt=2**31)]


class NoticeQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    unread: bool = False
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[int, Field(ge=1, lt=2**31)] | None = None
