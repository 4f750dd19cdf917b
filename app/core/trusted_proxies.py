"""FORWARDED_ALLOW_IPS: whose word about a request counts, and who may hold many connections because they speak for many people."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYBODY, UNIX = "*", "unix"
# Most remembered answers to "is this a proxy of ours".
MAX_KNOWN_ADDRESSES = 10_000
_MAPPED_V4 = ipaddress.IPv6Network("::ffff:0:0/96")


class TrustedProxies:
    """Addresses and networks, `unix` for whoever comes by a socket file, `*` for everybody. Goes to other processes as it is."""

    def __init__(self, setting: str) -> None:
        parts = [part.strip() for part in setting.split(",") if part.strip()]
        self.anybody = ANYBODY in parts
        self._unix = UNIX in parts
        self._networks = tuple(parse_network(part) for part in parts if part not in (ANYBODY, UNIX))
        self._known: dict[str, bool] = {}

    def trust(self, host: str) -> bool:
        """Whether the peer `host` may speak for others; a socket file has no host."""
        if self.anybody:
            return True
        if not host:
            return self._unix
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= MAX_KNOWN_ADDRESSES:
                self._known.clear()
            address = parse_address(host)
            known = self._known[host] = address is not None and self.trusts(address)
        return known

    def trusts(self, address: Address) -> bool:
        return self.anybody or any(address in network for network in self._networks if network.version == address.version)


def parse_network(text: str) -> Network:
    """An address or a network, also by one of its addresses. IPv4 written as IPv6 is IPv4. Raises ValueError."""
    network = ipaddress.ip_network(text.strip(), strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED_V4):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def parse_address(text: str) -> Address | None:
    """An address as such headers have it: bare, with a port, in brackets. IPv4 written as IPv6 is IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text, closed, port = text[1:].partition("]")
        if not closed or (port and not port[1:].isdecimal()):
            return None
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
