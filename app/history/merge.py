"""Three-way merge by lines, and what differs inside a line. Pure functions, over the standard library's difflib."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

# What a comparison may take, in pairs looked at: some 30 ms of a core. Beyond it what lies between the first and the last
# difference counts as one change, so that a text made to be slow costs nobody else their turn, and still nothing is lost.
MAX_STEPS = 500_000
_WORDS = re.compile(r"\w+|\s+|.", re.DOTALL)

Lines = tuple[str, ...]
By = Literal["nobody", "mine", "theirs", "both", "conflict"]


class Change(NamedTuple):
    """What stands at `start` to `end` before, and at `to_start` to `to_end` after; one of the two may be empty."""

    start: int
    end: int
    to_start: int
    to_end: int


class Piece(NamedTuple):
    """Some lines that follow each other, in all three texts, and who changed them: `both` changed them alike."""

    by: By
    base: Lines
    mine: Lines
    theirs: Lines

    @property
    def merged(self) -> Lines:
        """A conflict is mine until somebody has chosen."""
        return self.theirs if self.by == "theirs" else self.mine


class Span(NamedTuple):
    """A part of a line, and whether the other line has it too."""

    text: str
    differs: bool


def merge(base: str, mine: str, theirs: str) -> list[Piece]:
    """The pieces in their order. Put together, `mine` of each is all of mine, and `theirs` all of theirs: no line is lost."""
    texts = tuple(tuple(each.split("\n")) for each in (base, mine, theirs))
    ours, other = (_line_by_line(changes(texts[0], each)) for each in texts[1:])
    pieces: list[Piece] = []
    at = (0, 0, 0)
    for group, of_theirs in _grouped(ours, other):
        start, end = min(each.start for each in group + of_theirs), max(each.end for each in group + of_theirs)
        same = start - at[0]
        begin = (start, at[1] + same, at[2] + same)
        stop = (end, begin[1] + end - start + _growth(group), begin[2] + end - start + _growth(of_theirs))
        if same:
            pieces.append(_piece("nobody", texts, at, begin))
        by: By = "mine" if not of_theirs else "theirs" if not group else "conflict"
        piece = _piece(by, texts, begin, stop)
        pieces.append(piece._replace(by="both") if by == "conflict" and piece.mine == piece.theirs else piece)
        at = stop
    if at[0] < len(texts[0]):
        pieces.append(_piece("nobody", texts, at, (len(texts[0]), len(texts[1]), len(texts[2]))))
    return _joined(pieces)


def text_of(pieces: Iterable[Piece]) -> str:
    return "\n".join(line for piece in pieces for line in piece.merged)


def compare(before: str, after: str) -> list[Piece]:
    """The same of two texts: what is not alike is by `theirs`."""
    return merge(before, before, after)


def changes(before: Sequence[str], after: Sequence[str]) -> list[Change]:
    """Between two sequences of lines, or of words, in order; between two of them stands at least one that is in both."""
    first, last = 0, 0
    shorter = min(len(before), len(after))
    while first < shorter and before[first] == after[first]:
        first += 1
    while last < shorter - first and before[-1 - last] == after[-1 - last]:
        last += 1
    old, new = before[first : len(before) - last], after[first : len(after) - last]
    if not old and not new:
        return []
    if not old or not new or _steps(old, new) > MAX_STEPS:
        return [Change(first, first + len(old), first, first + len(new))]
    found = SequenceMatcher(_is_blank, old, new, autojunk=False).get_opcodes()
    return [Change(first + a, first + b, first + c, first + d) for tag, a, b, c, d in found if tag != "equal"]


def mark_words(one: str, other: str) -> tuple[list[Span], list[Span]]:
    """Two texts in parts, word by word: what they share, and what each has alone."""
    words = _WORDS.findall(one), _WORDS.findall(other)
    found = changes(*words)
    return _spans(words[0], [(each.start, each.end) for each in found]), _spans(words[1], [(each.to_start, each.to_end) for each in found])


def _spans(words: Sequence[str], differing: Sequence[tuple[int, int]]) -> list[Span]:
    spans, at = [], 0
    for start, end in (*differing, (len(words), len(words))):
        spans += [Span("".join(words[at:start]), False), Span("".join(words[start:end]), True)]
        at = end
    return [each for each in spans if each.text]


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbours that the same side changed are one piece."""
    joined: list[Piece] = []
    for each in pieces:
        if joined and joined[-1].by == each.by:
            last = joined.pop()
            each = Piece(each.by, last.base + each.base, last.mine + each.mine, last.theirs + each.theirs)
        joined.append(each)
    return joined


def _line_by_line(found: list[Change]) -> list[Change]:
    """Where as many lines stand as before, each took the place of one."""
    return [each for change in found for each in _singly(change)]


def _singly(change: Change) -> list[Change]:
    number = change.end - change.start
    if number != change.to_end - change.to_start:
        return [change]
    return [Change(change.start + n, change.start + n + 1, change.to_start + n, change.to_start + n + 1) for n in range(number)]


def _grouped(mine: list[Change], theirs: list[Change]) -> Iterable[tuple[list[Change], list[Change]]]:
    """Changes of both sides that meet in the base belong together; all others stand alone. In the order of the base."""
    left, right = list(mine), list(theirs)
    while left or right:
        sides: tuple[list[Change], list[Change]] = ([], [])
        first = min((side[0] for side in (left, right) if side), key=lambda each: (each.start, each.end))
        taken = [first]
        sides[0 if left and left[0] == first else 1].append((left if left and left[0] == first else right).pop(0))
        grew = True
        while grew:
            grew = False
            for mates, waiting in zip(sides, (left, right), strict=True):
                while waiting and any(_meet(waiting[0], each) for each in taken):
                    mates.append(waiting.pop(0))
                    taken.append(mates[-1])
                    grew = True
        yield sides


def _meet(one: Change, other: Change) -> bool:
    """Both change the same line, or put something into the same place."""
    if one.start == one.end and other.start == other.end:
        return one.start == other.start
    return one.start < other.end and other.start < one.end


def _growth(group: list[Change]) -> int:
    return sum((each.to_end - each.to_start) - (each.end - each.start) for each in group)


def _piece(by: By, texts: tuple[Lines, ...], begin: tuple[int, ...], stop: tuple[int, ...]) -> Piece:
    base, mine, theirs = (text[start:end] for text, start, end in zip(texts, begin, stop, strict=True))
    return Piece(by, base, mine, theirs)


def _is_blank(line: str) -> bool:
    """Empty lines and spaces are everywhere: that two texts have one is no sign that they are alike there."""
    return not line.strip()


def _steps(old: Sequence[str], new: Sequence[str]) -> int:
    """At most how many pairs difflib looks at: for each match it finds, all pairs of equal lines."""
    counted = Counter(each for each in new if not _is_blank(each))
    pairs = sum(counted[each] for each in old)
    return (pairs + len(old)) * min(len(old), len(new), pairs + 1)
