"""What preparing and serving share."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
NAMES = ("reader", "writer", "leaver", "newcomer")
PASSWORD = "correct-horse-battery-staple"


def address(name: str) -> str:
    return f"{name}@comparison.example"


def prepare_environment() -> None:
    """Default settings, but for probe and poll, which are turned down so that a return to Redis takes one second rather than ten."""
    os.environ |= {
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"sqlite:///{os.environ['SITE_DIR']}/holdfast.db",
        "SECRET_KEY": "only-for-this-comparison" * 2,
        "LOG_FORMAT": "json",
        "PROBE_RISE_SECONDS": "1",
        "PROBE_INTERVAL_SECONDS": "0.2",
        "SESSION_BACKEND_POLL_SECONDS": "0.2",
    }
    sys.path.insert(0, str(ROOT))
    os.chdir(os.environ["SITE_DIR"])
