"""What a page inside a deal says after the form that led to it, and how to undo it. The address carries the code."""

from collections.abc import Mapping
from typing import Any

from app.checklist.store import MAX_ITEMS

_SAID = {
    "edit_saved": "Saved.",
    "finding_created": "The finding is on the list.",
    "finding_undeleted": "The finding is back.",
    "nothing_chosen": "Nothing was changed: tick the findings, then choose what to change.",
    "item_created": "The item is on the list.",
    "item_undeleted": "The item is back.",
    "order_moved": "Somebody changed the order meanwhile, so nothing was moved. This is how it is now.",
    "template_known": "Everything of that list is here already.",
    "member_added": "They can see this deal from now on.",
    "member_back": "They have the same access again.",
    "nobody_chosen": "Nothing was changed: choose whom the deal shall belong to.",
    "read_again": "Somebody changed this after you had opened it. Nothing is deleted: read it as it is now, then decide again.",
    "transferred": "The deal has a new owner.",
}
# By code: what is said, where its undo is sent, below the deal's address, and which parameters that takes along.
_UNDOABLE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "finding_deleted": ("The finding is deleted.", "findings/{undo}/restore", ()),
    "item_deleted": ("The item is deleted.", "checklist/{undo}/restore", ()),
    "member_withdrawn": ("They no longer see this deal.", "team/{undo}/restore", ("role", "expires_on")),
    "template_added": ("", "checklist/untouched", ("first", "last")),
}
_NEUTRAL = ("read_again", "nothing_chosen", "order_moved", "template_known", "template_too_long", "nobody_chosen")


def said_of(args: Mapping[str, str]) -> dict[str, Any] | None:
    """The sentence, its undo, and the form whose draft has been saved; None where nothing is to be said."""
    code = args.get("done", "")
    number = args.get("number", "") if args.get("number", "").isdecimal() else ""
    undo: dict[str, Any] | None = None
    if code in _UNDOABLE:
        text, path, names = _UNDOABLE[code]
        wanted = args.get("undo", "")
        fields = {name: args.get("until" if name == "expires_on" else name, "") for name in names}
        if code == "template_added" or wanted.isdecimal():
            undo = {"path": path.format(undo=wanted), "fields": fields}
        text = text or f"{number} items are on the list."
    elif code == "findings_changed":
        text = _many_changed(number or "0", args.get("moved", ""))
    elif code == "template_removed":
        text = f"{number} {'item is' if number == '1' else 'items are'} off the list again. What somebody worked on stays."
    elif code == "template_too_long":
        text = f"Nothing was added: a checklist has at most {MAX_ITEMS} items, and there is room for {number} more."
    else:
        text = _SAID.get(code, "")
    is_warning = code in _NEUTRAL or bool(args.get("moved"))
    return {"text": text, "undo": undo, "warns": is_warning} if text else None


def _many_changed(number: str, moved: str) -> str:
    text = f"{number} {'finding' if number == '1' else 'findings'} changed."
    numbers = [each for each in moved.split(",") if each.isdecimal()][:20]
    if numbers:
        names = ", ".join(f"#{each}" for each in numbers)
        text += (
            f" {names} {'was' if len(numbers) == 1 else 'were'} changed by somebody else meanwhile and left alone: look, and tick again."
        )
    return text
