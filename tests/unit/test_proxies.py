"""Who is believed about a request, and what: real ASGI scopes through the middleware, to an application that keeps them."""

from typing import Any

import pytest

from app.core.config import load_settings
from app.core.root_path import root_path
from app.core.trusted_proxies import TrustedProxies, parse_address
from app.http.proxies import ProxiesBelieved

PROXY, EDGE, CLIENT, SPOOFED = "10.0.0.1", "10.0.0.2", "203.0.113.7", "198.51.100.66"
OWN = frozenset({"", "deals", "api", "static"})


async def passed(
    said: list[tuple[str, str]] | dict[str, str],
    *,
    peer: tuple[str, int] | None = (PROXY, 40000),
    trusted: str = "10.0.0.0/24",
    root: str = "",
    path: str = "/deals",
    host: str = "inside:5001",
    server_root: str = "",
) -> dict[str, Any]:
    """The scope that the application sees."""
    seen: dict[str, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, root_seen=root_path())

    pairs = list(said.items() if isinstance(said, dict) else said)
    headers = [(b"host", host.encode()), *((f"x-forwarded-{name}".encode(), value.encode("latin-1")) for name, value in pairs)]
    scope = {"type": "http", "scheme": "http", "path": path, "root_path": server_root, "client": peer, "headers": headers}
    before = {**scope, "headers": list(headers)}
    settings = load_settings({"SECRET_KEY": "only-for-tests-" * 3, "FORWARDED_ALLOW_IPS": trusted, "ROOT_PATH": root})
    await ProxiesBelieved(application, settings, own=OWN)(scope, None, None)
    assert scope == before, "what the server handed over is the server's"
    seen["client"] = (seen["client"] or (None,))[0]
    seen["host"] = next(value.decode() for name, value in seen["headers"] if name == b"host")
    assert [name for name, _ in seen["headers"]].count(b"host") == 1
    return seen


ALL = {"for": CLIENT, "proto": "https", "host": "deals.example", "port": "8443", "prefix": "/holdfast"}


async def test_a_trusted_proxy_is_believed() -> None:
    seen = await passed(ALL)
    assert (seen["client"], seen["scheme"], seen["host"]) == (CLIENT, "https", "deals.example:8443")
    assert (seen["root_path"], seen["path"], seen["root_seen"]) == ("/holdfast", "/holdfast/deals", "/holdfast")


@pytest.mark.parametrize("peer", [("192.0.2.1", 1), ("10.0.1.1", 1), ("::1", 1), None, ("", 0), ("nonsense", 1)])
async def test_nobody_else_is(peer: tuple[str, int] | None) -> None:
    seen = await passed(ALL, peer=peer)
    assert (seen["client"], seen["scheme"], seen["host"]) == (peer[0] if peer else None, "http", "inside:5001")
    assert (seen["root_path"], seen["path"], seen["root_seen"]) == ("", "/deals", "")


@pytest.mark.parametrize(
    ("trusted", "host", "wanted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.1.2.3/8", "10.200.0.1", True),  # a network by one of its addresses
        ("fd00::/8, ::1", "fd12:3456::7", True),
        ("fd00::/8, ::1", "0:0:0:0:0:0:0:1", True),
        ("fd00::/8", "fe80::1", False),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("::ffff:10.0.0.0/104", "::ffff:11.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "::1", False),
        ("unix", "", True),
        ("unix:", "", True),
        ("unix", "127.0.0.1", False),
        ("10.0.0.0/8", "", False),
        ("*", "", True),
        ("*", "whatever", True),
    ],
)
def test_who_is_trusted(trusted: str, host: str, wanted: bool) -> None:
    setting = load_settings({"SECRET_KEY": "only-for-tests-" * 3, "FORWARDED_ALLOW_IPS": trusted}).forwarded_allow_ips
    assert TrustedProxies(setting).trust(host) is wanted


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}, {EDGE}", CLIENT),
        (f"{SPOOFED}, {CLIENT}", CLIENT),
        (f"{SPOOFED}, {CLIENT}, {EDGE}", CLIENT),
        (f"{SPOOFED},{EDGE},{CLIENT},{EDGE}", CLIENT),  # a trusted address that a client made up
        (f" {CLIENT}:51234 ", CLIENT),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ('"[2001:db8::7]"', "2001:db8::7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"{EDGE}, 10.0.0.3", EDGE),  # nothing but proxies: the farthest
        # Malformed: the last one that can be known.
        ("", PROXY),
        ("unknown", PROXY),
        (f"unknown, {EDGE}", EDGE),
        (f"{CLIENT}, , {EDGE}", EDGE),
        ("999.1.1.1", PROXY),
        ("1.2.3.4.5", PROXY),
        ("[::1", PROXY),
        ("[::1]x", PROXY),
        ("<script>", PROXY),
        ("\xff\xfe", PROXY),
        ("'; DROP TABLE logins; --", PROXY),
        (f"{SPOOFED}," * 3000 + CLIENT, CLIENT),
        (f"{EDGE}," * 3000 + EDGE, EDGE),
    ],
)
async def test_the_client_is_the_first_address_that_is_no_trusted_proxy(header: str, client: str) -> None:
    assert (await passed({"for": header}))["client"] == client


async def test_several_lines_of_a_header_are_one_list() -> None:
    assert (await passed([("for", SPOOFED), ("for", CLIENT), ("for", EDGE)]))["client"] == CLIENT


@pytest.mark.parametrize(
    ("chain", "values", "wanted"),
    [
        (CLIENT, "https", "https"),  # set by the one proxy
        (f"{CLIENT}, {EDGE}", "https, http", "https"),  # added by each
        (f"{CLIENT}, {EDGE}", "http, https, http", "https"),  # ... after what a client made up
        (CLIENT, "http, https", "https"),
        (f"{CLIENT}, {EDGE}", "https", "https"),  # handed on by the second
        (CLIENT, "HTTPS", "https"),
        ("", "https", "https"),
        (CLIENT, "gopher", "http"),
        (CLIENT, "", "http"),
        (CLIENT, "https:", "http"),
    ],
)
async def test_of_a_list_the_outermost_trusted_proxys_part_counts(chain: str, values: str, wanted: str) -> None:
    assert (await passed({"for": chain, "proto": values}))["scheme"] == wanted


@pytest.mark.parametrize(
    ("said", "host", "wanted"),
    [
        ({"host": "deals.example:8443"}, "inside", "deals.example:8443"),
        ({"host": "deals.example", "port": "8443"}, "inside", "deals.example:8443"),
        ({"port": "8443"}, "deals.example", "deals.example:8443"),  # nginx: Host $host
        ({"port": "443", "proto": "https"}, "deals.example", "deals.example"),
        ({"port": "80"}, "deals.example", "deals.example"),
        ({"port": "443"}, "deals.example", "deals.example:443"),
        ({"port": "8080"}, "deals.example:8443", "deals.example:8443"),  # what the browser used is better than a socket in a container
        ({"host": "[2001:db8::7]", "port": "8443"}, "inside", "[2001:db8::7]:8443"),
        ({"host": "evil.example, deals.example"}, "inside", "deals.example"),
        ({"port": "1, 8443"}, "deals.example", "deals.example:8443"),
        *(({"port": port}, "deals.example", "deals.example") for port in ("0", "65536", "-1", "x", "", "8443x", "٨٤٤٣", "9" * 400)),
        *(
            ({"host": host}, "inside:5001", "inside:5001")
            for host in ("", "a/b", "a@b", "a b", "user@deals.example", "a:b", "a:99999", "[::1", "http://deals.example", "\xff/")
        ),
    ],
)
async def test_host_and_port(said: dict[str, str], host: str, wanted: str) -> None:
    said = {name: value.encode("utf-8").decode("latin-1") for name, value in said.items()}
    assert (await passed(said, host=host))["host"] == wanted


@pytest.mark.parametrize(
    ("prefix", "root"),
    [
        ("/holdfast", "/holdfast"),
        ("/holdfast/", "/holdfast"),
        ("holdfast", "/holdfast"),
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ("/", ""),
        *(
            (bad, "")
            for bad in ("", "//evil.example", "/a//b", "/a/../b", "/..", "/a b", '/"><script>', "/a?b", "/a#b", "/%2e", "/\\e", "/ü")
        ),
        ("/" + "a" * 500, ""),
        ("/a\r\nSet-Cookie: x", ""),
    ],
)
async def test_prefix(prefix: str, root: str) -> None:
    if prefix == "//evil.example":
        root = "/evil.example"  # a path of this host by now, and nobody's host
    seen = await passed({"prefix": prefix.encode("utf-8").decode("latin-1")})
    assert (seen["root_path"], seen["path"]) == (root, f"{root}/deals")


async def test_each_proxy_that_takes_a_part_of_the_path_off_adds_it() -> None:
    seen = await passed([("for", f"{CLIENT}, {EDGE}"), ("prefix", "/made-up"), ("prefix", "/outer"), ("prefix", "/inner")])
    assert seen["root_path"] == "/outer/inner"


@pytest.mark.parametrize("root_by", ["setting", "header", "server"])
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/deals", "/holdfast/deals"),  # taken off by the proxy
        ("/holdfast/deals", "/holdfast/deals"),  # passed through
        ("/holdfast", "/holdfast/"),
        ("/holdfast/", "/holdfast/"),
        ("/", "/holdfast/"),
        ("/holdfastly", "/holdfast/holdfastly"),
        ("/x/holdfast/deals", "/holdfast/x/holdfast/deals"),
    ],
)
async def test_the_proxy_may_take_the_path_off_or_pass_it_through(root_by: str, path: str, wanted: str) -> None:
    seen = await passed(
        {"prefix": "/holdfast"} if root_by == "header" else {},
        root="/holdfast" if root_by == "setting" else "",
        server_root="/holdfast" if root_by == "server" else "",
        path=path,
    )
    assert (seen["root_path"], seen["path"], seen["root_seen"]) == ("/holdfast", wanted, "/holdfast")


async def test_a_path_that_is_also_an_address_of_ours_is_one_the_proxy_has_taken_off() -> None:
    assert (await passed({}, root="/deals/here", path="/deals/here"))["path"] == "/deals/here/deals/here"


async def test_the_setting_beats_the_header() -> None:
    assert (await passed({"prefix": "/other"}, root="/holdfast"))["root_path"] == "/holdfast"


@pytest.mark.parametrize("text", ["", " ", "x", "1", "::", "1.2.3.4:x:y", "[1.2.3.4]:5:6"])
def test_odd_addresses_raise_nothing(text: str) -> None:
    found = parse_address(text)
    assert found is None or str(found) == "::"
