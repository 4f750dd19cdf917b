"""Whatever a form leads to with `?done=…` is said in words, and there are no words that nothing leads to."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from app.pages import admin as pages
from app.pages import imports as import_pages
from app.pages import settings as account_pages
from app.pages.kit import context, said

APP = Path(__file__).parents[2] / "app"
# By the beginning of the address, the longest first.
TABLES = {
    "/admin/": pages.DONE,
    "/imports": import_pages.DONE,
    "/settings/profile": account_pages.DONE,
    "/settings/devices": account_pages.DONE,
    "": context.DONE,
}
INSIDE_A_DEAL = {*said._SAID, *said._UNDOABLE, "findings_changed", "template_removed", "template_too_long"}


def texts(node: ast.AST) -> list[str]:
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def leads(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Beginning of the address and code of every `done` in a file; `after` stands for the pages inside a deal."""
    for node in ast.walk(tree):
        parts = texts(node) if isinstance(node, ast.JoinedStr | ast.Constant) else []
        for index, part in enumerate(parts):
            found = re.search(r"[?&]done=([a-z_-]*)$", part)
            if found and (isinstance(node, ast.JoinedStr) or part.startswith("/")):
                # With nothing behind the sign the code is one of those chosen between.
                yield from ((parts[0], code) for code in ([found[1]] if found[1] else parts[index + 1 :]))
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "after":
            yield from (("after", code) for code in texts(node.args[2]) if code)
        elif node.func.id == "_do" and len(node.args) > 1:
            yield from (("/admin/", code) for code in texts(node.args[1]))
        elif node.func.id == "_address":
            yield from (("", code) for each in node.keywords if each.arg == "done" for code in texts(each.value))


def test_every_done_has_its_words() -> None:
    led = defaultdict(set)
    for path in sorted(APP.rglob("*.py")):
        for address, code in leads(ast.parse(path.read_text())):
            led["after" if address == "after" else next(start for start in TABLES if address.startswith(start))].add(code)
    assert led.pop("after") == INSIDE_A_DEAL
    assert all(said.said_of({"done": code, "undo": "1", "number": "2"}) for code in INSIDE_A_DEAL)
    account = led.pop("/settings/profile") | led.pop("/settings/devices")
    assert account == set(account_pages.DONE)
    assert led == {start: set(TABLES[start]) for start in ("/admin/", "/imports", "")}
