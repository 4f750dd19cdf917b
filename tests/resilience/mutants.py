"""Every mechanism of docs/sessions.md switched off, one at a time in a copy of the project: the test that guards it must fail.

    python -m tests.resilience.mutants              all of them, one after the other (about ten minutes)
    python -m tests.resilience.mutants fence epoch  these
    python -m tests.resilience.mutants --model      those of the protocol, by what the model says of a story and of some races

Ends with 1 where a test stayed green, since then it guards nothing.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.resilience.mutant_list import MUTANTS, RACES, Mutant
from tests.servers.web import ROOT

COPIED = ("app", "worker", "migrations", "tests", "docs", "alembic.ini", "pyproject.toml", "README.md", "Procfile")


@contextmanager
def copy_without(mutant: Mutant) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="holdfast-mutant-") as directory:
        root = Path(directory)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        changed = root / mutant.path
        changed.write_text(changed.read_text().replace(mutant.was, mutant.becomes))
        yield root


def is_seen(mutant: Mutant) -> bool:
    """Whether its test fails, in a run that did run it."""
    with copy_without(mutant) as root:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--timeout", "180", "-p", "no:cacheprovider", mutant.test]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.mechanism}: its test did not run.\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


# What is done there is held against the model at its end.
STORY = ["tests/resilience/test_conformance.py", f"{RACES}::test_late_writes_against_logout", f"{RACES}::test_select_against_revoke"]


def is_seen_by_model(mutant: Mutant) -> bool:
    """Whether it does something that the model cannot, whatever the tests themselves say."""
    with copy_without(mutant) as root:
        command = [sys.executable, "-m", "pytest", "-q", "--timeout", "180", "-p", "no:cacheprovider", *STORY]
        return "the model cannot" in subprocess.run(command, cwd=root, capture_output=True, text=True).stdout


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("mechanism", nargs="*", help=f"one of: {', '.join(each.mechanism for each in MUTANTS)}")
    parser.add_argument("--model", action="store_true", help="what the model sees of it, of those in app/sessions")
    wanted, by_model = parser.parse_args(arguments).mechanism, parser.parse_args(arguments).model
    if unknown := set(wanted) - {each.mechanism for each in MUTANTS}:
        parser.error(f"there is no mechanism {', '.join(sorted(unknown))}; --help names them")
    unseen = 0
    for mutant in MUTANTS:
        if (wanted and mutant.mechanism not in wanted) or (by_model and not mutant.path.startswith("app/sessions/")):
            continue
        began = time.monotonic()
        seen = is_seen_by_model(mutant) if by_model else is_seen(mutant)
        unseen += not seen and not by_model
        sys.stdout.write(f"{'seen' if seen else 'NOT SEEN':8} {mutant.mechanism} ({mutant.test}, {time.monotonic() - began:.0f} s)\n")
        sys.stdout.flush()
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
