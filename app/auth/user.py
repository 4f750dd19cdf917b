"""The login cookie: quart-auth's, holding a random token that can be revoked, never an id.

The signature proves who wrote it, not when: SQL decides how long a login lives, and the clock of the server that signed
may be ahead of the one that reads. The format stays quart-auth's, timestamp and all, so that versions side by side read each other.
"""

from typing import Any

from quart import Quart, Response, g, has_request_context, request
from quart_auth import Action, AuthUser, QuartAuth
from quart_auth.extension import _AuthSerializer

from app.core.config import Settings
from app.core.cookies import AUTH, CookieNames
from app.core.metrics import METRICS
from app.core.recent import Recent

# A browser sends several of one name only where somebody else has set one, for a domain or a path; more than a few are an attack.
MAX_VALUES = 5


class LoginCookie(AuthUser):
    """The browser's claim of identity. Only the session library knows whether it is still valid.

    `tokens`: of every cookie of this name that can be read; the first of them is `auth_id`. `is_unreadable`: there is one that no
    key of this server has signed; its login is unknown here.
    """

    def __init__(
        self, auth_id: str | None, action: Action = Action.PASS, *, tokens: tuple[str, ...] = (), is_unreadable: bool = False
    ) -> None:
        super().__init__(auth_id, action)
        self.tokens = tokens
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
    """quart-auth without a maximum age. It distinguishes an unreadable cookie from none; name and path follow the root path."""

    serializer_class = _AgelessSerializer
    user_class = LoginCookie
    names = CookieNames(plain=True)

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._tokens = Recent[str]()

    @property
    def cookie_name(self) -> str:
        return self.names.name(AUTH)

    @cookie_name.setter
    def cookie_name(self, value: str | None) -> None:
        """quart-auth's own initialisation has a fixed one in mind."""

    @property
    def cookie_path(self) -> str:
        return self.names.path()

    @cookie_path.setter
    def cookie_path(self, value: str | None) -> None:
        """Likewise."""

    async def after_request(self, response: Response) -> Response:
        """Who has signed in or out gets their cookie. For that nobody's has to be read who was not asked for it."""
        user: AuthUser | None = vars(g._get_current_object()).get(self.attribute_name)
        return response if user is None or user.action is Action.PASS else await super().after_request(response)

    def load_user(self) -> AuthUser:
        """As quart-auth has it, by one look at what belongs to the request: it is asked for twice in each."""
        if not has_request_context():
            return super().load_user()
        kept = vars(g._get_current_object())
        user: AuthUser | None = kept.get(self.attribute_name)
        if user is None:
            user = kept[self.attribute_name] = self.resolve_user()
        return user

    def resolve_user(self) -> AuthUser:
        if not has_request_context():
            return super().resolve_user()
        values = [value for value in request.cookies.getlist(self.cookie_name) if value]
        tokens = tuple(token for value in values[:MAX_VALUES] if (token := self._tokens.get(value, self.load_token)) is not None)
        if values and not tokens:
            METRICS.login_cookies_unreadable.inc()
        # The first readable one: a stray cookie of another path must not sign anybody out.
        return LoginCookie(tokens[0] if tokens else None, tokens=tokens, is_unreadable=len(tokens) < len(values))


def make_login_cookie(app: Quart, settings: Settings, names: CookieNames) -> QuartAuth:
    auth = LoginCookies(
        cookie_http_only=True,
        cookie_samesite="Lax",
        cookie_secure=not names.plain,
        duration=int(settings.login_lifetime.total_seconds()),
        salt="holdfast login",
    )
    auth.names = names
    auth.init_app(app)
    return auth
