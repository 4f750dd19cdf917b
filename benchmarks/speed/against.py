"""Another commit of Holdfast beside this one: its files in a worktree, run by the same virtual environment."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.speed.sites import Checkout
from tests.servers.process import held_directory, remove_directory
from tests.servers.web import ROOT


@contextmanager
def checked_out(reference: str) -> Iterator[Checkout]:
    """Only the files of the commit: no worktree is registered, nothing of the repository changes."""
    commit = _git("rev-parse", "--short", "--verify", f"{reference}^{{commit}}").strip()
    directory = held_directory("commit")
    try:
        archive = subprocess.Popen(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", directory], stdin=archive.stdout, check=True)
        if archive.wait():
            raise RuntimeError(f"git has no files of {reference}")
        yield Checkout(directory, commit)
    finally:
        remove_directory(directory)


def this_commit() -> str:
    """Its short name, with "-dirty" where files differ from it."""
    return _git("describe", "--always", "--dirty", "--abbrev=7").strip()


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True, text=True).stdout
