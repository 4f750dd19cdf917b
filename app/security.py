"""What every answer tells the browser to guard, and which requests are refused before anything looks at them."""

import re
from urllib.parse import urlsplit

from quart import Quart, Response, current_app, g, request

from app.config import Settings
from app.errors import AddressTooLong, BadRequest, CrossSite

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
LONGEST_RETURN = 2048
# Our longest parameters, a cursor and a return address, take 4 000 and 2 048.
LONGEST_QUERY = 16_384
_ENTRANCES = ("/login", "/logout")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{directive} {source}" for directive, source in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_ONE_YEAR_OF_TLS = "max-age=31536000; includeSubDomains"


def init_security(app: Quart, settings: Settings) -> None:
    """Check the host before every request and put the headers on every answer, errors and static files too."""
    hosts = frozenset(settings.allowed_hosts)
    headers = _HEADERS | ({"Strict-Transport-Security": _ONE_YEAR_OF_TLS} if settings.is_production else {})
    app.config["ORIGIN_SCHEMES"] = {"https"} if settings.is_production else {"http", "https"}

    @app.before_request
    async def refuse_foreign_host() -> None:
        # A load balancer asks for the health by address; those answers say the same to everybody.
        known = "*" in hosts or _name_of(request.headers.get("Host", "")) in hosts
        if not known and not request.path.startswith("/health/"):
            raise BadRequest("This server does not answer to that host name.", code="unknown_host")
        if len(request.query_string) > LONGEST_QUERY:
            raise AddressTooLong(f"What follows the question mark may have {LONGEST_QUERY} bytes.")

    @app.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.update(headers)
        if response.status_code in (204, 304):
            response.headers.pop("Content-Type", None)  # there is no content to have a type
        if not (request.path.startswith("/static/") and response.status_code < 400):
            response.headers["Cache-Control"] = "no-store"
        if g.get("signed_out"):
            # Not "cookies": that would clear those of every other application of the domain; ours are deleted by name.
            response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response


def refuse_cross_site() -> None:
    """Refuse a change another site asked this browser for. A request with neither header is a script's, and allowed."""
    if request.method in SAFE_METHODS:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _is_own(origin)):
        raise CrossSite("Changes are accepted from this site's own pages only.")


def clear_site_data() -> None:
    """Have the browser forget, with this answer, what it keeps of this site."""
    g.signed_out = True


def return_to(path: str | None) -> str:
    """Where to go after signing in: `path` if it is a path of this site, else the start page.

    Browsers read a backslash as a slash and skip tabs and line breaks, so `/\\e` and `/<TAB>/e` mean the host `e`.
    """
    if not path or len(path) > LONGEST_RETURN or not path.isprintable() or "\\" in path:
        return "/"
    if not path.startswith("/") or path.startswith("//"):
        return "/"
    return "/" if urlsplit(path).path.rstrip("/") in _ENTRANCES else path


def _is_own(origin: str) -> bool:
    """Whether an Origin names the host that was asked. Behind a proxy the scheme we see may not be the browser's."""
    scheme, _, host = origin.lower().partition("://")
    own = request.headers.get("Host", "").lower()
    default_port = _DEFAULT_PORTS.get(scheme, "")
    return scheme in current_app.config["ORIGIN_SCHEMES"] and host.removesuffix(default_port) == own.removesuffix(default_port)


def _name_of(host: str) -> str:
    """The name in a Host header: lower case, no port, no brackets."""
    match = re.fullmatch(r"(\[[0-9a-f:]+\]|[^:\[\]]+)(:\d{1,5})?", host.lower())
    return match[1].strip("[]") if match else ""
