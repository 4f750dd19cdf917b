"""What every answer tells the browser to guard, and which requests are refused before anything looks at them."""

from urllib.parse import unquote, urlsplit

from quart import Request, Response, current_app, g, request

from app.core.config import Settings
from app.core.errors import AddressTooLong, BadRequest, CrossSite
from app.core.hosts import HostRules, split_host
from app.core.root_path import root_path
from app.http.app import HoldfastApp

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
MAX_RETURN = 2048
# Our longest parameters, a cursor and a return address, take 4 000 and 2 048.
MAX_QUERY = 16_384
_ENTRANCES = ("/login", "/logout")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

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


def init_security(app: HoldfastApp, settings: Settings) -> None:
    """Put the headers on every answer, errors and static files too."""
    headers = _HEADERS | ({"Strict-Transport-Security": _ONE_YEAR_OF_TLS} if settings.is_production else {})
    app.constant_headers += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    app.config["ORIGIN_SCHEMES"] = {"https"} if settings.is_production else {"http", "https"}


def refuse_foreign_host(request: Request, hosts: HostRules) -> None:
    # A load balancer asks for the health by address; those answers say the same to everybody. What is no route there, such as a
    # redirect that would name the host, is not among them.
    is_health = request.url_rule is not None and request.path.startswith("/health/")
    if not is_health and not hosts.allow(request.headers.get("Host", "")):
        raise BadRequest("This server does not answer to that host name.", code="unknown_host")
    if len(request.query_string) > MAX_QUERY:
        raise AddressTooLong(f"What follows the question mark may have {MAX_QUERY} bytes.")


def add_headers(request: Request, response: Response) -> None:
    """After a request: those that depend on the answer."""
    if response.status_code in (204, 304):
        response.headers.pop("Content-Type", None)  # there is no content to have a type
    if not (request.path.startswith("/static/") and response.status_code < 400):
        response.headers["Cache-Control"] = "no-store"
    if g.get("signed_out"):
        # Not "cookies": that would clear those of every other application of the domain; ours are deleted by name.
        # Below a root path the storage is the neighbours' as well; drafts.js takes what is ours out of it.
        response.headers["Clear-Site-Data"] = '"cache"' if root_path() else '"cache", "storage"'


def refuse_cross_site() -> None:
    """Refuse a change another site asked this browser for. A request with neither header is a script's, and allowed."""
    if request.method in SAFE_METHODS:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _is_own(origin, vouched=site == "same-origin")):
        raise CrossSite("Changes are accepted from this site's own pages only.")


def clear_site_data() -> None:
    """Have the browser forget, with this answer, what it keeps of this site."""
    g.signed_out = True


def return_to(path: str | None) -> str:
    """Where to go after signing in: `path` if it is a path of this site, else the start page.

    Browsers read a backslash as a slash and skip tabs and line breaks, so `/\\e` and `/<TAB>/e` mean the host `e`.
    """
    if not path or len(path) > MAX_RETURN or not path.isprintable() or "\\" in path:
        return "/"
    if not path.startswith("/") or path.startswith("//"):
        return "/"
    only_path = urlsplit(path).path
    # ".." would lead out of a root path, whoever else lives there.
    if ".." in unquote(only_path).split("/") or only_path.rstrip("/") in _ENTRANCES:
        return "/"
    return path


def own_address() -> str:
    """Scheme, host, port and root path as the browser has them, for a link that is passed on.

    A change that got here names them in `Origin`, also where a proxy keeps the port to itself.
    """
    origin = request.headers.get("Origin")
    return (origin if origin and request.method not in SAFE_METHODS else request.host_url.rstrip("/")) + root_path()


def _is_own(origin: str, *, vouched: bool) -> bool:
    """Whether an Origin names the host that was asked. Behind a proxy the scheme we see may not be the browser's.

    `vouched`: the browser itself says the page is of the origin it asks, by a header that no script can set. Then a port that a
    proxy has dropped does not matter. Without that word it does: cookies know no ports, so another one is another site.
    """
    scheme, _, host = origin.lower().partition("://")
    name, port = split_host(host)
    own_name, own_port = split_host(request.headers.get("Host", ""))
    if not name or scheme not in current_app.config["ORIGIN_SCHEMES"] or name != own_name:
        return False
    default_port = _DEFAULT_PORTS.get(scheme, "")
    return vouched or (port or default_port) == (own_port or default_port)
