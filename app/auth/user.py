"""The login cookie: quart-auth's, holding a random token that can be revoked, never an id."""

from quart import Quart
from quart_auth import AuthUser, QuartAuth

from app.config import LOOPBACK_HOSTS, Settings

NAME = "holdfast_auth"


class LoginCookie(AuthUser):
    """Who the browser says it is. Only the session library knows whether that still holds."""

    def __repr__(self) -> str:
        # quart-auth's own would put the token into a log line or a traceback.
        return f"LoginCookie(action={self.action.name})"


def has_plain_cookies(settings: Settings) -> bool:
    """Browsers drop Secure cookies where there is no TLS, which only a development server on loopback may lack."""
    return not settings.is_production and settings.host in LOOPBACK_HOSTS


def make_login_cookie(app: Quart, settings: Settings) -> QuartAuth:
    plain = has_plain_cookies(settings)
    return QuartAuth(
        app,
        cookie_name=NAME if plain else f"__Host-{NAME}",
        cookie_path="/",
        cookie_http_only=True,
        cookie_samesite="Lax",
        cookie_secure=not plain,
        duration=int(settings.login_lifetime.total_seconds()),
        salt="holdfast login",
        user_class=LoginCookie,
    )
