"""What the console shows and `/api/ops/…` answers."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel


class ExplainedPerson(BaseModel):
    id: int
    email: str
    name: str
    organisation: str
    role: str
    disabled_at: datetime | None


class DealState(BaseModel):
    """How one person stands to one deal. No name, no contents: operators see operations."""

    id: int
    state: Literal["visible", "deleted", "grant_ended", "no_access"]
    role: str | None
    access_until: datetime | None
    deleted_at: datetime | None
    archived: bool


class Happening(BaseModel):
    """One event of the audit trail, with who did it."""

    event_id: int
    at: datetime
    kind: str
    deal_id: int | None
    user_id: int | None
    by: str
    reason: str | None


class Outlook(BaseModel):
    """What the next request would do, why, and what to do about it. `outcome` is that of `restore.decide`, or `keeps`."""

    outcome: Literal["keeps", "restored", "only_deal", "refused_deleted", "refused_revoked", "none", "cannot_sign_in"]
    reason: str
    deal_id: int | None
    words: str
    fix: str


class Browser(BaseModel):
    """One live login with its session."""

    login_id: int
    device: str
    signed_in_at: datetime
    last_active: datetime
    session: Literal["live", "none"]
    version: int | None
    deal: DealState | None
    source: str | None
    selected_at: datetime | None
    notice: str | None
    only_deal_off: bool
    looks_again_at: datetime | None
    next: Outlook


class Step(BaseModel):
    """One step of the precedence rule."""

    step: Literal["url", "session", "last_deal", "only_deal", "list"]
    state: Literal["decides", "passes", "not_reached"]
    found: str
    values: dict[str, Any]
    last_change: Happening | None


class Explanation(BaseModel):
    user: ExplainedPerson
    at: datetime
    answer: str
    fix: str
    outcome: str
    reason: str
    steps: list[Step]
    browsers: list[Browser]
    next_sign_in: Outlook
    history: list[Happening]
