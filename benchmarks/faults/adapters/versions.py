"""Prints the versions of the packages named, as they are installed."""

import sys
from importlib.metadata import version

print(", ".join(f"{name} {version(name)}" for name in sys.argv[1:]))  # noqa: T201
