"""How to read the cells of a column: what the whole column proves, or else what a person must choose."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from app.core.errors import BadRequest
from app.core.invisible_characters import strip_invisible
from app.imports.dates import DATE_ORDERS, ORDER_WORDS, DateOrder, find_ordered, parse_date
from app.imports.malformed import Malformed
from app.imports.prices import DecimalMark, decimal_mark_in

EXAMPLES = 3
# No date and no number of a price is longer.
_LONGEST = 48
# A cell without this proves nothing, and most cells have none.
_TELLS = re.compile(r"[0-9]\s*[/.,-]\s*[0-9]")
_YEAR_FIRST = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")

Question = Literal["", "open", "contradiction"]


class DateOrderNeeded(BadRequest):
    """Nothing proves whether day or month comes first, and imports never guess."""

    code, title = "date_order_needed", "Say whether day or month comes first"


class Reading(NamedTuple):
    """How one column is read. `date_order` is None while unknown."""

    date_order: DateOrder | None = "day_first"
    decimal_mark: DecimalMark = ""
    is_1904: bool = False


@dataclass(slots=True)
class Evidence:
    """What the cells of one column prove: by date order and by sign of decimals the first line and cell that do."""

    orders: dict[str, tuple[int, str]] = field(default_factory=dict)
    marks: dict[str, tuple[int, str]] = field(default_factory=dict)
    # Dates that could be either, as they stand.
    examples: list[str] = field(default_factory=list)
    # The first date that names its year first: so stand the cells that a spreadsheet program took for dates itself.
    dated: tuple[int, str] | None = None

    def add(self, line: int, cell: str) -> None:
        if not cell or len(cell) > _LONGEST or not _TELLS.search(plain := strip_invisible(cell)):
            return
        text = " ".join(plain.split())
        if ordered := find_ordered(text):
            orders = ordered.orders
            if len(orders) == 1:
                self.orders.setdefault(orders[0], (line, text))
            elif ordered.is_open and len(self.examples) < EXAMPLES and text not in self.examples:
                self.examples.append(text)
        elif self.dated is None and _YEAR_FIRST.match(text):
            self.dated = (line, text)
        elif mark := decimal_mark_in(text):
            self.marks.setdefault(mark, (line, text))

    @property
    def date_order(self) -> DateOrder | None:
        """What the column proves."""
        return next((order for order in DATE_ORDERS if set(self.orders) == {order}), None)

    @property
    def decimal_mark(self) -> DecimalMark:
        if len(self.marks) > 1:
            return "both"
        return next((mark for mark in (".", ",") if mark in self.marks), "")

    @property
    def question(self) -> Question:
        """The question only a person can answer, if any."""
        if len(self.orders) > 1:
            return "contradiction"
        return "open" if self.examples and not self.orders else ""

    @property
    def is_mixed(self) -> bool:
        """A program that expected the other order makes dates of those it can, day and month exchanged, and leaves the rest as text."""
        return self.dated is not None and bool(self.orders or self.examples)

    def as_dict(self) -> dict[str, Any]:
        return {"orders": self.orders, "marks": self.marks, "examples": self.examples, "dated": self.dated}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Evidence":
        """As `as_dict` made it, by this version or another."""
        pairs = ({name: (line, text) for name, (line, text) in kept.get(kind, {}).items()} for kind in ("orders", "marks"))
        orders, marks = pairs
        dated = kept.get("dated")
        return cls(orders, marks, list(kept.get("examples", ())), (dated[0], dated[1]) if dated else None)


def gather(width: int, records: Iterable[tuple[int, Sequence[str]]]) -> list[Evidence]:
    """What each column of a whole file proves."""
    found = [Evidence() for _ in range(width)]
    for line, cells in records:
        for evidence, cell in zip(found, cells, strict=False):
            evidence.add(line, cell)
    return found


def reading_of(evidence: Evidence, chosen: str = "", *, is_1904: bool = False) -> Reading:
    """What the column proves, else what a person chose. Never a guess."""
    order = evidence.date_order or next((order for order in DATE_ORDERS if order == chosen), None)
    if order is None and not evidence.question:
        order = "day_first"  # there is no such date in the column: it is all the same
    return Reading(order, evidence.decimal_mark, is_1904)


def check_choice(heading: str, evidence: Evidence, chosen: str) -> None:
    """Raises `BadRequest` for no order, and for one that the column disproves."""
    if chosen and chosen not in DATE_ORDERS:
        raise BadRequest(f'"{chosen}" is no date order: pass {" or ".join(DATE_ORDERS)}.', code="bad_date_order")
    if chosen and evidence.date_order and evidence.date_order != chosen:
        line, text = evidence.orders[evidence.date_order]
        said = f'The dates of "{heading}" are {ORDER_WORDS[evidence.date_order]}: "{text}" on line {line} can be nothing else.'
        raise BadRequest(said, code="bad_date_order")


def explain_question(heading: str, evidence: Evidence) -> str:
    """Why a person has to choose, in a sentence."""
    if evidence.question == "contradiction":
        (day_line, day), (month_line, month) = evidence.orders["day_first"], evidence.orders["month_first"]
        return (
            f'The dates of "{heading}" contradict each other: "{day}" on line {day_line} has the day first, '
            f'"{month}" on line {month_line} the month.'
        )
    shown = " and ".join(f'"{text}"' for text in evidence.examples[:2])
    return f'Nothing in "{heading}" tells whether day or month comes first: {shown} could be either.'


def explain_mixture(evidence: Evidence) -> str:
    """What a person should look at, "" where there is nothing."""
    if not evidence.is_mixed or evidence.dated is None:
        return ""
    line, text = next(((f" (line {line})", text) for line, text in evidence.orders.values()), ("", "".join(evidence.examples[:1])))
    return (
        f'Some cells are dates ("{evidence.dated[1]}", line {evidence.dated[0]}), others text ("{text}"{line}): '
        "a program that expected the other order exchanges day and month in the former. Compare some of them."
    )


def read_examples(evidence: Evidence) -> list[dict[str, str]]:
    """How some cells would be read either way, for a person to choose by; "" where they could not be."""
    texts = [text for _, text in evidence.orders.values()] + evidence.examples
    return [{"text": text, **{order: _shown(text, order) for order in DATE_ORDERS}} for text in texts[:EXAMPLES]]


def _shown(text: str, order: DateOrder) -> str:
    try:
        day = parse_date(text, order)
    except Malformed:
        return ""
    return f"{day.day} {day:%B} {day.year}"
