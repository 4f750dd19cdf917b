"""A process of the kit: started, stopped for a while, killed with everything that it started, and started again."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

START_LIMIT_SECONDS = 60


class Died(Exception):
    """It ended before it served; the message has the end of what it wrote."""


class Process:
    """Output goes to `log`. Every method blocks for milliseconds at most, but for `kill`, which waits for the end."""

    def __init__(self, command: Sequence[str], *, log: Path, cwd: Path, environ: Mapping[str, str]) -> None:
        self.command = list(command)
        self.log = log
        self.cwd = cwd
        self.environ = dict(environ)
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.command, cwd=self.cwd, env=self.environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def check_alive(self) -> None:
        if self._popen is None or self._popen.poll() is not None:
            raise Died(f"{' '.join(self.command)}\n{self.log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """It hangs: the kernel accepts connections for it, and nobody answers."""
        self._tell(signal.SIGSTOP)

    def cont(self) -> None:
        self._tell(signal.SIGCONT)

    def kill(self) -> None:
        if self._popen is not None:
            self._tell(signal.SIGKILL)
            # What is left of it where it ended by itself before what it had started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait(15)

    def _tell(self, number: signal.Signals) -> None:
        if self._popen is None or self._popen.poll() is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._popen.pid)
            for process in [root, *root.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def until(condition: Callable[[], bool], *, within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within:g} s")
        await asyncio.sleep(0.02)
