"""What every template may use: who is signed in, their current deal, the notice, addresses of assets, the filters."""

from datetime import datetime
from typing import Any

from quart import Blueprint, g, request

from app.deals.session_data import has_deal
from app.models import STAGES
from app.security import return_to
from app.sessions.interface import UserSession, current_session
from app.web import UserCard, resources
from app.workspace import presentation

asset = presentation.Assets()


def init_context(blueprint: Blueprint) -> None:
    """Give the templates of the whole site, those of errors too, what they need."""
    for name, function in presentation.FILTERS.items():
        blueprint.add_app_template_filter(function, name)
    blueprint.add_app_template_filter(_ago, "ago")
    blueprint.app_context_processor(template_context)


def current_deal() -> dict[str, Any] | None:
    """The card of the deal this session is on, unless the grant it rests on has run out."""
    session = current_session()
    return session.get("deal") if has_deal(session, resources().clock.unix_ms()) else None


def template_context() -> dict[str, Any]:
    """Asks nothing of SQL or Redis, so that a page about an outage can be shown during it."""
    session = current_session()
    card = session.get("user")
    return {
        "asset": asset,
        "current_deal": current_deal(),
        "here": return_to(request.full_path.rstrip("?")),
        "me": UserCard(**card) if card else None,
        "notice": session.get("notice"),
        "login_left_ms": _login_left_ms(session),
        "request_id": g.get("request_id", ""),
        "stages": STAGES,
    }


def _login_left_ms(session: UserSession) -> int | None:
    """How long the login lives if nobody does anything; None where nobody can say."""
    loaded = session.loaded
    record = loaded and (loaded.record or loaded.blank)
    return min(record.login_idle_at, record.login_ends_at) - resources().clock.unix_ms() if record else None


def _ago(moment: datetime) -> str:
    return presentation.ago(moment, now=resources().clock.now())
