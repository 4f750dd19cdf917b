"""Which versions of Python Holdfast is tested on. A newer one starts with a warning."""

import sys

import structlog

log = structlog.get_logger()

# As `make test-pythons` runs them, and as pyproject.toml's classifiers say.
TESTED = ((3, 11), (3, 12), (3, 13))
FIX = "Should anything fail, run it on one of these first: make run PYTHON=python3.13 (after make clean)."


def find_untested(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> str | None:
    """What to say of a Python that is newer than all that were tested; None for the others."""
    if version[:2] <= TESTED[-1]:
        return None
    found, tested = ".".join(map(str, version[:2])), ", ".join(".".join(map(str, each)) for each in TESTED)
    return f"Python {found} is newer than those Holdfast is tested on ({tested})."


def warn_if_untested() -> None:
    if untested := find_untested():
        log.warning(f"{untested} {FIX}")
