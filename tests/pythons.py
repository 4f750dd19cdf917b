"""`make test-pythons`: the main job and the quick tests on every other supported Python of this machine.

The main job: everything starts by `holdfast dev`; somebody signs in, selects a deal, everything is started anew, and the deal is back.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx

from tests.servers.process import ServerProcess, free_port, held_directory, remove_directory, wait_until

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 90
ADDRESS, PASSWORD = "lead@google.example", "holdfast-demo-password"
say = partial(print, flush=True)
QUICK = ("tests/unit", "tests/contract", "tests/architecture", "tests/test_session_persistence.py")


class Failed(Exception):
    """What failed, in one line."""


def main(names: list[str]) -> int:
    found = {name: path for name in names if (path := find_python(name))}
    say(f"Found: {', '.join(found) or 'none'}. Not found: {', '.join(sorted(set(names) - set(found))) or 'none'}.")
    failures = []
    for name, path in found.items():
        began = time.monotonic()
        try:
            check(name, path)
            say(f"{name}: passed in {time.monotonic() - began:.0f} s")
        except Failed as failed:
            failures.append(f"{name}: {failed}")
    for failure in failures:
        say(failure)
    return 1 if failures else 0


def find_python(name: str) -> Path | None:
    """On the PATH, or the newest of that version under pyenv's folder, whose own command may point nowhere."""
    candidates = sorted(Path.home().glob(f".pyenv/versions/*/bin/{name}"), key=lambda path: numbers(str(path)), reverse=True)
    on_path = shutil.which(name)
    for candidate in [*([Path(on_path)] if on_path else []), *candidates]:
        if subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            return candidate
    return None


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def check(name: str, path: Path) -> None:
    python = install(path, ROOT / f".venv-{name.removeprefix('python')}")
    main_job(python)
    run([python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *QUICK], "the quick tests failed", quiet=False)


def install(path: Path, folder: Path) -> Path:
    """Again only where a lock file or pyproject.toml is newer than what is installed."""
    python, stamp = folder / "bin" / "python", folder / "installed"
    sources = [ROOT / "requirements-dev.lock", ROOT / "pyproject.toml"]
    if stamp.exists() and stamp.stat().st_mtime > max(each.stat().st_mtime for each in sources):
        return python
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
    run([path, "-m", "venv", folder], "a virtual environment cannot be made")
    run([*pip, "--require-hashes", "-r", "requirements-dev.lock"], "the locked dependencies cannot be installed")
    run([*pip, "--no-build-isolation", "-e", "."], "Holdfast itself cannot be installed")
    stamp.touch()
    return python


def run(command: list[str | Path], otherwise: str, *, quiet: bool = True) -> None:
    # Browser and surroundings are for the one Python that `make test` runs on.
    environ = os.environ | {"BROWSER": "0", "SURROUNDINGS": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=quiet, text=True)
    if done.returncode:
        raise Failed(f"{otherwise}: {(done.stderr or '').strip()[-2000:]}")


class Dev(ServerProcess):
    """`holdfast dev` in `folder`: web, worker, Valkey and demo data."""

    def __init__(self, python: Path, folder: Path) -> None:
        port = free_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environ = kept | {"PYTHONPATH": str(ROOT), "PORT": str(port)}
        super().__init__([python, "-m", "app", "dev"], port=port, log=folder / "log", cwd=folder, env=environ)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        seen = len(self.output()) if self.log.exists() else 0
        self.start()
        try:
            wait_until(lambda: self.has_said("Holdfast is ready", seen), within=READY_SECONDS, what="Holdfast is ready")
            wait_until(lambda: self.has_said("Worker started", seen), within=READY_SECONDS, what="the worker's start")
            yield
        finally:
            self.terminate(signal.SIGINT, within=30)

    def has_said(self, words: str, seen: int) -> bool:
        self.check_alive()
        return words in self.output()[seen:]


def main_job(python: Path) -> None:
    folder = held_directory("python")
    try:
        dev = Dev(python, folder)
        with httpx.Client(base_url=f"http://127.0.0.1:{dev.port}", trust_env=False, timeout=10) as client:
            with dev.running():
                expect(client.post("/api/auth/login", json={"email": ADDRESS, "password": PASSWORD}), "the sign-in")
                deal_id = expect(client.get("/api/deals/list"), "the list of deals").json()["deals"][0]["id"]
                expect(client.post(f"/api/deals/{deal_id}/select", json={}), "the selection")
                expect(client.get(f"/deals/{deal_id}/overview"), "the deal's page")
            with dev.running():
                current = expect(client.get("/api/deals/current"), "the current deal").json()["deal"]
                if current is None or current["id"] != deal_id:
                    raise Failed(f"deal {deal_id} was selected, and after a restart the current one is {current}")
                client.cookies.clear()
                signed_in = expect(
                    client.post("/api/auth/login", json={"email": ADDRESS, "password": PASSWORD}), "the second sign-in"
                ).json()
                if (signed_in["current_deal"] or {}).get("id") != deal_id:
                    raise Failed(f"deal {deal_id} was not restored in another browser")
        if "Traceback" in (output := dev.output()):
            raise Failed(f"the log has a traceback: {output[output.index('Traceback') :][:2000]}")
    except (httpx.HTTPError, TimeoutError, OSError) as error:
        raise Failed(f"the main job failed: {error!r}\n{dev.output()[-2000:]}") from None
    finally:
        remove_directory(folder)


def expect(answer: httpx.Response, what: str) -> httpx.Response:
    if answer.status_code != 200:
        raise Failed(f"{what} was answered {answer.status_code}: {answer.text[:500]}")
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
