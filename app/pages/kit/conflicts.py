"""What a form and a change that somebody else saved meanwhile make together, field by field, and what is left to be chosen.

A field that one side changed is that side's; a text is merged by lines. Where both changed the same line the form holds mine, and
beside it, in `conflict-…`, what it was drawn with and which of its lines stand against which of theirs. So it can be told whether
the person chose or edited, also without a script, and theirs can be put in without sending any text twice.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from app.history.merge import By, Piece, Span, mark_words, merge, text_of
from app.pages.kit.fields import Field

_RANGES = re.compile(r"(\d{1,5})-(\d{1,5})=(\d{1,5})-(\d{1,5})", re.ASCII)


class Contrast(NamedTuple):
    """Some lines as they are on two sides, with what differs marked inside them."""

    before: list[Span]
    after: list[Span]


class Difference(NamedTuple):
    """What is there to be seen of a field. `mark` is what the form says of its clashes."""

    field: Field
    pieces: list[Piece]
    mark: str = ""

    @property
    def merged(self) -> list[Contrast]:
        """What they alone changed, from before to after."""
        return [_contrast(self.field, each.base, each.theirs) for each in self.pieces if each.by == "theirs"]

    @property
    def clashes(self) -> list[Contrast]:
        """What both changed, theirs beside mine."""
        return [_contrast(self.field, each.theirs, each.mine) for each in self.pieces if each.by == "conflict"]


def meet(field: Field, base: str | None, mine: str, theirs: str) -> tuple[str, Difference]:
    """The value of the field now, and what there is to be seen. Without a `base` whatever differs was changed by both."""
    if field.kind == "prose":
        pieces = merge(base or "", mine, theirs)
    else:
        by: By = "both" if mine == theirs else "theirs" if mine == base else "mine" if theirs == base else "conflict"
        pieces = [Piece(by, (base or "",), (mine,), (theirs,))]
    text, ranges = text_of(pieces), _ranges(pieces)
    return text, Difference(field, pieces, _mark(text, ranges) if ranges else "")


def contrasts(field: Field, before: str, after: str) -> list[Contrast]:
    """What differs between two values of a field."""
    return meet(field, before, before, after)[1].merged


def is_open(mark: str, typed: str, choice: str) -> bool:
    """Whether nobody has chosen yet, nor changed what is in the field."""
    return choice not in ("mine", "theirs") and _digest(typed) == mark.partition(" ")[0]


def take_theirs(field: Field, mark: str, typed: str, theirs: str) -> str:
    """With their lines where they stand against mine. An edit counts as one's own choice: `typed` stays."""
    if field.kind != "prose":
        return theirs
    lines, whole = typed.split("\n"), theirs.split("\n")
    if _digest(typed) == mark.partition(" ")[0]:
        for start, end, from_, to in reversed(_parse(mark)):
            lines[start:end] = whole[from_:to]
    return "\n".join(lines)


def still_open(field: Field, mark: str, typed: str, theirs: str) -> Difference:
    """The same once more: the form was sent without a choice."""
    mine, other = typed.split("\n"), theirs.split("\n")
    ranges = _parse(mark) if field.kind == "prose" else [(0, len(mine), 0, len(other))]
    return Difference(field, [Piece("conflict", (), tuple(mine[a:b]), tuple(other[c:d])) for a, b, c, d in ranges], mark)


def _contrast(field: Field, before: Sequence[str], after: Sequence[str]) -> Contrast:
    one, other = (field.shown("\n".join(lines)) for lines in (before, after))
    if field.options or field.kind in ("check", "day"):
        return Contrast([Span(one, True)] if one else [], [Span(other, True)] if other else [])
    return Contrast(*mark_words(one, other))


def _ranges(pieces: Sequence[Piece]) -> list[tuple[int, int, int, int]]:
    """Of each clash: its lines in the merged text, and in theirs."""
    found, at, there = [], 0, 0
    for each in pieces:
        if each.by == "conflict":
            found.append((at, at + len(each.merged), there, there + len(each.theirs)))
        at, there = at + len(each.merged), there + len(each.theirs)
    return found


def _mark(text: str, ranges: Sequence[tuple[int, int, int, int]]) -> str:
    return " ".join([_digest(text), *(f"{a}-{b}={c}-{d}" for a, b, c, d in ranges)])


def _parse(mark: str) -> list[tuple[int, int, int, int]]:
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d in _RANGES.findall(mark)]


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
