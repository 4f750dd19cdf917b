"""A server process under test: started on a free port, killed, stopped for a while, or started again on the same port."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil

from tests.servers import leash, nursery

START_LIMIT_SECONDS = 60


class ServerDied(Exception):
    """It ended before it served; the message holds the end of its log."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def held_directory(prefix: str, *, parent: Path | None = None) -> Path:
    """A directory that is removed with the run. Short and outside of pytest's own, which others may not enter."""
    directory = Path(mkdtemp(prefix=f"holdfast-{prefix}-", dir=parent))
    leash.hold_directory(directory)
    return directory


def remove_directory(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    leash.release(directory)


def wait_until(condition: Callable[[], bool], *, within: float, what: str) -> None:
    """For servers only, which have no clock of ours to advance."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} not within {within:g} s")
        time.sleep(0.01)


class ServerProcess:
    """`command` is run again, unchanged, by `restart`. Output goes to `log`."""

    # What the leash sends where the run is killed; PostgreSQL wants to be asked.
    end_signal = signal.SIGKILL

    def __init__(self, command: Sequence[str | Path], *, port: int, log: Path, **popen: Any) -> None:
        self.command = [str(part) for part in command]
        self.port = port
        self.log = log
        self.popen = popen
        self.process: subprocess.Popen[bytes] | nursery.Forked | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        self.process = self._begin()
        leash.hold_process(self.pid, self.end_signal)

    def _begin(self) -> subprocess.Popen[bytes] | nursery.Forked:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **self.popen
            )

    def wait_for_port(self) -> None:
        wait_until(self.accepts, within=START_LIMIT_SECONDS, what=f"{Path(self.command[0]).name} on port {self.port}")

    def accepts(self) -> bool:
        """Whether somebody listens. Raises `ServerDied` as soon as the process has ended."""
        self.check_alive()
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def check_alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            raise ServerDied(f"{' '.join(self.command)}\n{self.output()[-4000:]}")

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """As a machine that loses power: SIGKILL, to everything it started as well."""
        self._tell_all(signal.SIGKILL)
        self._wait(within=15)

    def terminate(self, signal_number: int = signal.SIGTERM, *, within: float = 15) -> int:
        """Ask it to end; the exit status. One that does not end in time is killed and reported."""
        if self.process is None:
            return 0
        self.process.send_signal(signal_number)
        return self._wait(within=within)

    def stop(self) -> None:
        """It hangs: connections are accepted by the kernel and never answered."""
        self._tell_all(signal.SIGSTOP)

    def cont(self) -> None:
        self._tell_all(signal.SIGCONT)

    def restart(self) -> None:
        """The same command on the same port."""
        self.start()
        self.wait_for_port()

    def _tell_all(self, signal_number: int) -> None:
        for process in leash.tree(self.pid) if self.process else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)

    def _wait(self, *, within: float) -> int:
        if self.process is None:
            return 0
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self._tell_all(signal.SIGKILL)
            self.process.wait()
            raise
        finally:
            leash.release(self.pid)


def start_app(kind: str, *, directory: Path, env: Mapping[str, str]) -> ServerProcess:
    """`holdfast web` or `worker` as people start it, in an interpreter of its own, on a free port."""
    port = free_port()
    log = directory / f"{kind}.log"
    process = AppProcess(kind, port=port, log=log, cwd=directory, env={**env, "PORT": str(port)}, forked=False)
    process.start()
    return process


class AppProcess(ServerProcess):
    """`python -m app` with `arguments`. Forked where nothing asks for an interpreter of its own: see `nursery`."""

    def __init__(self, *arguments: str, port: int = 0, log: Path, cwd: Path, env: Mapping[str, str], forked: bool = True) -> None:
        super().__init__([sys.executable, "-m", "app", *arguments], port=port, log=log, cwd=cwd, env=env)
        self.is_forked = forked and "COVERAGE_PROCESS_START" not in os.environ and "LD_PRELOAD" not in env

    def _begin(self) -> subprocess.Popen[bytes] | nursery.Forked:
        if not self.is_forked:
            return super()._begin()
        return nursery.fork(self.command[2:], cwd=self.popen["cwd"], env=self.popen["env"], log=self.log)
