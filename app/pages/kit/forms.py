"""Forms of the deal pages: validation, and conflicts with concurrent changes.

A form carries, beside each field, what the field said when the page was drawn (`was-…`) and the version it was drawn at.
So a conflict can tell who changed what, nothing typed is ever lost, and all of it works without a script.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from app.core.errors import BadRequest, Conflict
from app.pages.kit.conflicts import Difference, is_open, meet, still_open, take_theirs
from app.pages.kit.fields import Field, fact_of, lines_of, values_of

SHOWN, SAVED, INVALID, CONFLICT = 200, 303, 400, 409
# What a form that names no version is drawn at: nothing is, so that it always meets a conflict and never overwrites.
NO_VERSION = 0
_CHOOSE = "You both changed this. Choose one of the two, or edit yours."
_PLAIN = {"string_too_short": "Fill this in.", "literal_error": "Choose one from the list."}

Save = Callable[[dict[str, Any], int | None], Awaitable[None]]


@dataclass
class FormSheet:
    """One form as it is shown: `values` are its fields as text, `was` what they said when it was first drawn."""

    fields: tuple[Field, ...]
    values: dict[str, str]
    version: int | None = None
    was: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    # Of the fields that somebody else changed meanwhile.
    differences: list[Difference] = field(default_factory=list)
    # What the form was drawn with before it met theirs, where there is still something to choose: a draft goes on from there.
    base: dict[str, str] = field(default_factory=dict)
    base_version: int | None = None
    # Who changed it meanwhile, and when.
    changed_by: str = ""
    changed_at: datetime | None = None
    message: str = ""

    async def submit(self, form: Mapping[str, str], model: type[BaseModel], change: Save) -> int:
        """Take what was typed, and save it with `change`. SAVED, else INVALID or CONFLICT: then show the form again, it says why.

        With `look` nothing is saved: SHOWN, with what somebody else saved meanwhile merged into what was typed.
        """
        self._take(form)
        if "look" in form and self.version is not None and not self.differences:
            return await self._look(change)
        facts = self._check(model)
        self.errors |= dict.fromkeys((each.field.name for each in self.differences), _CHOOSE)
        if self.errors:
            return CONFLICT if self.differences else INVALID
        try:
            await change(facts, self.version)
        except BadRequest as refusal:
            name, _, problem = refusal.detail.partition(": ")
            self._refuse(name, problem or refusal.detail)
            return INVALID
        except Conflict as conflict:
            return await asyncio.to_thread(self._meet, conflict)
        return SAVED

    async def _look(self, change: Save) -> int:
        try:
            await change({}, NO_VERSION)
        except Conflict as conflict:
            status = await asyncio.to_thread(self._meet, conflict)
            return SHOWN if "current" in conflict.extra else status
        return SHOWN

    def clash(self, name: str) -> Difference | None:
        """Where the person has to choose."""
        return next((each for each in self.differences if each.field.name == name and each.mark), None)

    def _take(self, form: Mapping[str, str]) -> None:
        self.version = int(form["version"]) if form.get("version", "").isdecimal() else self.version
        for each in self.fields:
            before = form.get(f"was-{each.name}")
            if before is not None:
                self.was[each.name] = lines_of(before)
            typed, theirs = lines_of(form.get(each.name, "")), self.was.get(each.name, "")
            mark, choice = form.get(f"conflict-{each.name}", ""), form.get(f"choice-{each.name}", "")
            if mark and is_open(mark, typed, choice):
                self.differences.append(still_open(each, mark, typed, theirs))
            self.values[each.name] = take_theirs(each, mark, typed, theirs) if mark and choice == "theirs" else typed

    def _check(self, model: type[BaseModel]) -> dict[str, Any]:
        """The facts that differ from what the form was drawn with, as `model` has them; fills `errors`.

        What nobody touched is not stated anew: it may be older than today's rules.
        """
        required = [each for each in self.fields if each.required and not self.values[each.name].strip()]
        self.errors = {each.name: _PLAIN["string_too_short"] for each in required}
        changed = [each for each in self.fields if self.version is None or self.values[each.name] != self.was.get(each.name)]
        try:
            stated = model.model_validate({each.name: fact_of(each, self.values[each.name]) for each in changed})
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
        before, version = self.was, self.version
        for each in self.fields:
            text, difference = meet(each, before.get(each.name), self.values[each.name], theirs[each.name])
            self.values[each.name] = text
            if difference.mark or theirs[each.name] != before.get(each.name):
                self.differences.append(difference)
        clashes = any(each.mark for each in self.differences)
        if clashes:
            self.base, self.base_version = before, version
        self.was, self.version = theirs, current["version"]
        self.changed_by = (current.get("updated_by") or {}).get("name", "")
        self.changed_at = datetime.fromisoformat(current["updated_at"])
        return CONFLICT if clashes or self.values != theirs else SAVED


def sheet_of(fields: tuple[Field, ...], thing: Mapping[str, Any]) -> FormSheet:
    """The form to change a thing with."""
    values = values_of(fields, thing)
    return FormSheet(fields, values, version=thing["version"], was=dict(values))


def blank_sheet(fields: tuple[Field, ...], **values: str) -> FormSheet:
    """The form to make a new thing with."""
    return FormSheet(fields, dict.fromkeys((each.name for each in fields), "") | values)


def _in_words(problem: Any) -> str:
    if problem["type"] == "string_too_long":
        return f"At most {problem['ctx']['max_length']:,} characters."
    if problem["type"] in _PLAIN:
        return _PLAIN[problem["type"]]
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{text[0].upper()}{text[1:]}."
