"""The login cookie: quart-auth's, holding a random token that can be revoked, never an id."""

from quart import Quart
from quart_auth import AuthUser, QuartAuth

from app.config import Settings
from app.cookies import AUTH, CookieNames


class LoginCookie(AuthUser):
    """Who the browser says it is. Only the session library knows whether that still holds."""

    def __repr__(self) -> str:
        # quart-auth's own would put the token into a log line or a traceback.
        return f"LoginCookie(action={self.action.name})"


class LoginAuth(QuartAuth):
    """quart-auth, with the cookie's name and path those of the root path at hand."""

    names = CookieNames(plain=True)

    @property
    def cookie_name(self) -> str:
        return self.names.name(AUTH)

    @cookie_name.setter
    def cookie_name(self, value: str | None) -> None:
        """Quart-auth's own initialisation has a fixed one in mind."""

    @property
    def cookie_path(self) -> str:
        return self.names.path()

    @cookie_path.setter
    def cookie_path(self, value: str | None) -> None:
        """Likewise."""


def make_login_cookie(app: Quart, settings: Settings, names: CookieNames) -> QuartAuth:
    auth = LoginAuth(
        cookie_http_only=True,
        cookie_samesite="Lax",
        cookie_secure=not names.plain,
        duration=int(settings.login_lifetime.total_seconds()),
        salt="holdfast login",
        user_class=LoginCookie,
    )
    auth.names = names
    auth.init_app(app)
    return auth
