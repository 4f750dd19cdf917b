"""HOST and PORT: what is in the way is said in plain words."""

import socket
import sys

import pytest

from app.core.config import ConfigError, load_settings
from app.core.port import has_ipv6, open_sockets, refuse_new_connections, refuse_port_in_use
from tests.servers.process import free_port


def test_port_in_use_is_said_whatever_family_uses_it() -> None:
    for mine, theirs in (
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("::", "::1"),
        ("localhost", "127.0.0.1"),
    ):
        if ":" in mine + theirs and not has_ipv6():
            continue
        port = str(free_port())
        held = open_sockets(load_settings({"HOST": theirs, "PORT": port}), listen=True)
        with pytest.raises(ConfigError, match=f"PORT={port}: .* is in use; choose another"):
            refuse_port_in_use(load_settings({"HOST": mine, "PORT": port}))
        for each in held:
            each.close()
        refuse_port_in_use(load_settings({"HOST": mine, "PORT": port}))


def test_address_that_is_none_of_this_machine_is_said() -> None:
    with pytest.raises(ConfigError, match=r"HOST='nowhere\.invalid' is not an address or name of this machine"):
        refuse_port_in_use(load_settings({"HOST": "nowhere.invalid"}))
    with pytest.raises(ConfigError, match="2001:db8::1"):
        refuse_port_in_use(load_settings({"HOST": "2001:db8::1"}))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filters are Linux's")
def test_whoever_has_reached_a_port_gets_in_and_nobody_after_them() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as early,
        socket.socket() as late,
    ):
        early.sendall(b"asked")
        refuse_new_connections(listening)
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.connect(listening.getsockname())
        taken, _ = listening.accept()
        with taken:
            assert taken.recv(10) == b"asked"
            taken.sendall(b"answered")
        assert early.recv(10) == b"answered"
