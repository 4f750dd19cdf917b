"""Processes whose wall clock is wrong, by libfaketime; their monotonic clocks, and so event loops, go on as they are."""

from pathlib import Path

import pytest

from tests.servers.programs import find_program

LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1")


def clock_off_by(seconds: float) -> dict[str, str]:
    """The environment of a process whose clock is ahead by so much."""
    find_program("faketime")
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    if not found:
        pytest.fail("libfaketime.so.1 is not where the package faketime puts it")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": f"{seconds:+}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
