"""Three texts become one, and no line of either side is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.history.merge import MAX_STEPS, Change, Piece, changes, mark_words, merge, text_of

# Few different lines, so that the three texts often share some, repeat some, and have empty ones.
texts = st.lists(st.sampled_from(("", " ", "a", "b", "c d", "c e")), max_size=9).map("\n".join)


def conflicts(pieces: list[Piece]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(each.mine, each.theirs) for each in pieces if each.by == "conflict"]


@given(texts, texts, texts)
def test_both_sides_are_in_the_pieces_to_the_line(base: str, mine: str, theirs: str) -> None:
    pieces = merge(base, mine, theirs)
    for side, text in (("base", base), ("mine", mine), ("theirs", theirs)):
        assert [line for piece in pieces for line in getattr(piece, side)] == text.split("\n")
    for each in pieces:
        assert {"nobody": each.base == each.mine == each.theirs, "mine": each.base == each.theirs, "theirs": each.base == each.mine}.get(
            each.by, each.mine == each.theirs if each.by == "both" else each.mine != each.theirs
        ), each


@given(texts, texts, texts)
def test_it_is_the_same_seen_from_the_other_side(base: str, mine: str, theirs: str) -> None:
    turned = {"mine": "theirs", "theirs": "mine"}
    seen = [Piece(turned.get(each.by, each.by), each.base, each.theirs, each.mine) for each in merge(base, theirs, mine)]  # type: ignore[arg-type]
    assert seen == merge(base, mine, theirs)


@given(texts, texts)
def test_what_one_side_changed_alone_and_what_both_changed_alike_is_no_conflict(base: str, changed: str) -> None:
    for sides in ((base, changed), (changed, base), (changed, changed)):
        pieces = merge(base, *sides)
        assert (conflicts(pieces), text_of(pieces)) == ([], changed)


@given(texts, texts)
def test_words_are_marked_in_both_and_none_is_dropped(one: str, other: str) -> None:
    spans = mark_words(one, other)
    assert ["".join(each.text for each in side) for side in spans] == [one, other]
    shared = ["".join(each.text for each in side if not each.differs) for side in spans]
    assert shared[0] == shared[1]


@pytest.mark.parametrize(
    ("mine", "theirs", "merged", "both"),
    [
        ("A\nb\nc", "a\nb\nC", "A\nb\nC", []),
        ("A\nb\nc", "a\nB\nc", "A\nB\nc", []),
        ("A\nB\nc", "a\nb\nC", "A\nB\nC", []),
        ("a\nb\nc\nd", "new\na\nb\nc", "new\na\nb\nc\nd", []),
        ("b\nc", "a\nb\nc\nd", "b\nc\nd", []),
        ("a\nmine\nc", "a\ntheirs\nc", "a\nmine\nc", [(("mine",), ("theirs",))]),
        ("a\nb\nc\nmine", "a\nb\nc\ntheirs", "a\nb\nc\nmine", [(("mine",), ("theirs",))]),
        ("a\nc", "a\nB\nc", "a\nc", [((), ("B",))]),
    ],
)
def test_different_lines_merge_and_the_same_line_does_not(mine: str, theirs: str, merged: str, both: list[object]) -> None:
    pieces = merge("a\nb\nc", mine, theirs)
    assert (text_of(pieces), conflicts(pieces)) == (merged, both)


def test_what_would_take_long_is_one_change() -> None:
    number = 2 * int(MAX_STEPS**0.5)
    assert changes(["a", *"x" * number, "b"], ["a", *"yx" * number, "b"]) == [Change(1, number, 1, 2 * number)]
    assert len(changes(["x"] * 50, ["y", "x"] * 50)) == 50
