"""Processes of ours that need not import what each of them imports: forked from one that has done so, which is `main` here.

Two seconds of a core for each of the hundreds a run starts. What is forked has the environment, directory, session and files
that an `exec` of the same command would give it; `python -m app` itself, from an empty interpreter, is for
tests/integration/test_server_process.py, test_make_run.py, and all that come with an LD_PRELOAD.
"""

import gc
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from tests.model.recorder import record_where_asked

ROOT = Path(__file__).resolve().parents[2]
# What `web` and `worker` import until they serve.
IMPORTED = (
    *("app.cli", "app.ops.commands", "app.factory", "worker.commands", "uvloop", "uvicorn.lifespan.on"),
    *("uvicorn.protocols.http.httptools_impl", "aiosqlite", "asyncpg", "sqlalchemy.dialects.postgresql.asyncpg"),
    "sqlalchemy.dialects.sqlite.aiosqlite",
)


class Forked:
    """What `subprocess.Popen` is to a process by `exec`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        began = time.monotonic()
        while (status := self.poll()) is None:
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.005)
        return status

    def send_signal(self, signal_number: int) -> None:
        # Once it is reaped, its number may be another's.
        if self.poll() is None:
            os.kill(self.pid, signal_number)


def fork(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> Forked:
    """`python -m arguments…`, in a session of its own, its output in `log`."""
    return Forked(_ask({"arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "log": str(log)}))


_turn = Lock()


def _ask(request: Mapping[str, Any]) -> Any:
    with _turn:
        parent = _parent()
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(json.dumps(request) + "\n")
        parent.stdin.flush()
        return json.loads(parent.stdout.readline())


@cache
def _parent() -> "subprocess.Popen[str]":
    # It ends with its standard input, and so with the run.
    command = [sys.executable, "-m", "tests.servers.nursery"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ = kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def close() -> None:
    """The run is over. What was forked is for those who asked for it to end."""
    if _parent.cache_info().currsize:
        _parent().communicate()
        _parent.cache_clear()


def main() -> list[str] | None:
    """Fork whenever asked. Returns in each child, with what it has to be, and at the end."""
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            with suppress(ChildProcessError):
                pid, status = os.waitpid(request["poll"], os.WNOHANG)
                if pid:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(request["poll"])
        else:
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            answer = os.fork()
            if answer == 0:
                _become(request, log)
                arguments: list[str] = request["arguments"]
                return arguments
            os.close(log)
        sys.stdout.write(json.dumps(answer) + "\n")
    return None


def _become(request: Mapping[str, Any], log: int) -> None:
    """As `subprocess.Popen` makes a child before it becomes another program."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for found, wanted in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(found, wanted)
    for found in (nothing, log):
        os.close(found)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    gc.unfreeze()
    record_where_asked()
    sys.path[0] = request["cwd"]


if __name__ == "__main__" and (_arguments := main()):
    sys.argv = _arguments
    runpy.run_module(_arguments[0], run_name="__main__", alter_sys=True)
