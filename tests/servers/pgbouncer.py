"""Debian's PgBouncer in front of a PostgreSQL of the tests."""

from pathlib import Path

from sqlalchemy import make_url

from tests.servers.postgresql import unprivileged
from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory, wait_until
from tests.servers.programs import find_program


class PgBouncer(ServerProcess):
    """In `pool_mode` "session" or "transaction"; keyword options are its configuration, `database` what it says for the database."""

    def __init__(self, server_url: str, pool_mode: str, *, database: str = "", **options: str) -> None:
        target = make_url(server_url)
        identity = unprivileged()  # it refuses to run as root, too
        self.directory = held_directory("pgbouncer", parent=Path("/var/tmp"))
        self.directory.chmod(0o755)
        port = free_port()
        users = self.directory / "users"
        users.write_text(f'"{target.username}" ""\n"holdfast" "secret"\n')
        configuration = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(users),
            "admin_users": str(target.username),
            "pool_mode": pool_mode,
            # Fewer than clients, so that a client meets another server each time.
            "default_pool_size": "6" if pool_mode == "transaction" else "60",
            "max_client_conn": "300",
            "server_idle_timeout": "600",
            "log_connections": "0",
            "log_disconnections": "0",
        } | options
        ini = self.directory / "pgbouncer.ini"
        lines = [f"* = host={target.host} port={target.port} {database}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in configuration.items()]
        ini.write_text("[databases]\n" + "\n".join(lines) + "\n")
        super().__init__([find_program("pgbouncer"), ini], port=port, log=self.directory / "log", cwd=self.directory, **identity)
        self.url = target.set(port=port).render_as_string(hide_password=False)

    def start(self) -> None:
        super().start()
        wait_until(self.accepts, within=10, what="PgBouncer")

    def url_of(self, database_url: str) -> str:
        """The same database, through this."""
        return make_url(database_url).set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)

    def remove(self) -> None:
        self.cont()
        self.kill()
        remove_directory(self.directory)
