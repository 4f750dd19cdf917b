"""Style sheets: who looks for what a class looks like finds one file, in its layer; sizes and heights have names. And templates."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from app.http.style_sheets import LAYERS, NAME, ORDER, SHEETS_FOLDER, StyleSheets

TEMPLATES = sorted((Path(__file__).parents[2] / "app/templates").rglob("*.html"))
SHEETS = {path.stem: path.read_text() for path in sorted(SHEETS_FOLDER.glob("*.css"))}
MAX_LINES, MAX_WIDTH = 400, 160
# Not components: what they say is said by the class beside them, and that class has the file.
STATES = {"on", "appear"}
SPACES = dict(re.findall(r"--(space-\d): (\d+px);", SHEETS["tokens"]))
SPACED = r"(?:(?:row-|column-)?gap|(?:padding|margin)[\w-]*|scroll-padding)"
MACROS = ("empty", "page-head", "pager")


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def styled(text: str) -> set[str]:
    """The classes a sheet styles: the first class of what each of its selectors ends in. What stands before only says where."""
    found = set()
    for head in re.findall(r"([^{};]+)\{", without_comments(text)):
        if head.strip().startswith("@"):
            continue
        plain = re.sub(r"\[[^\]]*\]", "", head)
        while plain != (inner := re.sub(r"\([^()]*\)", "", plain)):
            plain = inner
        for selector in plain.split(","):
            classes = re.findall(r"\.([a-zA-Z][\w-]*)", re.split(r"[\s>+~]+", selector.strip())[-1])
            found.update([name for name in classes if name not in STATES][:1])
    return found


def in_two_files(sheets: dict[str, str]) -> dict[str, list[str]]:
    files = defaultdict(list)
    for name, text in sheets.items():
        for each in styled(text):
            files[each].append(name)
    return {each: names for each, names in files.items() if len(names) > 1}


def raw_heights(text: str) -> list[str]:
    return re.findall(r"z-index: (?!var\(--z-[a-z]+\);)[^;]*", text)


def raw_spaces(text: str) -> list[str]:
    """Spacing that has a name and does not use it."""
    sizes = "|".join(SPACES.values())
    return [each[0] for each in re.findall(rf"(?m)^\s*({SPACED}: [^;]*(?<![\w.-])({sizes})(?!\w)[^;]*);", text) if "calc(" not in each[0]]


def test_no_class_is_styled_in_two_files() -> None:
    assert in_two_files(SHEETS) == {}
    assert in_two_files({"a": ".card > .icon {}", "b": "@media print { .icon:not(.on) { margin: 0; } }"}) == {"icon": ["a", "b"]}
    assert in_two_files({"a": ".card:has(.icon) p {}", "b": ".icon .card {} .on.card {}"}) == {}


def test_every_sheet_is_joined_and_fills_the_layer_of_its_place() -> None:
    assert sorted(ORDER) == sorted(SHEETS)
    layers = []
    for name in ORDER:
        text = without_comments(SHEETS[name]).strip()
        assert text.startswith("@layer "), f"{name}: a rule outside of a layer wins over every layer"
        assert text.count("@layer") == 1, name
        layers.append(text.split()[1])
        depth = [text[:at].count("{") - text[:at].count("}") for at in (match.start() for match in re.finditer(r"\}", text))]
        assert depth.index(1) == len(depth) - 1, f"{name}: something stands behind its layer"
    assert layers == sorted(layers, key=LAYERS.index)


def test_sheets_are_short() -> None:
    assert {name: text.count("\n") for name, text in SHEETS.items() if text.count("\n") > MAX_LINES} == {}


def test_what_lies_over_what_and_spacing_have_names() -> None:
    assert {name: found for name, text in SHEETS.items() if (found := raw_heights(text))} == {}
    assert {name: found for name, text in SHEETS.items() if (found := raw_spaces(text))} == {}
    assert raw_heights("a { z-index: 7; }") == ["z-index: 7"]
    assert raw_spaces("  padding: 10px 8px;\n  margin: -8px 18px;\n  row-gap: 4px;\n") == ["padding: 10px 8px", "row-gap: 4px"]


def test_tokens_are_known() -> None:
    known = set(re.findall(r"(--[\w-]+):", "".join(SHEETS.values())))
    used = {name: set(re.findall(r"var\((--[\w-]+)", text)) - known for name, text in SHEETS.items()}
    assert {name: missing for name, missing in used.items() if missing} == {}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_templates_have_short_lines_and_leave_components_to_their_macros(template: Path) -> None:
    text = template.read_text()
    assert [number for number, line in enumerate(text.splitlines(), start=1) if len(line) > MAX_WIDTH] == []
    if template.name != "macros.html":
        written = re.findall(rf'class="(?:[^"]* )?({"|".join(MACROS)})[" {{]', text)
        assert written == [], "kit/macros.html has a macro for it"
    assert "stylesheet" not in text or template.name == "base.html", "every sheet comes with the one that joins them"


def test_macros_write_what_only_they_may() -> None:
    macros = next(path for path in TEMPLATES if path.name == "macros.html").read_text()
    assert all(re.search(rf'class="[^"]*{name}', macros) for name in MACROS)


def test_sheets_are_joined_once_unless_a_developer_saves_one(tmp_path: Path) -> None:
    file = tmp_path / "a.css"
    file.write_text("@layer base { a { color: red; } }")
    kept, watched = StyleSheets(tmp_path, order=("a",)), StyleSheets(tmp_path, order=("a",), reload=True)
    first, same = kept.joined(), watched.joined()
    assert first == same
    assert first.address == f"/static/{NAME}?v={first.digest[:8]}"
    assert first.body.startswith(b"@layer reset, base, components, modules, utilities;\n@layer base")
    file.write_text("@layer base { a { color: blue; } }")
    assert kept.joined() is first
    assert watched.joined().digest != first.digest
