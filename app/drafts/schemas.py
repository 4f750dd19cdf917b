"""Names, bodies and answers of drafts."""

import json
import re
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.http.ids import MAX_ID
from app.http.schemas import Answer, Body

# Of JSON: what is typed, and what it was typed over.
MAX_TEXT_BYTES = 64 * 1024
# What the rest of a body comes to.
ENVELOPE_BYTES = 2 * 1024
MAX_DRAFTS = 200

_NAME = re.compile(r"(deal)|(finding|item|member)-(?:([1-9]\d{0,18})|new\.([a-z0-9]{1,32}))", re.ASCII)
_SAVED = re.compile(r"([a-z0-9.-]{1,60}):(\d{1,9}):([a-z0-9]{1,32})", re.ASCII)


class DraftName(NamedTuple):
    """`deal`, `finding-7`, or `finding-new.<tab>`: something new can be begun in several tabs at once. `item_id` 0 is none."""

    form: str
    item_id: int = 0
    tab: str = ""

    def __str__(self) -> str:
        return f"{self.form}-new.{self.tab}" if self.tab else f"{self.form}-{self.item_id}" if self.item_id else self.form


class SavedDraft(NamedTuple):
    """The draft that a form was saved from: as its tab wrote it, or as it went on from it."""

    name: DraftName
    version: int
    writer: str


def parse_name(text: str) -> DraftName | None:
    match = _NAME.fullmatch(text)
    if match is None or int(match[3] or 0) > MAX_ID:
        return None
    return DraftName(match[1] or match[2], int(match[3] or 0), match[4] or "")


def parse_saved(text: str) -> SavedDraft | None:
    """`name:version:writer`, as js/drafts.js has the form say."""
    match = _SAVED.fullmatch(text)
    name = parse_name(match[1]) if match else None
    return SavedDraft(name, int(match[2]), match[3]) if match and name else None


FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
Texts = Annotated[dict[FieldName, str], Field(max_length=60)]
Tab = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,32}$")]
Counter = Annotated[int, Field(ge=0, lt=2**31)]


class DraftText(Body):
    """`fields` is what the person typed, `drawn` what those fields said before, at `item_version`; together at most 64 KiB.

    `version` numbers the text; it `follows` the one it goes on from, 0 at first. `writer` is the tab that writes.
    """

    fields: Texts
    drawn: Texts = Field(default_factory=dict)
    item_version: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    version: Annotated[int, Field(ge=1, lt=2**31)]
    follows: Counter = 0
    writer: Tab

    @model_validator(mode="after")
    def _counts_up(self) -> "DraftText":
        if self.version <= self.follows:
            raise ValueError("version must be higher than the one it follows")
        return self

    def size(self) -> int:
        return len(json.dumps([self.fields, self.drawn], ensure_ascii=False, separators=(",", ":")).encode())


class DraftSummary(Answer):
    """`deal` and `item_number` are null where the deal is not available to its writer any more."""

    id: int
    deal_id: int
    deal: str | None
    name: str
    form: Literal["finding", "item", "deal", "member"]
    item_id: int | None
    item_number: int | None
    first_words: str
    version: int
    writer: str
    device: str
    can_continue: bool
    updated_at: datetime


class DraftView(DraftSummary):
    """With its text; of a deal that is not available any more, what was typed alone."""

    fields: dict[str, str]
    drawn: dict[str, str]
    item_version: int | None


class OneDraft(Answer):
    draft: DraftView


class KeptDraft(Answer):
    """The text that is kept now: the one sent, or a later one of the same tab."""

    version: int


class DraftList(Answer):
    """The latest first; `limit` is how many a person may have."""

    drafts: list[DraftSummary]
    limit: int = MAX_DRAFTS


class DraftQuery(BaseModel):
    """`form` is a form as its page names it: `deal`, `finding-7`, `finding-new`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deal_id: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    form: Annotated[str, StringConstraints(pattern=r"^(deal|(finding|item|member)-(new|[1-9][0-9]{0,17}))$")] | None = None


class DraftHeld(BaseModel):
    """Of a draft that is to go: only if it is still this tab's, or at this version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    writer: Tab | None = None
    version: Annotated[int, Field(ge=0, lt=2**31)] | None = None
