"""Names and addresses of hosts: as a header gives them, as a setting allows them, whom they are counted as."""

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]/@\s]+)(?::(\d{1,5}))?")
_RULE = re.compile(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def network_of(address: str) -> str:
    """Who is counted together: an IPv4 address, however it is spelled, or the /64 of an IPv6 one: a household has 2^64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def split_host(header: str) -> tuple[str, str]:
    """The name and the port of a Host header; "" for what is none.

    Lower case, without brackets and the dot that may end a full name; an IPv6 address in its shortest form.
    """
    match = _HOST.fullmatch(header.strip().lower())
    if match is None or (match[2] and int(match[2]) > 65535):
        return "", ""
    name = match[1]
    if name.startswith("["):
        return _shortest(name[1:-1]), match[2] or ""
    return name.removesuffix("."), match[2] or ""


def clean_host_rule(text: str) -> str:
    """One entry of ALLOWED_HOSTS. Raises ValueError for what is no name, such as a URL or a name with a port."""
    rule = text.strip().lower()
    if rule.count(":") > 1:
        return str(ipaddress.IPv6Address(rule.strip("[]")))
    rule = rule.removesuffix(".") or rule
    if not _RULE.fullmatch(rule):
        raise ValueError("no host name")
    return rule


class HostRules:
    """Which names the site answers to. `.example.com` is that domain and everything below it, as Django has it; `*` is any name."""

    def __init__(self, rules: Iterable[str]) -> None:
        given = frozenset(rules)
        self._any = "*" in given
        self._names = given
        # A tuple, because str.endswith takes one.
        self._domains = tuple(rule for rule in given if rule.startswith("."))

    def allow(self, header: str) -> bool:
        if self._any:
            return True
        name, _ = split_host(header)
        return bool(name) and (name in self._names or (bool(self._domains) and f".{name}".endswith(self._domains)))


def _shortest(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        return ""
