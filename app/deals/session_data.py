"""What deals keep in a session: pure functions from its data to new data, or to None where there is nothing to change."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from app.clock import to_unix_ms
from app.sessions.record import SessionData

Change = Callable[[SessionData], SessionData | None]

_DEAL_KEYS = frozenset({"current_deal_id", "deal", "source", "selected_at"})
_NOTHING_UNTIL = "nothing_until"
_SAID_BEFORE = frozenset({"notice", "only_deal_off", "refused", _NOTHING_UNTIL})


def deal_card(row: Sequence[Any]) -> dict[str, Any]:
    """The card a warm request is served from. `row` is (deal, role, access_until), as `permissions.visible_to` selects it."""
    deal, role, access_until = row
    return {"id": deal.id, "name": deal.name, "role": role, "access_until": ends_at_ms(access_until)}


def ends_at_ms(access_until: datetime | None) -> int | None:
    return None if access_until is None else to_unix_ms(access_until)


def has_deal(data: SessionData, now_ms: int) -> bool:
    """Whether the session has a deal that its card still allows; a grant may have run out."""
    card = data.get("deal")
    return card is not None and (card["access_until"] is None or now_ms < card["access_until"])


def choose_deal(data: SessionData, card: dict[str, Any], *, source: str, at: datetime) -> SessionData:
    """Work on this deal from now on. What was said about an earlier one no longer counts."""
    kept = {key: value for key, value in data.items() if key not in _SAID_BEFORE}
    return kept | {"current_deal_id": card["id"], "deal": card, "source": source, "selected_at": at.isoformat()}


def forget_deal(data: SessionData) -> SessionData:
    """The person cleared the selection: no deal, no notice."""
    return {key: value for key, value in data.items() if key not in _DEAL_KEYS | {"notice"}}


def dismiss(data: SessionData, code: str | None = None) -> SessionData | None:
    """Without the notice that was read: the one of `code`, or whichever there is. A newer one stays to be read."""
    notice = data.get("notice")
    if notice is None or code not in (None, notice["code"]):
        return None
    return {key: value for key, value in data.items() if key != "notice"}


def strip_deal(data: SessionData) -> SessionData:
    """Take the deal away. The notice stays until it is dismissed; no other deal jumps in for this session."""
    kept = {key: value for key, value in data.items() if key not in _DEAL_KEYS}
    return kept | {"notice": {"code": "deal_unavailable"}, "only_deal_off": True}


def refresh_card(data: SessionData, **changes: Any) -> SessionData | None:
    """The card with `changes` (name, role, access_until), where there is one that says otherwise."""
    card = data.get("deal")
    if card is None or card == card | changes:
        return None
    return data | {"deal": card | changes}


def forget_nothing(data: SessionData) -> SessionData | None:
    """Forget that there was nothing to restore, so that the next request looks again."""
    if _NOTHING_UNTIL not in data:
        return None
    return {key: value for key, value in data.items() if key != _NOTHING_UNTIL}


def where_on(deal_id: int, change: Change) -> Change:
    """`change` for the sessions that still are on this deal when it is their turn; one that moved on meanwhile is left alone."""

    def change_if_still_there(data: SessionData) -> SessionData | None:
        return change(data) if data.get("current_deal_id") == deal_id else None

    return change_if_still_there
