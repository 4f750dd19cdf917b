"""Who signs in: the demo's people, or those of a file."""

from dataclasses import dataclass
from pathlib import Path

# As `holdfast seed-demo` lays them out; the one without a deal asks anew once a minute whether there is one to come back to.
DEMO_PASSWORD = "holdfast-demo-password"
DEMO = ("admin@google", "lead@google", "analyst@google", "admin@microsoft", "lead@microsoft", "analyst@microsoft", "solo@microsoft")
WITHOUT_DEAL = "nobody@microsoft"


@dataclass(frozen=True)
class Account:
    email: str
    password: str


def demo_accounts() -> tuple[Account, ...]:
    return tuple(Account(f"{name}.example", DEMO_PASSWORD) for name in (*DEMO, WITHOUT_DEAL))


def read_accounts(file: Path) -> tuple[Account, ...]:
    """A line for each: address, blank, password."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return tuple(Account(*line.split(maxsplit=1)) for line in lines if line)
