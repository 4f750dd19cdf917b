"""What trusted proxies say of a request: who sent it, over which scheme, to which host, port and path.

Only the nearest proxy is known for sure. What it says is believed if it is one of FORWARDED_ALLOW_IPS; of the chain it tells, the
first address from its end that is no trusted proxy is the client. Where a header is a list, the outermost trusted proxy's part of
it counts, so what a client has sent of its own stands before that and is not read. What is malformed is as if it were not there.

`Forwarded` (RFC 7239) is not read: a proxy that sets one family of headers and passes the other on would let clients choose.
"""

from collections.abc import Collection, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple

from app.core.config import Settings
from app.core.hosts import split_host
from app.core.root_path import clean_root_path, set_root_path
from app.core.trusted_proxies import TrustedProxies, parse_address

Message = MutableMapping[str, Any]

# More proxies than these stand before nobody; the rest of such a header is not looked at.
MAX_HOPS = 32
MAX_VALUE = 4096
MAX_KNOWN = 200
_FAMILY = b"x-forwarded-"
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Chain(NamedTuple):
    client: str | None
    # Of how many proxies, seen from us, a list may hold parts.
    hops: int


class ProxiesBelieved:
    """Around the whole application. Without a header of the family and without a root path a request passes untouched."""

    def __init__(self, app: Any, settings: Settings, *, own: Collection[str] = ()) -> None:
        """`own`: with what the addresses of the site begin."""
        self._app = app
        self._proxies = TrustedProxies(settings.forwarded_allow_ips)
        self._root = settings.root_path
        # A prefix that is also one of our own addresses cannot be told from it: there a proxy has to take it off.
        self._own = own
        # The same people come again and again.
        self._known = lru_cache(maxsize=4096)(self._chain)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        said: dict[bytes, str] | None = None
        for name, value in scope["headers"]:
            if name.startswith(_FAMILY):
                said = said or {}
                text = value.decode("latin-1")
                said[name] = f"{said[name]},{text}" if name in said else text
        root = self._root
        if said and self._proxies.trust((scope.get("client") or ("",))[0] or ""):
            scope = dict(scope)
            root = self._believe(scope, said)
        root = root or scope.get("root_path", "")
        set_root_path(root)
        if root:
            scope = {**scope, "root_path": root, "path": self._path_below(root, scope["path"])}
        await self._app(scope, receive, send)

    def _believe(self, scope: Message, said: dict[bytes, str]) -> str:
        """Change `scope` to what the proxies say; the root path."""
        chain = said.get(b"x-forwarded-for", "")
        client, hops = self._known(chain) if len(chain) <= MAX_KNOWN else self._chain(chain)
        if client:
            scope["client"] = (client, 0)
        scheme = _of_hop(said.get(b"x-forwarded-proto", ""), hops).lower()
        if scheme in _DEFAULT_PORTS:
            scope["scheme"] = scheme
        if b"x-forwarded-host" in said or b"x-forwarded-port" in said:
            self._believe_host(scope, said, hops)
        return self._root or _prefix(said.get(b"x-forwarded-prefix", ""), hops)

    def _chain(self, header: str) -> Chain:
        client, hops = None, 1
        for part in reversed(header[-MAX_VALUE:].split(",")[-MAX_HOPS:]):
            address = parse_address(part)
            if address is None:
                break  # whoever wrote that, the one before it is the last we know
            client = str(address)
            if not self._proxies.trusts(address):
                break
            hops += 1
        return Chain(client, hops)

    @staticmethod
    def _believe_host(scope: Message, said: dict[bytes, str], hops: int) -> None:
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        host = _of_hop(said.get(b"x-forwarded-host", ""), hops)
        name, port = split_host(host)
        if not name:
            host = given
            name, port = split_host(given)
        stated = _of_hop(said.get(b"x-forwarded-port", ""), hops)
        # A port in the host is what the browser used; the other one may be that of a socket inside some container.
        if name and not port and _is_port(stated) and stated != _DEFAULT_PORTS.get(scope["scheme"]):
            host = f"{host}:{stated}"
        if host != given:
            scope["headers"] = [(b"host", host.encode("latin-1")), *(pair for pair in scope["headers"] if pair[0] != b"host")]

    def _path_below(self, root: str, path: str) -> str:
        """The path with the root path, as ASGI has it, whether or not a proxy has taken it off."""
        passed_on = path == root or path.startswith(f"{root}/")
        if passed_on and root.split("/", 2)[1] in self._own:
            passed_on = False
        path = path if passed_on else root + path
        return path if path != root else f"{root}/"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536


def _of_hop(value: str, hops: int) -> str:
    """The part that the outermost trusted proxy has written."""
    parts = value[-MAX_VALUE:].split(",")
    return parts[max(0, len(parts) - hops)].strip()


def _prefix(value: str, hops: int) -> str:
    """Each proxy that takes something off adds what it was, the outermost first."""
    parts = value[-MAX_VALUE:].split(",")[-hops:]
    try:
        return clean_root_path("".join(clean_root_path(part.strip()) for part in parts))
    except ValueError:
        return ""
