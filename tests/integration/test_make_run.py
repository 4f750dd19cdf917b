"""`make run`: one command that starts everything, says in one line what stands in its way, and leaves nothing behind.

The virtual environment is the one these tests run in, so the installation itself is not repeated here.
"""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import psutil
import pytest

from tests.servers import leash
from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory, wait_until

ROOT = Path(__file__).resolve().parents[2]
# Generous: on a loaded machine starting Python four times takes its time. The limit of a test covers two starts.
READY_SECONDS = 90
pytestmark = pytest.mark.timeout(300)
# What the design grants for a stop, and a little for a busy machine.
STOP_SECONDS = 15
KEPT = ("PATH", "HOME", "LANG")


class Run(ServerProcess):
    """`make run` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        super().__init__(["make", "run"], port=port, log=folder.parent / "log", cwd=folder, env=environment() | {"PORT": str(port)})

    def everything(self) -> list[psutil.Process]:
        return leash.tree(self.pid)

    def is_ready(self) -> bool:
        self.check_alive()
        return "Holdfast is ready" in self.output()[self.seen :]

    def start(self) -> None:
        self.seen = len(self.output()) if self.log.exists() else 0
        super().start()
        wait_until(self.is_ready, within=READY_SECONDS, what="Holdfast is ready")
        wait_until(lambda: "Worker started" in self.output()[self.seen :], within=10, what="the worker's start")


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A checkout without data, whose environment is installed. What was compiled of it comes along: that takes longest in a start."""
    directory = held_directory("checkout")
    copy = directory / "holdfast"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        compiled = Path(cache_from_source(name)) if name.endswith(".py") else Path(name)
        for file in {Path(name), compiled}:
            if (ROOT / file).is_file():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, copy / file)
    yield copy
    remove_directory(directory)


@pytest.fixture
def installed(folder: Path) -> Path:
    own, tests_own = folder / ".venv", Path(sys.prefix)
    own.mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (own / part).symlink_to(tests_own / part)
    for stamp in ("made", "installed"):
        (own / stamp).touch()
    return folder


@pytest.fixture
def run(installed: Path) -> Iterator[Run]:
    run = Run(installed)
    yield run
    if run.process is not None:
        run.kill()


def gone(processes: list[psutil.Process]) -> bool:
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


def valkeys(run: Run) -> list[psutil.Process]:
    return [process for process in run.everything() if process.status() != psutil.STATUS_ZOMBIE and "valkey" in process.name()]


def refused(folder: Path, *arguments: str, **environ: str) -> str:
    """What a start that cannot succeed says, all of it, without make's own last line."""
    done = subprocess.run(
        ["make", "-s", "run", *arguments], cwd=folder, env=environment() | environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    return "\n".join(line for line in done.stderr.splitlines() if not line.startswith("make"))


def test_starts_stops_on_ctrl_c_and_keeps_what_was_done(run: Run, installed: Path) -> None:
    run.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{run.port}/login", timeout=5) as page:
        assert page.status == 200
    assert "Session backend: Redis (healthy)" in run.output()
    assert "analyst@google.example" in run.output()
    assert "holdfast-demo-password" in run.output()
    started = run.everything()
    assert len(started) >= 5, "make, holdfast, valkey, web, worker"
    os.killpg(run.pid, signal.SIGINT)
    assert run.process
    run.process.wait(STOP_SECONDS)
    wait_until(lambda: gone(started), within=STOP_SECONDS, what="the end of everything")
    kept = (installed / "data" / "secret_key").read_text()

    run.start()
    again = run.output()[run.seen :]
    assert "Database: up to date" in again
    assert "Demo data" not in again
    assert (installed / "data" / "secret_key").read_text() == kept
    run.terminate(within=STOP_SECONDS)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
@pytest.mark.parametrize("parent", ["make", "holdfast"])
def test_killed_parent_takes_everything_with_it(run: Run, parent: str) -> None:
    run.start()
    [make, holdfast, *_] = started = run.everything()
    {"make": make, "holdfast": holdfast}[parent].kill()
    wait_until(lambda: gone(started), within=STOP_SECONDS, what="the end of everything")


def test_one_that_stops_by_itself_stops_everything_with_a_clear_line(run: Run) -> None:
    run.start()
    started = run.everything()
    [worker] = [process for process in started if process.cmdline()[-1] == "worker"]
    worker.kill()
    wait_until(lambda: gone(started), within=STOP_SECONDS, what="the end of everything")
    assert "worker was killed by SIGKILL. Everything was stopped" in run.output()


def test_killed_valkey_is_started_again_unless_it_cannot_live(run: Run) -> None:
    run.start()
    started = run.everything()

    def kill_valkey(count: int) -> None:
        wait_until(lambda: bool(valkeys(run)), within=STOP_SECONDS, what="a Valkey")
        valkeys(run)[0].kill()
        wait_until(lambda: run.output().count("valkey was killed by SIGKILL") == count, within=STOP_SECONDS, what="a line about it")

    kill_valkey(1)
    assert "valkey was killed by SIGKILL and is started again" in run.output()
    said = "Session backend: Redis (healthy)"
    before = run.output().count(said)
    wait_until(lambda: run.output().count(said) > before, within=60, what="a return to Redis")
    assert sum(process.is_running() for process in started) == len(started) - 1, "nothing else was started again"
    kill_valkey(2)
    # Once it serves again: one that ends before cannot live either, and is told in the same words.
    wait_until(lambda: run.output().count("Valkey serves again") == 2, within=STOP_SECONDS, what="a Valkey that serves")
    kill_valkey(3)
    wait_until(lambda: gone(started), within=STOP_SECONDS, what="the end of everything")
    assert "valkey was killed by SIGKILL, twice within 10 seconds" in run.output()


def test_second_run_from_the_same_folder_is_told_of_the_first(run: Run, installed: Path) -> None:
    run.start()
    assert f"PORT={run.port}: 127.0.0.1:{run.port} is in use" in refused(installed, PORT=str(run.port))
    elsewhere = subprocess.run(
        ["make", "-s", "run"], cwd=installed, env=environment() | {"PORT": str(free_port())}, capture_output=True, text=True
    )
    assert elsewhere.returncode != 0
    assert "is in use by another run from this folder" in elsewhere.stdout
    run.terminate(within=STOP_SECONDS)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"DATABASE_URL": "mysql://u:hunter2@db/x"}, "DATABASE_URL='mysql://u:***@db/x' is not allowed"),
        (
            {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"},
            "DATABASE_URL='postgresql+asyncpg://u:***@127.0.0.1:1/x': the database cannot be",
        ),
        ({"DATABASE_URL": "sqlite+aiosqlite:////proc/nowhere/x.db"}, "DATABASE_URL='sqlite+aiosqlite:////proc/nowhere/x.db'"),
        ({"PORT": "http"}, "PORT='http' is not allowed"),
        ({"HOLDFAST_ENV": "production"}, "SECRET_KEY"),
    ],
)
def test_unusable_setting_is_one_clear_line(installed: Path, environ: dict[str, str], expected: str) -> None:
    said = refused(installed, **({"PORT": str(free_port())} | environ))
    assert expected in said
    assert "Traceback" not in said
    assert "hunter2" not in said


def test_python_that_is_too_old_or_missing_is_one_clear_line(folder: Path) -> None:
    old = folder.parent / "python3"
    old.write_text('#!/bin/sh\ncase "$1" in --version) echo "Python 3.9.2";; *) exit 1;; esac\n')
    old.chmod(0o755)
    [line] = refused(folder, PATH=f"{old.parent}:{os.environ['PATH']}").splitlines()
    assert "Python 3.11 or newer" in line
    assert "Python 3.9.2" in line
    [line] = refused(folder, "PYTHON=python-that-is-not-there").splitlines()
    assert "Python 3.11 or newer" in line


def test_missing_venv_package_is_named(folder: Path) -> None:
    crippled = folder.parent / "python3"
    crippled.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    crippled.chmod(0o755)
    [line] = refused(folder, PATH=f"{crippled.parent}:{os.environ['PATH']}").splitlines()
    assert "python3-venv" in line


def test_registry_out_of_reach_is_one_clear_line(folder: Path) -> None:
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_NO_CACHE_DIR": "1"}
    [line] = refused(folder, f"PYTHON={sys.executable}", **nowhere).splitlines()
    assert "registry cannot be reached" in line
