"""What the site's cookies are called, and which paths they go to.

`__Host-` is the strongest name, but takes no other path than `/`. Below a root path that would hand a login to whoever else has
a path of the same host, so there it is `__Secure-` with the root path: two installations on one host never see each other's.
Where two differ in their ports alone, which cookies do not know, COOKIE_SUFFIX tells them apart.
"""

from app.core.config import LOOPBACK_HOSTS, Settings
from app.core.root_path import root_path

AUTH, SESSION, REFUSED, DEVICE = "holdfast_auth", "holdfast_session", "holdfast_session_refused", "holdfast_device"


class CookieNames:
    """Of one installation. `plain` cookies have no prefix, because browsers keep prefixed ones over TLS only."""

    def __init__(self, *, plain: bool, suffix: str = "") -> None:
        self.plain = plain
        self._end = f"-{suffix}" if suffix else ""

    def name(self, base: str) -> str:
        base += self._end
        if self.plain:
            return base
        return f"__Secure-{base}" if root_path() else f"__Host-{base}"

    def path(self) -> str:
        return root_path() or "/"


def has_plain_cookies(settings: Settings) -> bool:
    """Browsers drop Secure cookies where there is no TLS, which only a development server on loopback may lack."""
    return not settings.is_production and settings.host in LOOPBACK_HOSTS
