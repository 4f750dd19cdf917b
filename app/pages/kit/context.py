"""What every template may use: who is signed in, their current deal, the notice, addresses of assets, the filters."""

from datetime import datetime, timedelta
from typing import Any

from quart import Blueprint, current_app, g, request

from app.current_deal.session_data import PREVIOUS, SWITCHED, has_deal
from app.http.security_headers import return_to
from app.http.typed import as_typed
from app.http.web import UserCard, current_resources, user_card
from app.models import STAGES
from app.pages.kit import presentation
from app.pages.kit.flash import flash_of
from app.pages.kit.place import place_values
from app.sessions.interface import UserSession, current_session

asset = presentation.Assets()

# How long an undo of a switch is offered, unless dismissed.
SWITCH_NOTICE = timedelta(seconds=8)
# The pages of a deal: name, text, icon, and the key that goes there after `g`. A page is shown once it has a route.
RAIL = (
    ("overview", "Overview", "layout-dashboard", "o"),
    ("findings", "Findings", "flag", "f"),
    ("checklist", "Checklist", "list-checks", "c"),
    ("team", "Team", "users", "t"),
    ("activity", "Activity", "activity", "a"),
)
# The person's menu, and the palette: address, text, icon, and who it is for ("" is everybody). Shown once there is such a page.
MENU = (
    ("/deals", "All deals", "list", ""),
    ("/deals/board", "Board", "square-kanban", ""),
    ("/deals/new", "New deal", "plus", ""),
    ("/drafts", "Drafts", "pencil", ""),
    ("/deals/bin", "Bin", "trash-2", ""),
    ("/imports", "Import deals", "upload", "admin"),
    ("/admin/people", "People", "users", "admin"),
    ("/ops", "Operations", "activity", "operator"),
    ("/settings", "Settings", "settings", ""),
)


def init_context(blueprint: Blueprint) -> None:
    """Give the templates of the whole site, those of errors too, what they need."""
    blueprint.record_once(lambda state: state.app.jinja_env.globals.update(asset=asset, stages=STAGES))
    for name, function in presentation.FILTERS.items():
        blueprint.add_app_template_filter(function, name)
    blueprint.add_app_template_filter(_ago, "ago")
    blueprint.add_app_template_filter(as_typed, "as_typed")
    blueprint.app_context_processor(template_context)


def current_deal() -> dict[str, Any] | None:
    """The card of the deal this session is on, unless the grant it rests on has run out."""
    session = current_session()
    return session.get("deal") if has_deal(session, current_resources().clock.unix_ms()) else None


async def template_context() -> dict[str, Any]:
    """Asks nothing of SQL or Redis, so that a page about an outage can be shown during it. A coroutine, or Quart gives it a thread."""
    session = current_session()
    card = user_card(session)
    return {
        "current_deal": current_deal(),
        "flash": flash_of(request.args) if request.method in ("GET", "HEAD") else None,
        "here": return_to(request.full_path.rstrip("?")),
        "me": card,
        "notice": session.get("notice") or _switch_notice(session),
        "login_left_ms": _login_left_ms(session),
        "menu": [entry for entry in MENU if entry[0] in _rules() and entry[3] in _parts(card)],
        "has_inbox": "/notices" in _rules(),
        "has_events": "/api/events" in _rules(),
        "rail": [entry for entry in RAIL if f"/deals/<id:deal_id>/{entry[0]}" in _rules()],
        "request_id": g.get("request_id", ""),
        "selected_at": session.get("selected_at", ""),
        **place_values(),
    }


def _switch_notice(session: UserSession) -> dict[str, Any] | None:
    """The offer to go back to the deal before, as long as the switch is fresh."""
    previous, deal = session.get(PREVIOUS), current_deal()
    if not deal or not previous or not previous.keys() >= {"id", "left_at"}:
        return None
    left = SWITCH_NOTICE - (current_resources().clock.now() - datetime.fromisoformat(previous["left_at"]))
    if left <= timedelta(0):
        return None
    return {"code": SWITCHED, "deal_id": deal["id"], "previous_id": previous["id"], "left_ms": left // timedelta(milliseconds=1)}


def _parts(card: UserCard | None) -> set[str]:
    """What `MENU` calls this person."""
    if card is None:
        return set()
    return {"", "admin" if card.role == "admin" else "", "operator" if card.is_operator else ""}


def _rules() -> set[str]:
    known: set[str] | None = current_app.extensions.get("holdfast_rules")
    if known is None:
        known = current_app.extensions["holdfast_rules"] = {rule.rule for rule in current_app.url_map.iter_rules()}
    return known


def _login_left_ms(session: UserSession) -> int | None:
    """How long the login lives if nobody does anything; None where nobody can say."""
    loaded = session.loaded
    record = loaded and (loaded.record or loaded.blank)
    return min(record.login_idle_at, record.login_ends_at) - current_resources().clock.unix_ms() if record else None


def _ago(moment: datetime) -> str:
    return presentation.ago(moment, now=current_resources().clock.now())
