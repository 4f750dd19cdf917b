"""Nothing outlives the test run: a watching process kills and removes what is left when its standard input closes.

The pipe closes with the run even where that is killed. PR_SET_PDEATHSIG would not do: it fires when the *thread* that
started the child ends, and it exists on Linux alone.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import psutil

DIRECTORY = "directory"


def hold_process(pid: int, end_signal: signal.Signals) -> None:
    _tell(f"hold {end_signal.name} {pid}")


def hold_directory(directory: Path) -> None:
    _tell(f"hold {DIRECTORY} {directory}")


def release(what: int | Path) -> None:
    _tell(f"release - {what}")


def let_go() -> None:
    """The run ends well: close the pipe and wait until everything is cleaned up."""
    if _watcher.cache_info().currsize:
        _watcher().communicate()
        _watcher.cache_clear()


def tree(pid: int) -> list[psutil.Process]:
    """The process and everything it started, itself first; PostgreSQL's and uvicorn's workers leave its process group."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _tell(line: str) -> None:
    pipe = _watcher().stdin
    assert pipe is not None
    pipe.write(line + "\n")
    pipe.flush()


@cache
def _watcher() -> "subprocess.Popen[str]":
    # In a session of its own, so that Ctrl-C in the terminal ends the run first and the watcher after it.
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True)


def _watch() -> None:
    held: dict[str, str] = {}
    for line in sys.stdin:
        verb, kind, what = line.rstrip("\n").split(" ", 2)
        if verb == "hold":
            held[what] = kind
        else:
            held.pop(what, None)
    _end({int(what): signal.Signals[kind] for what, kind in held.items() if kind != DIRECTORY})
    for what, kind in held.items():
        if kind == DIRECTORY:
            shutil.rmtree(what, ignore_errors=True)


def _end(signals: dict[int, signal.Signals]) -> None:
    everything = [process for pid in signals for process in tree(pid)]
    for pid, end_signal in signals.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).send_signal(end_signal)
    _, alive = psutil.wait_procs(everything, timeout=2)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    _watch()
