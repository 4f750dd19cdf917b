"""What deals keep in a session: pure functions from its data to new data, or to None where there is nothing to change."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from app.core.clock import to_unix_ms
from app.sessions.record import SessionData

Change = Callable[[SessionData], SessionData | None]

_RETRY_RESTORE_AT = "nothing_until"
# The deal before the current one and when it was left, until the notice of that is dismissed: what an undo goes back to.
# Without its name: who may no longer see it is not told of it.
PREVIOUS = "previous_deal"
SWITCHED = "switched"
_CARD_KEYS = frozenset({"id", "name", "role", "access_until"})
_DEAL_KEYS = frozenset({"current_deal_id", "deal", "source", "selected_at", PREVIOUS})
_SAID_BEFORE = frozenset({"notice", "only_deal_off", "refused", "restore_undone", _RETRY_RESTORE_AT})


def deal_card(row: Sequence[Any]) -> dict[str, Any]:
    """The card a warm request is served from. `row` is (id, name, role, access_until), as `permissions.visible_to` selects it."""
    deal_id, name, role, access_until = row
    return {"id": deal_id, "name": name, "role": role, "access_until": ends_at_ms(access_until)}


def ends_at_ms(access_until: datetime | None) -> int | None:
    return None if access_until is None else to_unix_ms(access_until)


def has_deal(data: SessionData, now_ms: int) -> bool:
    """Whether the session has a deal that its card still allows; a grant may have run out.

    A card without one of its keys, as another version may have written it, allows nothing: SQL is asked for a whole one.
    """
    card = data.get("deal")
    if not card or not card.keys() >= _CARD_KEYS:
        return False
    return card["access_until"] is None or now_ms < card["access_until"]


def choose_deal(data: SessionData, card: dict[str, Any], *, source: str, at: datetime) -> SessionData:
    """Work on this deal from now on. What was said about an earlier one no longer counts; which one it was can be undone to."""
    kept = {key: value for key, value in data.items() if key not in _SAID_BEFORE}
    before = data.get("deal")
    if before and before.get("id", card["id"]) != card["id"]:
        kept[PREVIOUS] = {"id": before["id"], "left_at": at.isoformat()}
    return kept | {"current_deal_id": card["id"], "deal": card, "source": source, "selected_at": at.isoformat()}


def forget_deal(data: SessionData) -> SessionData:
    """The person cleared the selection: no deal, no notice."""
    return {key: value for key, value in data.items() if key not in _DEAL_KEYS | {"notice"}}


def without_restored_deal(data: SessionData) -> SessionData | None:
    """Out of a deal that came back by itself, in this session only, which is not moved again until its person chooses."""
    if data.get("source") != "restored" or "deal" not in data:
        return None
    return forget_deal(data) | {"restore_undone": True}


def dismiss(data: SessionData, code: str | None = None) -> SessionData | None:
    """Without the notice that was read: the one of `code`, or whichever there is. A newer one stays to be read."""
    if code == SWITCHED:
        return {key: value for key, value in data.items() if key != PREVIOUS} if PREVIOUS in data else None
    notice = data.get("notice")
    if notice is None or code not in (None, notice.get("code")):
        return None
    return {key: value for key, value in data.items() if key != "notice"}


def strip_deal(data: SessionData, *, in_bin: bool = False) -> SessionData:
    """Take the deal away. The notice stays until it is dismissed; no other deal jumps in for this session. `in_bin`: of this person."""
    kept = {key: value for key, value in data.items() if key not in _DEAL_KEYS}
    notice: dict[str, Any] = {"code": "deal_unavailable"} | ({"in_bin": True} if in_bin else {})
    return kept | {"notice": notice, "only_deal_off": True}


def refresh_card(data: SessionData, **changes: Any) -> SessionData | None:
    """The card with `changes` (name, role, access_until), where there is one that says otherwise."""
    card = data.get("deal")
    if card is None or card == card | changes:
        return None
    return data | {"deal": card | changes}


def clear_restore_backoff(data: SessionData) -> SessionData | None:
    """Forget that there was nothing to restore, so that the next request looks again."""
    if _RETRY_RESTORE_AT not in data:
        return None
    return {key: value for key, value in data.items() if key != _RETRY_RESTORE_AT}


def if_still_on(deal_id: int, change: Change) -> Change:
    """`change` for the sessions that still are on this deal when it is their turn; one that moved on meanwhile is left alone."""

    def change_if_still_there(data: SessionData) -> SessionData | None:
        return change(data) if data.get("current_deal_id") == deal_id else None

    return change_if_still_there
