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
    "BAD_LOOKS_TO_FLIP",
    "BLAMELESS",
    "Claim",
    "DROP_NEWCOMERS",
    "Deed",
    "GLANCE",
    "GOOD_LOOKS_TO_RISE",
    "HouseConnection",
    "HouseRequest",
    "INDEXED_KEY",
    "LAST_ARRIVALS",
    "LAST_WORDS_SECONDS",
    "LOOK_EVERY",
    "LOOK_SECONDS",
    "MAX_AT_HAND",
    "MEND_READ_ONLY",
    "Pace",
    "Patience",
    "STANDS_STILL_AFTER",
    "STATES_AHEAD",
    "SessionStore",
    "TOLD_EVERY",
    "Tell",
    "Told",
    "an_older_one_lives",
    "assure_patience",
    "break_off",
    "bring_back_deal",
    "bring_back_thing",
    "bury",
    "close_for_another",
    "deed",
    "encode_claim",
    "fall",
    "forget_nothing",
    "has_rested",
    "hash_of_nobody",
    "house",
    "keep_an_administrator",
    "keep_locally",
    "leave_restored",
    "limit_patience",
    "limit_patience_of",
    "list_at_hand",
    "look_again",
    "look_at",
    "look_at_link",
    "look_at_places",
    "look_at_streams",
    "nothing_until",
    "patient",
    "put_aside",
    "put_one_out",
    "refuse_newcomers",
    "rise",
    "see_cells",
    "see_merged",
    "settle",
    "settled_id",
    "stands_still",
    "step_back",
    "still_so",
    "sure_of",
    "take_over",
    "take_up",
    "tell_blindness",
    "tell_ended",
    "tell_epoch",
    "tell_fall",
    "tell_nobody",
    "tell_refusal",
    "tell_security_event",
    "told",
    "untold",
    "weigh_chunks",
    "weigh_head",
    "where_on",
}
RETIRED_PREFIXES = ("MOST_", "LEAST_", "FEWEST_", "LARGEST_", "HIGHEST_")
RETIRED_PHRASES = re.compile(
    r"(?:nobody|no one) foresaw|stumbled|signs? of life|(?:is|are|was|were) taken up\b|Redis is left alone"
    r"|nothing that \w+ or \w+ does ends",
    re.IGNORECASE,
)


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
