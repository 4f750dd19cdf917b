"""Runs a module of ours in a process of its own: others' requests keep their turns, and what a hostile file does, it does there.

The process has none of our secrets and ends with the one who waits for it.
"""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple
from weakref import WeakKeyDictionary

import app

# Of one module, in one process.
MAX_AT_ONCE = 2
TIMEOUT_SECONDS = 300
NICENESS = 10
_ROOT = str(Path(app.__file__).parents[1])
_MAX_REASON = 2000
_Slots = defaultdict[str, asyncio.Semaphore]
_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, _Slots] = WeakKeyDictionary()

Send = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Ended(NamedTuple):
    """`reason` is what it said of its death."""

    exit_status: int
    answer: bytes
    reason: str


async def run_module(module: str, *arguments: str, passed: BinaryIO, source: BinaryIO | Send) -> Ended:
    """`passed` is open there under the number it has here, the first argument; `source` is its standard input. Raises `TimeoutError`."""
    slots = _slots.setdefault(asyncio.get_running_loop(), defaultdict(lambda: asyncio.Semaphore(MAX_AT_ONCE)))
    async with slots[module]:
        return await _run((module, str(passed.fileno()), *arguments), passed.fileno(), source)


def be_nice() -> None:
    """Called there."""
    with suppress(OSError, AttributeError):
        os.nice(NICENESS)


async def _run(command: tuple[str, ...], passed: int, source: BinaryIO | Send) -> Ended:
    environment = {"PYTHONPATH": _ROOT, "PATH": os.environ.get("PATH", ""), "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}
    pipe = asyncio.subprocess.PIPE
    stdin = pipe if callable(source) else source.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, stdin=stdin, stdout=pipe, stderr=pipe, pass_fds=(passed,), env=environment, cwd="/"
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reading = asyncio.gather(process.stdout.read(), process.stderr.read())
            if callable(source) and process.stdin is not None:
                # Where it died meanwhile, it says why.
                with suppress(BrokenPipeError, ConnectionResetError):
                    await source(process.stdin)
            answer, said = await reading
            status = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Ended(status, answer, said.decode(errors="replace")[-_MAX_REASON:])
