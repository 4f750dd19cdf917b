"""The hooks of `.pre-commit-config.yaml` run what `make lint` runs, and hold the subjects of commits to the rule."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()


def entry_of(hook: str) -> str:
    [entry] = re.findall(rf"- id: {hook}\n(?:        .*\n)*?        entry: (.*)\n", HOOKS)
    return str(entry).strip("'")


def test_hooks_run_ruff_and_the_import_contracts() -> None:
    assert ".venv/bin/python -m ruff check" in entry_of("ruff-check")
    assert ".venv/bin/python -m ruff format" in entry_of("ruff-format")
    assert entry_of("import-contracts") == ".venv/bin/lint-imports"


def test_hooks_download_nothing() -> None:
    assert re.findall(r"repo: (.*)", HOOKS) == ["local"]
    assert set(re.findall(r"language: (.*)", HOOKS)) == {"system", "pygrep"}


@pytest.mark.parametrize(
    ("subject", "is_fine"),
    [
        ("jobs: compute due times with cronsim", True),
        ("app/auth: refuse links of former admins", True),
        ("Merge branch 'work'", True),
        ("Compute due times", False),
        ("jobs:compute due times", False),
        ("a part on the way", False),
        ("\njobs: compute due times", False),
    ],
)
def test_commit_subject_names_its_area(subject: str, is_fine: bool) -> None:
    assert bool(re.search(entry_of("commit-subject"), f"{subject}\n\nWhy.\n", re.MULTILINE)) is is_fine
