"""What a page says after the form that led to it, and how to undo it. The address carries the code; the sentences are all here."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlencode

from quart import redirect
from quart.typing import ResponseReturnValue

from app.checklist.store import MAX_ITEMS

# What the console called `done` in its addresses.
_BEFORE = "said"

# By code.
_SENTENCES = {
    # Deals, and what a person chooses.
    "archived": "Archived. Everybody keeps reading it; nobody changes it.",
    "cleared": "You have no current deal any more, in any browser. Choose the one to work on.",
    "created": "Your deal is there. Nobody else but the admins of your organisation sees it yet.",
    "left": "You have left that deal and no longer see it.",
    "moved": "Moved to another stage.",
    "restored": "Back out of the bin. Those who worked on it come back to it.",
    "saved": "Your settings are saved.",
    "start": "This is the deal you start at from now on.",
    "unarchived": "Out of the archive. It can be changed again.",
    "undone": "You are out of that deal here. Your other browsers, and the next sign-in, still come back to it.",
    # Inside a deal.
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
    "history_moved": "Somebody changed this after you had opened it. Nothing was brought back: look at it as it is now, then decide again.",
    "reference_taken": "Another deal has that external reference now, so this was not brought back.",
    "read_again": "Somebody changed this after you had opened it. Nothing is deleted: read it as it is now, then decide again.",
    "transferred": "The deal has a new owner.",
    # The people of an organisation.
    "role": "The role is changed. They were signed out and sign in again with it.",
    "disabled": "Disabled. They were signed out everywhere and cannot sign in; what they did stays.",
    "enabled": "Enabled. They sign in again with the password they had.",
    "signed-out": "Signed out. They come back to their deal when they sign in again.",
    "withdrawn": "The access is withdrawn. The deal left their browsers with it.",
    "invitation": "The invitation is withdrawn. Its link does not work any more.",
    "restore": "Your organisation's choice is saved.",
    # Imports.
    "checked": "The columns are placed as you said, and the rows were checked again.",
    "changed": "You changed the columns, so the rows were checked again. Nothing is imported yet.",
    "sheet": "The rows of the sheet you chose were checked. Nothing is imported yet.",
    "discarded": "The file was thrown away. Nothing was imported.",
    # A person's own account.
    "name": "Your name is saved.",
    "password": "Your password is changed. Your other devices were signed out.",
    "device": "That device is signed out.",
    "others": "All other devices are signed out.",
    # The operators' console.
    "restore-on": "Auto-restore is on. Everybody comes back to their last deal again.",
    "restore-off": "Auto-restore is off for everybody until you switch it on again. Nothing is forgotten.",
    "queued": "Queued. A worker takes it up within a second.",
    "retried": "Queued again. What was run again no longer counts among the open failures.",
    "nothing-retried": "There was nothing left to run again.",
    "cancelled": "Cancelled.",
    "cancelling": "It is asked to stop, and does within seconds.",
    "paused": "Paused. It is not due until you resume it; you can still run it by hand.",
    "resumed": "Resumed. What would have been due meanwhile is not caught up.",
    "requeued": "Queued for another try, from SQL.",
    "nothing-requeued": "There was nothing left to requeue.",
    "logins-ended": "Signed out. The next request of that browser asks for the password.",
    "no-logins": "There was nothing to end: no browser of this person is signed in.",
}
# By code: what is said, where its undo is sent, below the deal's address, and which parameters that takes along.
_BROUGHT_BACK = "It says again what it said then. What it said until now is in its history, too."
_UNDOABLE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "deal_brought_back": (_BROUGHT_BACK, "history", ("to", "version")),
    "finding_brought_back": (_BROUGHT_BACK, "findings/{undo}/history", ("to", "version")),
    "item_brought_back": (_BROUGHT_BACK, "checklist/{undo}/history", ("to", "version")),
    "finding_deleted": ("The finding is deleted.", "findings/{undo}/restore", ()),
    "item_deleted": ("The item is deleted.", "checklist/{undo}/restore", ()),
    "member_withdrawn": ("They no longer see this deal.", "team/{undo}/restore", ("role", "expires_on")),
    "template_added": ("", "checklist/untouched", ("first", "last")),
}
_WARNINGS = (
    "read_again",
    "history_moved",
    "reference_taken",
    "nothing_chosen",
    "order_moved",
    "template_known",
    "template_too_long",
    "nobody_chosen",
)


class Undo(NamedTuple):
    """Where it is sent, below the deal's address, and what goes with it."""

    path: str
    fields: dict[str, str]


class Flash(NamedTuple):
    text: str
    warns: bool = False
    undo: Undo | None = None


def see_other(address: str, done: str = "", *, anchor: str = "", **more: object) -> ResponseReturnValue:
    """After a form: to a page, which says what was `done`."""
    query = urlencode({name: value for name, value in {"done": done, **more}.items() if value != ""})
    sign = "&" if "?" in address else "?"
    return redirect(address + (f"{sign}{query}" if query else "") + (f"#{anchor}" if anchor else ""), HTTPStatus.SEE_OTHER)


def flash_of(args: Mapping[str, str]) -> Flash | None:
    """What the address of a page has it say; None is nothing."""
    code = args.get("done") or args.get(_BEFORE, "")
    number = args.get("number", "") if args.get("number", "").isdecimal() else ""
    undo = None
    if code in _UNDOABLE:
        text, path, names = _UNDOABLE[code]
        wanted = args.get("undo", "")
        fields = {name: args.get("until" if name == "expires_on" else name, "") for name in names}
        if code == "template_added" or wanted.isdecimal():
            undo = Undo(path.format(undo=wanted), fields)
        text = text or f"{number} items are on the list."
        if args.get("owner") == "kept":
            text += " Its owner stays: who it was then no longer sees this deal."
    elif code in _COUNTED:
        text = _COUNTED[code](number, args)
    else:
        text = _SENTENCES.get(code, "")
    return Flash(text, code in _WARNINGS or bool(args.get("moved")), undo) if text else None


def _many_changed(number: str, args: Mapping[str, str]) -> str:
    number = number or "0"
    text = f"{number} {'finding' if number == '1' else 'findings'} changed."
    numbers = [each for each in args.get("moved", "").split(",") if each.isdecimal()][:20]
    if numbers:
        names = ", ".join(f"#{each}" for each in numbers)
        text += (
            f" {names} {'was' if len(numbers) == 1 else 'were'} changed by somebody else meanwhile and left alone: look, and tick again."
        )
    return text


def _removed(number: str, args: Mapping[str, str]) -> str:
    return f"{number} {'item is' if number == '1' else 'items are'} off the list again. What somebody worked on stays."


def _too_long(number: str, args: Mapping[str, str]) -> str:
    return f"Nothing was added: a checklist has at most {MAX_ITEMS} items, and there is room for {number} more."


# By code: a sentence with the `number` in the address.
_COUNTED: dict[str, Callable[[str, Mapping[str, str]], str]] = {
    "findings_changed": _many_changed,
    "template_removed": _removed,
    "template_too_long": _too_long,
}
CODES = frozenset({*_SENTENCES, *_UNDOABLE, *_COUNTED})
