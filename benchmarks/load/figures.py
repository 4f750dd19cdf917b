"""A server's own figures, asked for the way Prometheus does."""

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from thresholds import Figures, read_figures


def fetch(url: str, token: str | None) -> Figures | None:
    """None where they are refused or do not come."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return read_figures(answer.read().decode()) if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
