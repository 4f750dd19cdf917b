"""nginx, HAProxy and Caddy with the files of docs/operations/proxy, as they are but for ports, paths and names."""

import os
import ssl
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory
from tests.servers.programs import find_program
from tests.servers.web import ROOT

FILES = ROOT / "docs" / "operations" / "proxy"
# The two hosts of the files: one of Holdfast's own, and one that is shared, where it is below a path.
OWN, SHARED = "localhost", "127.0.0.1"
UPSTREAMS = ("127.0.0.1:5001", "127.0.0.1:5002")
Changes = Mapping[str, str]


class ProxyServer(ServerProcess):
    """Listens on `port` (TLS) and `plain_port`; `certificate` is its own authority."""

    def __init__(self, kind: str, upstreams: Sequence[int], changes: Changes | None = None) -> None:
        self.kind = kind
        self.directory = held_directory(kind)
        # Its workers are nobody, where it is started by root.
        self.directory.chmod(0o755)
        self.plain_port = free_port()
        port = free_port()
        self.certificate = make_certificate(self.directory)
        self.file = self.directory / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}[kind]
        text = _PREPARE[kind](self, (FILES / self.file.name).read_text(), port)
        for given, taken in {**_of_upstreams(upstreams), **(changes or {})}.items():
            assert given in text, f"{self.file.name} has no {given!r}"
            text = text.replace(given, taken)
        self.file.write_text(text)
        super().__init__(
            _command(kind, self.file, self.directory), port=port, log=self.directory / "log", cwd=self.directory, env=self._environ()
        )
        self.url = f"https://{OWN}:{port}"
        self.shared_url = f"https://{SHARED}:{port}"

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def remove(self) -> None:
        self.kill()
        remove_directory(self.directory)

    def _environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.directory), "XDG_DATA_HOME": str(self.directory)}


def make_certificate(directory: Path) -> Path:
    """Signed by itself, for both hosts; `deals.pem` has the key as well."""
    certificate, key = directory / "deals.crt", directory / "deals.key"
    names = f"subjectAltName=DNS:{OWN},DNS:*.localhost,IP:{SHARED}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run([*command, "-subj", "/CN=tests", "-addext", names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (directory / "deals.pem").write_text(certificate.read_text() + key.read_text())
    return certificate


def _of_upstreams(ports: Sequence[int]) -> dict[str, str]:
    return {given: f"127.0.0.1:{port}" for given, port in zip(UPSTREAMS, ports, strict=True)}


def _command(kind: str, file: Path, directory: Path) -> list[str | Path]:
    program = find_program(kind)
    if kind == "nginx":
        return [program, "-p", directory, "-c", file, "-e", directory / "error.log"]
    return [program, "-db", "-f", file] if kind == "haproxy" else [program, "run", "--config", file]


def _nginx(server: ProxyServer, text: str, port: int) -> str:
    paths = "".join(f"    {name}_temp_path {server.directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user nobody nogroup;" if os.geteuid() == 0 else ""
    return _replaced(
        text,
        {
            "user www-data;": f"{user}\ndaemon off;",
            "worker_processes auto;": "worker_processes 2;",
            "/run/nginx.pid": f"{server.directory}/pid",
            "/var/log/nginx/": f"{server.directory}/",
            "http {\n": f"http {{\n{paths}",
            "/etc/ssl/deals.example.": f"{server.directory}/deals.",
            "listen 443": f"listen 127.0.0.1:{port}",
            "listen 80 ": f"listen 127.0.0.1:{server.plain_port} ",
            "deals.example": OWN,
            "office.example": SHARED,
        },
    )


def _haproxy(server: ProxyServer, text: str, port: int) -> str:
    return _replaced(
        text,
        {
            "bind :443": f"bind 127.0.0.1:{port}",
            "bind :80": f"bind 127.0.0.1:{server.plain_port}",
            "/etc/ssl/deals.example.pem": f"{server.directory}/deals.pem",
            "office.example": SHARED,
        },
    )


def _caddy(server: ProxyServer, text: str, port: int) -> str:
    ports = f"admin off\n\tauto_https disable_redirects\n\thttps_port {port}\n\thttp_port {server.plain_port}\n\tdefault_bind 127.0.0.1\n"
    return _replaced(
        text,
        {
            "{\n\tservers": f"{{\n\t{ports}\tservers",
            "/etc/ssl/deals.example.": f"{server.directory}/deals.",
            "\ndeals.example {": f"\n{OWN}:{port} {{",
            "\noffice.example {": f"\n{SHARED}:{port} {{",
        },
    )


def _replaced(text: str, changes: Changes) -> str:
    for given, taken in changes.items():
        assert given in text, given
        text = text.replace(given, taken)
    return text


_PREPARE: dict[str, Callable[[ProxyServer, str, int], str]] = {"nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}
