"""Whatever a form leads to with `?done=…` is said in words, and there are no words that nothing leads to."""

import ast
from collections.abc import Iterator
from pathlib import Path

from app.pages.kit.flash import CODES, flash_of

APP = Path(__file__).parents[2] / "app"
# By the function that is called: which of its arguments is the code. Where it is a name, the call hands on what its own caller says.
CODE_OF = {"see_other": 1, "after": 2, "_do": 1, "_back": 1}
# An operator's request to cancel is done or under way, as the service says.
BY_NAME = {"cancelled", "cancelling"}


def codes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            given = node.args[CODE_OF[node.func.id] :][:1] if node.func.id in CODE_OF else []
            given += [each.value for each in node.keywords if each.arg == "done"]
            yield from (text.value for each in given for text in chosen(each) if isinstance(text, ast.Constant) and text.value)  # type: ignore[misc]


def chosen(node: ast.expr) -> list[ast.expr]:
    return [*chosen(node.body), *chosen(node.orelse)] if isinstance(node, ast.IfExp) else [node]


def test_every_done_has_its_words() -> None:
    rooms = (APP / "pages", APP / "ops")
    led = {code for room in rooms for path in sorted(room.rglob("*.py")) for code in codes(ast.parse(path.read_text()))}
    assert led | BY_NAME == CODES
    assert all(flash_of({"done": code, "undo": "1", "number": "2"}) for code in CODES)


def test_addresses_of_before_say_what_they_said() -> None:
    """The console had a parameter of its own; somebody may have kept such an address, or stand on one during an upgrade."""
    assert flash_of({"said": "paused"}) == flash_of({"done": "paused"}) is not None
    assert flash_of({"said": "nonsense"}) is flash_of({}) is None
