"""Writes down the steps that a process tells (`app.sessions.trace`), by the clock that all processes of a machine share.

Each is a line of JSON, written at once, so that what a killed process did is there: when, process, task, request, the request it came
from, what.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any

from app.sessions import trace
from app.sessions.record import Hold, Lease, Record

# Whoever forks a process of ours hands it the directory by this name (tests/servers/nursery.py).
DIRECTORY = "RECORD_STEPS_IN"
_BEGIN = ("read", "write", "bulk")
_numbers = count(1)
_request: ContextVar[tuple[int, int]] = ContextVar("request", default=(0, 0))


def record_where_asked() -> None:
    if directory := os.environ.get(DIRECTORY):
        record(Path(directory) / f"{os.getpid()}.jsonl")


def record(path: Path) -> None:
    """From now on, for the life of this process."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def write(what: str, *about: Any) -> None:
        if what in _BEGIN:
            _request.set((next(_numbers), _request.get()[0]))
        with suppress(OSError):  # a disk that a test has filled
            os.write(file, _line(*_request.get(), what, *about).encode())

    trace.listen(write)


def tell_step(path: Path, what: str, *about: Any) -> None:
    """Of a test, which belongs to no request."""
    with path.open("a") as file:
        file.write(_line(0, 0, what, *about))


def _line(request: int, parent: int, what: str, *about: Any) -> str:
    return json.dumps([time.monotonic_ns(), os.getpid(), _task(), request, parent, what, *map(_plain, about)]) + "\n"


def _task() -> int:
    with suppress(RuntimeError):
        return id(asyncio.current_task())
    return 0


def _plain(about: Any) -> Any:
    """Of a record its version, and of a token enough to know it by."""
    if isinstance(about, Record):
        return ["record", about.version]
    if isinstance(about, Hold | Lease):
        return [type(about).__name__.lower(), about.token[:12]]
    if isinstance(about, Mapping):
        return {key: _plain(each) for key, each in about.items()}
    return about


def read_steps(directory: Path) -> Iterator[list[Any]]:
    """All that was written down there, in the order of time. The last line of a process that was killed may be half of one."""
    lines = []
    for path in directory.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
    return iter(sorted(lines, key=lambda line: line[0]))
