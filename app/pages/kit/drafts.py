"""What a draft is called, and where its form is."""

from collections.abc import Iterable
from typing import NamedTuple

from app.pages.kit.shell import address_of

# By form: what something new is called, and what a change of something is; where each is written, below the deal.
_WORDS = {
    "finding": ("a new finding", "a finding"),
    "item": ("a new item of the checklist", "an item of the checklist"),
    "member": ("a colleague to be added", "the access of a colleague"),
    "deal": ("the facts of the deal", ""),
}
_PAGES = {
    "finding": ("findings/new", "findings/{}/edit"),
    "item": ("checklist", "checklist/{}/edit"),
    "member": ("team", "team/{}"),
    "deal": ("edit", ""),
}
# Where the form is not all of its page.
_ANCHORS = {"item": "#new-item", "member": "#add"}


class DraftLink(NamedTuple):
    text: str
    address: str


def link_to_draft(deal_id: int, form: str, item_id: int | None, *, draft_id: int | None = None, number: int | None = None) -> DraftLink:
    """`draft_id`: the form opens with that draft; else with the latest of it."""
    has_item = bool(item_id)
    page = _PAGES[form][has_item].format(item_id)
    anchor = "" if has_item else _ANCHORS.get(form, "")
    text = f"finding #{number}" if number else _WORDS[form][has_item]
    return DraftLink(text, address_of(deal_id, page) + (f"?draft={draft_id}" if draft_id else "") + anchor)


def links_to_drafts(deal_id: int, names: Iterable[str]) -> list[DraftLink]:
    """Of `form-item_id`, 0 for none."""
    parts = (name.partition("-") for name in sorted(names))
    return [link_to_draft(deal_id, form, int(item_id)) for form, _, item_id in parts]
