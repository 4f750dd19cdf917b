"""Security events: what was refused, as one structured line each and a counter.

Lines are bounded so that nobody can fill a disk with them; the counter is not. What was left out is told in one line when its time is over.
"""

import asyncio
import time
from collections import Counter

import structlog
from quart import Quart, Response, current_app, g, request

from app.core.cookies import AUTH, CookieNames
from app.core.errors import AppError, RateLimited
from app.core.metrics import METRICS
from app.sessions.interface import current_session

log = structlog.get_logger()

# Lines of one kind in each of these windows, by process. Ten an attack is recognised by; a thousand say no more.
WINDOW_SECONDS = 60.0
LINES_A_WINDOW = 30

# By the code of the refusal, else by its status. What is in neither is no security event: a page that is not
# there, a body with a mistake.
_KINDS = {
    "cross_site": "cross_site",
    "unknown_host": "unknown_host",
    "invalid_credentials": "sign_in_failed",
    "wrong_password": "sign_in_failed",
    "link_spent": "link_refused",
    "rate_limited": "rate_limited",
    "too_many_requests": "sign_in_slowed",
    "payload_too_large": "too_large",
    "uri_too_long": "too_large",
}
_KINDS_OF_STATUS = {403: "forbidden", 413: "too_large", 414: "too_large", 429: "sign_in_slowed"}
KINDS = frozenset({*_KINDS.values(), *_KINDS_OF_STATUS.values(), "not_signed_in", "quota"})
_MAX_ADDRESS = 64


class EventLog:
    """Which lines are written. One a process."""

    def __init__(self) -> None:
        self._window_ends = 0.0
        self._written: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def admits(self, kind: str) -> bool:
        now = time.monotonic()
        if now >= self._window_ends:
            self.close_window()
            self._window_ends = now + WINDOW_SECONDS
        self._written[kind] += 1
        if self._written[kind] <= LINES_A_WINDOW:
            return True
        if not self._left_out:
            asyncio.get_running_loop().call_later(max(0.0, self._window_ends - now), self.close_window)
        self._left_out[kind] += 1
        return False

    def close_window(self) -> None:
        """Tell what was left out, if anything was."""
        if self._left_out:
            log.warning("Security events were too many to be logged one by one; /metrics counts them all.", left_out=dict(self._left_out))
        self._written.clear()
        self._left_out.clear()
        self._window_ends = 0.0


def init_security_events(app: Quart) -> None:
    app.extensions["security_events"] = EventLog()


def record_refusal(response: Response) -> None:
    """After a request: whatever an attack would show in."""
    if response.status_code >= 400 and (kind := _kind_of(response.status_code, current_app.extensions["cookie_names"])):
        card = current_session().get("user")
        record_security_event(kind, user_id=card.get("id") if card else None, status=response.status_code)


def note_refusal(error: AppError) -> None:
    """What this request is refused for. Error handlers do so; pages that answer a refusal themselves must, too."""
    g.refused_for = "rate_limited" if isinstance(error, RateLimited) else error.code


def record_security_event(kind: str, *, user_id: int | None, status: int) -> None:
    """Count it and, unless there were too many, log it; within a request. Nothing of what was sent is in the line."""
    assert kind in KINDS
    METRICS.security_events.labels(kind).inc()
    if current_app.extensions["security_events"].admits(kind):
        log.warning(
            "Security event.",
            security_event=kind,
            address=(request.remote_addr or "")[:_MAX_ADDRESS],
            user_id=user_id,
            endpoint=request.endpoint,
            method=request.method if request.url_rule else None,
            status=status,
        )


def _kind_of(status: int, names: CookieNames) -> str | None:
    code = g.get("refused_for", "")
    if code.startswith("quota_"):
        return "quota"
    if code == "not_authenticated":
        return "not_signed_in" if names.name(AUTH) in request.cookies else None
    return _KINDS.get(code) or _KINDS_OF_STATUS.get(status)
