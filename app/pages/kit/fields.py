"""The fields of a form: how a value of a thing becomes text, and a text the fact it means."""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from app.pages.kit.presentation import day

_NEVER_EMPTY = ("whole", "day", "person")


class Field(NamedTuple):
    """`kind` is line, wide (a line across the whole form), prose, address, whole, day, choice, person or check.

    `options` are pairs of value and text.
    """

    name: str
    label: str
    kind: str = "line"
    help: str = ""
    longest: int = 200
    options: tuple[tuple[str, str], ...] = ()
    required: bool = False
    nullable: bool = False

    def shown(self, text: str) -> str:
        """A value as a person reads it."""
        if self.kind == "check":
            return "yes" if text else "no"
        if self.kind == "day" and text:
            return day(date.fromisoformat(text))
        return dict(self.options).get(text, text) if self.options else text


def values_of(fields: tuple[Field, ...], thing: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a thing, as the API shows it, as text."""
    return {each.name: as_text(_value(thing, each)) for each in fields}


def as_text(value: Any) -> str:
    """A value of a thing, as a form has it."""
    if isinstance(value, bool):
        return "1" if value else ""
    return "" if value is None else value.isoformat() if isinstance(value, date) else str(value)


def fact_of(field: Field, text: str) -> Any:
    """What a typed text means, for the model to judge."""
    if field.kind == "check":
        return text != ""
    stripped = text.strip()
    if not stripped and (field.kind in _NEVER_EMPTY or field.nullable):
        return None
    if field.kind in ("whole", "person"):
        digits = stripped.removeprefix("$").replace(",", "").replace(" ", "")
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 19 else text
    return text


def lines_of(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _value(thing: Mapping[str, Any], field: Field) -> Any:
    if field.kind == "person":
        person = thing.get(field.name.removesuffix("_id"))
        return person and person["id"]
    return thing.get(field.name)
