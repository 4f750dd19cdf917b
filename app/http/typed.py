"""What somebody typed into a form that could not be served: every answer to it carries the text, to be copied or sent again."""

from typing import NamedTuple

from quart import request
from werkzeug.exceptions import HTTPException

from app.http.web import user_card
from app.sessions.interface import current_session

Fields = list[tuple[str, str]]

# What a form says of itself, beside what is typed into it.
_OF_THE_FORM = frozenset({"deal", "by", "here", "version", "item", "query", "draft", "look"})
_WAS, _CHOICE, _CONFLICT = "was-", "choice-", "conflict-"


class Typed(NamedTuple):
    label: str
    text: str


async def typed_fields() -> Fields:
    """All fields of the form of a deal page in this request, to be sent on as they are; none if it was another person's."""
    if request.method != "POST" or not request.path.startswith("/deals/"):
        return []
    try:
        form = await request.form
    except HTTPException:
        return []  # it cannot be read, or is too large to be carried on
    card = user_card(current_session())
    if "deal" not in form or (card and form.get("by") not in (None, str(card.id))):
        return []  # no form of a deal page, or one that somebody else has filled in
    return list(form.items(multi=True))


def as_typed(fields: Fields | None) -> list[Typed]:
    """Of these fields what the person typed, and nothing that the form said by itself: the deal may not be theirs to read any more."""
    was = {name.removeprefix(_WAS): _lines(value) for name, value in fields or () if name.startswith(_WAS)}
    shown = []
    for name, value in fields or ():
        text = _lines(value)
        of_the_form = name in _OF_THE_FORM or name.startswith((_WAS, _CHOICE, _CONFLICT)) or name.endswith("_id")
        # A number of one or two digits is a tick, or the choice of something whose name is not here.
        if of_the_form or not text.strip() or text == was.get(name) or (len(text) < 3 and text.isdecimal()):
            continue
        shown.append(Typed(name.replace("_", " ").capitalize(), text))
    return shown


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
