"""Which Pythons are tested, and what is said of others."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from app.core.python_versions import TESTED, find_untested

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("version", [(3, 14, 0), (3, 15, 2), (4, 0, 0)])
def test_newer_python_is_warned_of(version: tuple[int, ...]) -> None:
    said = find_untested(version)
    assert said is not None
    assert f"Python {version[0]}.{version[1]} is newer" in said


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 9), (3, 13, 99), sys.version_info])
def test_tested_python_is_not_warned_of(version: tuple[int, ...]) -> None:
    if version[:2] <= TESTED[-1]:
        assert find_untested(version) is None


def test_versions_are_the_same_everywhere() -> None:
    """In the package's classifiers, in what it requires, and in the Makefile."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    spelled = [f"{major}.{minor}" for major, minor in TESTED]
    assert [each.rpartition(" ")[2] for each in project["classifiers"]] == spelled
    assert project["requires-python"] == f">={spelled[0]}"
    tried = re.search(r"^PYTHONS \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert tried
    assert set(spelled[1:]) <= {each.removeprefix("python") for each in tried[1].split()}
