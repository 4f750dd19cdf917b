"""Forms of the deal pages: validation, and conflicts with concurrent changes.

A form carries, beside each field, what the field said when the page was drawn (`was-…`) and the version it was drawn at.
So a conflict can tell who changed what, nothing typed is ever lost, and all of it works without a script.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from app.core.errors import BadRequest, Conflict
from app.pages.kit.presentation import day

SAVED, INVALID, CONFLICT = 303, 400, 409
# What a form that names no version is drawn at: nothing is, so that it always meets a conflict and never overwrites.
NO_VERSION = 0
MINE, THEIRS = "mine", "theirs"
_PLAIN = {"string_too_short": "Fill this in.", "literal_error": "Choose one from the list."}
_NEVER_EMPTY = ("whole", "day", "person")

Save = Callable[[dict[str, Any], int | None], Awaitable[None]]


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


class Difference(NamedTuple):
    field: Field
    theirs: str
    by_them: bool
    by_me: bool

    @property
    def choice(self) -> str:
        """What is chosen until the person says otherwise: theirs only where it was they alone who changed it."""
        return MINE if self.by_me else THEIRS


@dataclass
class FormSheet:
    """One form as it is shown: `values` are its fields as text, `was` what they said when it was first drawn."""

    fields: tuple[Field, ...]
    values: dict[str, str]
    version: int | None = None
    was: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    # Who changed it meanwhile, and when.
    changed_by: str = ""
    changed_at: datetime | None = None
    message: str = ""

    async def submit(self, form: Mapping[str, str], model: type[BaseModel], change: Save) -> int:
        """Take what was typed, and save it with `change`. SAVED, else INVALID or CONFLICT: then show the form again, it says why."""
        self._take(form)
        facts = self._check(model)
        if self.errors:
            return INVALID
        try:
            await change(facts, self.version)
        except BadRequest as refusal:
            name, _, problem = refusal.detail.partition(": ")
            self._refuse(name, problem or refusal.detail)
            return INVALID
        except Conflict as conflict:
            return self._meet(conflict)
        return SAVED

    def _take(self, form: Mapping[str, str]) -> None:
        self.version = int(form["version"]) if form.get("version", "").isdecimal() else self.version
        overwrite = "overwrite" in form
        for each in self.fields:
            before = form.get(f"was-{each.name}")
            if before is not None:
                self.was[each.name] = _lines(before)
            chose_theirs = form.get(f"choice-{each.name}") == THEIRS and not overwrite
            self.values[each.name] = self.was.get(each.name, "") if chose_theirs else _lines(form.get(each.name, ""))

    def _check(self, model: type[BaseModel]) -> dict[str, Any]:
        """The facts that differ from what the form was drawn with, as `model` has them; fills `errors`.

        What nobody touched is not stated anew: it may be older than today's rules.
        """
        required = [each for each in self.fields if each.required and not self.values[each.name].strip()]
        self.errors = {each.name: _PLAIN["string_too_short"] for each in required}
        changed = [each for each in self.fields if self.version is None or self.values[each.name] != self.was.get(each.name)]
        try:
            stated = model.model_validate({each.name: _fact(each, self.values[each.name]) for each in changed})
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                self.errors.setdefault(str(problem["loc"][0]), _in_words(problem))
            return {}
        return stated.model_dump(exclude_unset=True)

    def _refuse(self, name: str, problem: str) -> None:
        if name in self.values:
            self.errors[name] = f"{problem[0].upper()}{problem[1:]}."
        else:
            self.message = problem

    def _meet(self, conflict: Conflict) -> int:
        """Somebody else saved first. No conflict if the result is the same."""
        current = conflict.extra.get("current")
        if current is None:
            self._refuse("external_ref" if conflict.code == "external_ref_taken" else "", conflict.detail.removesuffix("."))
            return CONFLICT
        theirs = values_of(self.fields, current)
        for each in self.fields:
            mine, before = self.values[each.name], self.was.get(each.name)
            if mine != theirs[each.name]:
                by_them, by_me = theirs[each.name] != before, mine != before
                self.differences.append(Difference(each, theirs[each.name], by_them, by_me))
        self.was, self.version = theirs, current["version"]
        self.changed_by = (current.get("updated_by") or {}).get("name", "")
        self.changed_at = datetime.fromisoformat(current["updated_at"])
        return CONFLICT if self.differences else SAVED


def values_of(fields: tuple[Field, ...], thing: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a thing, as the API shows it, as text."""
    return {each.name: _as_text(_value(thing, each)) for each in fields}


def sheet_of(fields: tuple[Field, ...], thing: Mapping[str, Any]) -> FormSheet:
    """The form to change a thing with."""
    values = values_of(fields, thing)
    return FormSheet(fields, values, version=thing["version"], was=dict(values))


def blank_sheet(fields: tuple[Field, ...], **values: str) -> FormSheet:
    """The form to make a new thing with."""
    return FormSheet(fields, dict.fromkeys((each.name for each in fields), "") | values)


def _value(thing: Mapping[str, Any], field: Field) -> Any:
    if field.kind == "person":
        person = thing.get(field.name.removesuffix("_id"))
        return person and person["id"]
    return thing.get(field.name)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else ""
    return "" if value is None else value.isoformat() if isinstance(value, date) else str(value)


def _fact(field: Field, text: str) -> Any:
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


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _in_words(problem: Any) -> str:
    if problem["type"] == "string_too_long":
        return f"At most {problem['ctx']['max_length']:,} characters."
    if problem["type"] in _PLAIN:
        return _PLAIN[problem["type"]]
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{text[0].upper()}{text[1:]}."
