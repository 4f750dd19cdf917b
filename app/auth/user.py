"""The login cookie: quart-auth's, holding a random token that can be revoked, never an id.

Its signature says who wrote it, never when: how long a login lives is for SQL to say, and the clock of the server that signed
may be ahead of the one that reads. The format stays quart-auth's, timestamp and all, so that versions side by side read each other.
"""

from typing import Any

from quart import Quart, has_request_context, request
from quart_auth import Action, AuthUser, QuartAuth
from quart_auth.extension import _AuthSerializer

from app.config import LOOPBACK_HOSTS, Settings
from app.metrics import METRICS

NAME = "holdfast_auth"
# A browser sends several of one name only where somebody else has set one, for a domain or a path; more than a few are an attack.
MOST_VALUES = 5


class LoginCookie(AuthUser):
    """Who the browser says it is. Only the session library knows whether that still holds.

    `is_unreadable`: there is a cookie, and no key of this server has signed it. Whose login it stands for nobody here can say.
    """

    def __init__(self, auth_id: str | None, action: Action = Action.PASS, *, is_unreadable: bool = False) -> None:
        super().__init__(auth_id, action)
        self.is_unreadable = is_unreadable

    def __repr__(self) -> str:
        # quart-auth's own would put the token into a log line or a traceback.
        return f"LoginCookie(action={self.action.name})"


class _AgelessSerializer(_AuthSerializer):
    def loads(  # type: ignore[override]
        self, s: str | bytes, max_age: int | None = None, return_timestamp: bool = False, salt: str | bytes | None = None
    ) -> Any:
        return super().loads(s, max_age=None, return_timestamp=return_timestamp, salt=salt)


class LoginCookies(QuartAuth):
    """quart-auth without an opinion on ages, which tells a cookie it cannot read from none."""

    serializer_class = _AgelessSerializer
    user_class = LoginCookie

    def resolve_user(self) -> AuthUser:
        if not has_request_context():
            return super().resolve_user()
        values = [value for value in request.cookies.getlist(str(self.cookie_name)) if value][:MOST_VALUES]
        for value in values:
            # The first that can be read: a stray one beside it, of another path, is nobody's reason to be signed out.
            if (token := self.load_token(value)) is not None:
                return LoginCookie(token)
        if values:
            METRICS.login_cookies_unreadable.inc()
        return LoginCookie(None, is_unreadable=bool(values))


def has_plain_cookies(settings: Settings) -> bool:
    """Browsers drop Secure cookies where there is no TLS, which only a development server on loopback may lack."""
    return not settings.is_production and settings.host in LOOPBACK_HOSTS


def make_login_cookie(app: Quart, settings: Settings) -> QuartAuth:
    plain = has_plain_cookies(settings)
    return LoginCookies(
        app,
        cookie_name=NAME if plain else f"__Host-{NAME}",
        cookie_path="/",
        cookie_http_only=True,
        cookie_samesite="Lax",
        cookie_secure=not plain,
        duration=int(settings.login_lifetime.total_seconds()),
        salt="holdfast login",
    )
