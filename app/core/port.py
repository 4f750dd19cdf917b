"""Opens HOST and PORT, or says in plain words why they cannot be had, before anything is started."""

import contextlib
import ctypes
import errno
import socket
import struct
import sys

from app.core.config import ConfigError, Settings

# Linux filters what reaches one socket, by a program of classic BPF; places are counted from the TCP header.
SO_ATTACH_FILTER = 26
DROP_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # of which SYN and ACK count
    (0x15, 0, 1, 0x02),  # SYN alone begins a connection
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # take
)


def refuse_new_connections(listening: socket.socket) -> None:
    """From here on nobody begins to connect; who has begun gets in. Others ask again after a second, and find the port closed."""
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in DROP_NEW_CONNECTIONS))
    with contextlib.suppress(OSError):  # a kernel without filters closes the port as it always did
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(DROP_NEW_CONNECTIONS), ctypes.addressof(program)))


def refuse_port_in_use(settings: Settings) -> None:
    """Raises ConfigError unless HOST and PORT can be listened on now."""
    for each in open_sockets(settings, listen=True):
        each.close()


def open_sockets(settings: Settings, *, listen: bool = False) -> list[socket.socket]:
    """One for each address of HOST; `::` is every address of both families. Raises ConfigError.

    Bound without `listen`, a port refuses connections until its server is up: a proxy then asks the next one.
    """
    opened: list[socket.socket] = []
    try:
        for family, address in _addresses(settings):
            opened.append(_bind(family, address, both=settings.host == "::"))
            if listen:  # two may bind to a port; only one may listen
                opened[-1].listen(1)
    except OSError as error:
        for each in opened:
            each.close()
        raise ConfigError([_explain(settings, error)]) from None
    return opened


def place(settings: Settings) -> str:
    """HOST:PORT, as a URL spells it."""
    return f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"


def _addresses(settings: Settings) -> list[tuple[int, tuple[str, int]]]:
    found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name may have an address of a family this machine lacks; the others will do.
    usable = [(family, address) for family, _, _, _, address in found if family != socket.AF_INET6 or has_ipv6() or len(found) == 1]
    return list(dict.fromkeys(usable))  # type: ignore[arg-type]


def has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


def _bind(family: int, address: tuple[str, int], *, both: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As servers do: connections of the last run that linger in TIME_WAIT are no obstacle.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        opened.bind(address)
        opened.set_inheritable(True)
    except OSError:
        opened.close()
        raise
    return opened


def _explain(settings: Settings, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"HOST={settings.host!r} is not an address or name of this machine"
    if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and ":" in settings.host:
        return f"HOST={settings.host!r} cannot be listened on ({error.strerror}): this machine has no such IPv6 address; use HOST=0.0.0.0"
    reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror})"
    return f"PORT={settings.port}: {place(settings)} {reason}; choose another, such as PORT={_another(settings.port)}"


def _another(port: int) -> int:
    return port + 1 if 1024 <= port < 65535 else 5001
