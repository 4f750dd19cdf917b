"""Bodies and answers about the current deal; the OpenAPI document is made from these."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from app.access.permissions import Role
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
