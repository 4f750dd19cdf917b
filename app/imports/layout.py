"""The stored layout of a file: what each column holds, how its cells are read, and what a person still has to choose."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.imports.conventions import (
    DateOrderNeeded,
    Evidence,
    Reading,
    check_choice,
    explain_question,
    read_examples,
    reading_of,
)
from app.imports.dates import DATE_ORDERS
from app.imports.mapping import BadMapping, ColumnMap, map_by_position, normalise
from app.imports.survey import Survey

DATE_FIELDS = frozenset({"announced_on"})


def layout_of(found: Survey, fields: Sequence[str], date_orders: Sequence[str]) -> dict[str, Any]:
    return {**found.as_dict(), "fields": list(fields), "date_orders": list(date_orders)}


def is_sheet(layout: Mapping[str, Any]) -> bool:
    """Stored for `reader.SheetTable`, rather than as the original text."""
    return bool(layout.get("sheet"))


def columns_of(layout: Mapping[str, Any]) -> ColumnMap:
    """Raises `BadMapping`."""
    return map_by_position(layout["headings"], layout["fields"]).read_as(readings_of(layout))


def evidence_of(layout: Mapping[str, Any]) -> list[Evidence]:
    """By column; empty for a file that an older version took."""
    return [Evidence.of(each) for each in layout.get("evidence", ())]


def readings_of(layout: Mapping[str, Any]) -> tuple[Reading, ...]:
    evidence = evidence_of(layout)
    orders = layout.get("date_orders") or [""] * len(evidence)
    is_1904 = layout.get("is_1904", False)
    return tuple(reading_of(each, order, is_1904=is_1904) for each, order in zip(evidence, orders, strict=True))


def place_orders(headings: Sequence[str], fields: Sequence[str], evidence: Sequence[Evidence], stated: Sequence[str]) -> list[str]:
    """By column the date order that was `stated`: "month_first" for every column that needs it, or "Heading=month_first" for one.

    Raises `BadRequest` for one that is none, that names no column, or that the column disproves.
    """
    orders = [""] * len(headings)
    for text in stated:
        heading, equals, order = text.rpartition("=")
        if equals:
            indexes = [index for index, each in enumerate(headings) if normalise(each) == normalise(heading)]
            if not indexes:
                raise BadMapping(f'There is no column "{heading}". The columns are: {", ".join(filter(None, headings))}.')
        else:
            indexes = [index for index, each in enumerate(evidence) if each.question or fields[index] in DATE_FIELDS]
        check_choice("", Evidence(), order.strip())
        for index in indexes:
            check_choice(headings[index], evidence[index], order.strip())
            orders[index] = order.strip()
    return orders


def check_orders(layout: Mapping[str, Any], orders: Sequence[str]) -> None:
    """As `place_orders`, of orders that were chosen column by column."""
    if len(orders) != len(layout["headings"]):
        raise BadMapping("Say for each column which date order it has, or none.")
    for heading, field, evidence, order in zip(layout["headings"], layout["fields"], evidence_of(layout), orders, strict=False):
        if order and (field in DATE_FIELDS or order not in DATE_ORDERS):
            check_choice(heading, evidence, order)


def questions_of(layout: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The date columns whose order only a person can choose, answered or not."""
    orders = layout.get("date_orders") or [""] * len(layout["headings"])
    columns = zip(layout["headings"], layout["fields"], evidence_of(layout), orders, strict=False)
    return [
        {
            "column": index,
            "heading": heading,
            "kind": evidence.question,
            "reason": explain_question(heading, evidence),
            "examples": read_examples(evidence),
            "chosen": order,
        }
        for index, (heading, field, evidence, order) in enumerate(columns)
        if field in DATE_FIELDS and evidence.question
    ]


def require_answers(layout: Mapping[str, Any]) -> None:
    """Raises `DateOrderNeeded`."""
    if open_ := [each for each in questions_of(layout) if not each["chosen"]]:
        heading = open_[0]["heading"]
        how = 'Pass date_order=day_first or date_order=month_first, or for one column date_order="{}=day_first".'
        raise DateOrderNeeded(f"{open_[0]['reason']} {how.format(heading)}", columns=open_)
