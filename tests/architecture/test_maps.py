"""The maps of the tree name each room of it once, and none that is not there."""

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "app"
PACKAGES = {f"{path.parent.name}/" for path in APP.glob("*/__init__.py")}
MODULES = {path.name for path in APP.glob("*.py")} - {"__init__.py"}


def test_the_docstring_of_the_app_names_each_room_once() -> None:
    source = (APP / "__init__.py").read_text()
    # What is named stands before three blanks, what it holds after them.
    names = [name for line in source.splitlines() if "   " in line for name in line.split("   ")[0].split(", ")]
    assert_each_once(names, PACKAGES | MODULES)


def test_the_table_of_layers_names_each_room_once() -> None:
    text = (ROOT / "docs" / "implementation.md").read_text()
    [table] = re.findall(r"^\| module \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    names = [name for cell in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for name in re.findall(r"`app/([^`]+)`", cell)]
    assert_each_once(names, PACKAGES | MODULES | {"templates/", "static/"})


def assert_each_once(names: Iterable[str], there: set[str]) -> None:
    assert sorted(names) == sorted(there)
