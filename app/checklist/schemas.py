"""Bodies and answers of the checklist API."""

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from app.deals.fields import Day, Identifier, Section, Task, Whose, Words
from app.deals.schemas import PersonName
from app.http.schemas import Answer, Body


class ItemFacts(Body):
    """`owner_id` is somebody who sees the deal; `due_on` a day."""

    owner_id: Identifier | None = None
    due_on: Day | None = None
    done: bool = False


class NewItem(ItemFacts):
    section: Section
    title: Task


class ItemChanges(ItemFacts):
    """What is left out stays as it is. With `version` (or If-Match) the change is refused when the item has moved on."""

    section: Section = ""
    title: Task = ""
    version: Identifier | None = None


class Raise(Body):
    """`above` is an item that stands right above, and lets it pass; with `section` its whole section lets the other's pass."""

    above: Identifier
    section: bool = False


class Move(Body):
    """`after` is the item of `section` that it is to stand right after; null puts it first there.

    A section that nothing else is in comes right after the section of `after`, or first of all.
    """

    after: Identifier | None
    section: Section


class ItemView(Answer):
    id: int
    deal_id: int
    section: str
    title: str
    position: int
    owner: PersonName | None
    due_on: date | None
    done: bool
    done_at: datetime | None
    version: int
    updated_at: datetime
    updated_by: PersonName | None


class OneItem(Answer):
    item: ItemView


class MovedItem(Answer):
    """`place` is where it stands among the `of` items of its section."""

    item: ItemView
    place: int
    of: int


class Checklist(Answer):
    """The items in their order, all that match. `total` and `done` count those of the whole checklist."""

    items: list[ItemView]
    total: int
    done: int


class ChecklistQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    q: Words = ""
    state: Literal["open", "done", "overdue"] | None = None
    owner: Whose | None = None
