"""What the list of deals offers to choose from, and the addresses that keep the rest of its state."""

from functools import partial
from typing import Any
from urllib.parse import urlencode

from app.deals.listing import ListQuery
from app.models import STAGES
from app.pages.kit.place import ALL

# Empty stands for the default, which an address does not mention.
_OPTIONS = {
    "stage": [("", "any"), *((stage, stage) for stage in STAGES)],
    "status": [("", "any"), ("Complete", "complete"), ("Pending", "pending"), ("Undisclosed", "undisclosed")],
    "archived": [("", "active"), ("true", "archived"), ("all", "all")],
    "sort": [
        ("", "newest"),
        ("-announced", "oldest"),
        ("name", "name, A to Z"),
        ("-name", "name, Z to A"),
        ("price", "highest price"),
        ("-price", "lowest price"),
        ("recent", "last worked on"),
        ("updated", "last changed"),
        ("match", "best match"),
    ],
}
_LABELS = {"stage": "Stage", "status": "Status", "archived": "Show", "sort": "Sort"}
# By column of the table: the sort of a first click, and of the next; where the first is the default it is "".
_HEADS = {"name": ("name", "-name"), "announced": ("", "-announced"), "price": ("price", "-price")}


def list_state(query: ListQuery, *, view: str = "list") -> dict[str, Any]:
    """What the template shows of `query`: the values chosen, the choices there are, and `list_url` to change one."""
    chosen = query.model_dump(exclude_defaults=True, exclude={"limit"})
    values = {name: chosen.get(name) or "" for name in ("q", "cursor", *_OPTIONS)}
    values |= {"import": str(query.import_id or ""), "view": "board" if view == "board" else ""}
    return {
        "query": values,
        "views": [
            {"name": "list", "address": list_url(values, view=""), "is_chosen": not values["view"]},
            {"name": "board", "address": list_url(values, view="board", stage=""), "is_chosen": bool(values["view"])},
        ],
        "choices": [_choice(values, name) for name in _OPTIONS],
        "filtered": any(values[name] for name in ("q", "stage", "status", "archived", "import")),
        "without_import": list_url(values, **{"import": ""}),
        "heads": {column: _head(values, column) for column in _HEADS},
        "list_url": partial(list_url, values),
    }


def list_url(values: dict[str, str], **changes: str) -> str:
    """The address of the list with `changes`, never that of one as it was left. It begins at the first page unless it says otherwise."""
    wanted = {name: value for name, value in {**values, "cursor": "", **changes}.items() if value}
    page = "/deals/board" if wanted.pop("view", "") else "/deals"
    return f"{page}?{urlencode(wanted) or ALL}"


def _choice(values: dict[str, str], name: str) -> dict[str, Any]:
    # On the board every stage has its column: one of them alone is for the list.
    view = {"view": ""} if name == "stage" else {}
    options = [
        {"text": text, "address": list_url(values, **view, **{name: value}), "is_chosen": values[name] == value}
        for value, text in _OPTIONS[name]
    ]
    texts = dict(_OPTIONS[name])
    return {"name": name, "label": _LABELS[name], "text": texts.get(values[name], values[name]), "options": options}


def _head(values: dict[str, str], column: str) -> dict[str, str]:
    """The link of a column's head, and how the list is sorted by it now."""
    first, second = _HEADS[column]
    ascending = "name" if column == "name" else second
    order = ("ascending" if values["sort"] == ascending else "descending") if values["sort"] in (first, second) else ""
    return {"address": list_url(values, sort=second if values["sort"] == first else first), "order": order}
