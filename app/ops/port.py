"""Says in plain words that a port cannot be had, before anything is started."""

import errno
import socket

from app.config import ConfigError, Settings


def refuse_port_in_use(settings: Settings) -> None:
    """Raises ConfigError unless HOST and PORT can be listened on now."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            # As the server does: connections of the last run that linger in TIME_WAIT are no obstacle.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            # Two may bind to a port; only one may listen.
            trial.listen(1)
    except socket.gaierror:
        raise ConfigError([f"HOST={settings.host!r} is not an address or name of this machine"]) from None
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror})"
        raise ConfigError([f"PORT={settings.port}: {where} {reason}; choose another, such as PORT={_another(settings.port)}"]) from None


def _another(port: int) -> int:
    return port + 1 if 1024 <= port < 65535 else 5001
