"""One word for one idea: the glossary says each once, and words that were replaced do not come back."""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("app", "worker") for path in (ROOT / room).rglob("*.py"))
DOCS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
# Names that were replaced by the field's own; a leading underscore makes no other of them.
RETIRED_NAMES = {
    "BLAMELESS",
    "Claim",
    "DROP_NEWCOMERS",
    "Deed",
    "HouseConnection",
    "HouseRequest",
    "INDEXED_KEY",
    "MEND_READ_ONLY",
    "Pace",
    "Patience",
    "SessionStore",
    "an_older_one_lives",
    "assure_patience",
    "bury",
    "encode_claim",
    "fall",
    "forget_nothing",
    "has_rested",
    "house",
    "leave_restored",
    "limit_patience",
    "limit_patience_of",
    "look_again",
    "nothing_until",
    "patient",
    "refuse_newcomers",
    "rise",
    "settle",
    "settled_id",
    "still_so",
    "sure_of",
    "tell_blindness",
    "tell_epoch",
    "tell_fall",
    "tell_nobody",
    "untold",
    "where_on",
}
RETIRED_PREFIXES = ("MOST_", "LEAST_", "FEWEST_")
RETIRED_PHRASES = re.compile(r"(?:nobody|no one) foresaw|stumbled|signs? of life|Redis is left alone", re.IGNORECASE)


def identifiers(path: Path) -> Iterator[tuple[str, int]]:
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.NAME:
                yield token.string, token.start[0]


def texts(path: Path) -> Iterator[tuple[str, int]]:
    """String literals, those with placeholders included."""
    literals = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type in literals:
                yield token.string, token.start[0]


def test_retired_names_do_not_come_back() -> None:
    names = [(path, line, name) for path in SOURCES for name, line in identifiers(path)]
    assert len(names) > 100_000, "the code was read"
    bare = [(str(path.relative_to(ROOT)), line, name.lstrip("_")) for path, line, name in names]
    assert [found for found in bare if found[2] in RETIRED_NAMES or found[2].startswith(RETIRED_PREFIXES)] == []


def test_the_session_library_names_nothing_of_the_app() -> None:
    """What sessions are for is the app's to say; the import contracts in pyproject.toml hold the rest."""
    sources = sorted((ROOT / "app" / "sessions").glob("*.py"))
    assert len(sources) > 10, "the library was read"
    named = [(path.name, found[0]) for path in sources for found in re.finditer(r"deal\w*|audit\w*", path.read_text(), re.IGNORECASE)]
    assert named == []


def test_retired_phrases_stand_in_no_text_of_the_code() -> None:
    found = [(path, line, text) for path in SOURCES for text, line in texts(path) if RETIRED_PHRASES.search(text)]
    assert [(str(path.relative_to(ROOT)), line, text) for path, line, text in found] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_retired_phrases_stand_in_no_page(page: Path) -> None:
    assert [found[0] for found in RETIRED_PHRASES.finditer(" ".join(page.read_text().split()))] == []


def test_the_glossary_says_each_word_once() -> None:
    rows = re.findall(r"^\| (\*\*.+?) \|", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"\*\*(.+?)\*\*", row)]
    assert len(words) > 40, "the table was found"
    assert sorted(words) == sorted(set(words))
