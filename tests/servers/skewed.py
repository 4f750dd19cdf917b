"""Processes whose wall clock is wrong, by libfaketime; their monotonic clocks, and so event loops, go on as they are."""

from pathlib import Path

import pytest

from tests.servers.programs import find_program

LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1")


def clock_off_by(seconds: float) -> dict[str, str]:
    """The environment of a process whose clock is ahead by so much."""
    return _preloaded() | {"FAKETIME": f"{seconds:+}s"}


def clock_told_by(file: Path) -> dict[str, str]:
    """The same, by what `set_clock` wrote into `file`, while the process runs, too."""
    return _preloaded() | {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}


def set_clock(file: Path, seconds: float) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(f"{seconds:+}s\n")
    beside.replace(file)


def _preloaded() -> dict[str, str]:
    find_program("faketime")
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    if not found:
        pytest.fail("libfaketime.so.1 is not where the package faketime puts it")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
