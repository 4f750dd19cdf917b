"""Search in the words of a deal, whatever the case of their letters, on every database alike."""

import unicodedata
from functools import cache
from itertools import islice

from sqlalchemy import ColumnElement, and_, case, func

from app.models import Deal

# More words only narrow what is hardly anything by then.
MAX_WORDS = 8
# SQLite's parser gives up at some 26 calls within one another here. A query rarely has a dozen different letters beyond ASCII.
MAX_FOLDED = 20

_SEARCHED: ColumnElement[str] = Deal.name + "\n" + Deal.acquirer + "\n" + Deal.tagline + "\n" + Deal.categories


def matches(q: str, text: ColumnElement[str] = _SEARCHED) -> ColumnElement[bool]:
    """Every word of `q` stands in `text`: the deal's name, acquirer, tagline or categories. `%` and `_` mean themselves."""
    folded = "".join(map(_fold, unicodedata.normalize("NFC", q)))
    searched = _in_case_of(folded, func.lower(text))
    return and_(True, *(searched.contains(word, autoescape=True) for word in folded.split()[:MAX_WORDS]))


def relevance(q: str) -> ColumnElement[str]:
    """For sorting what `matches`, A to Z: names that begin with `q`, names with a word that does, other names, the rest; each by name."""
    folded = " ".join("".join(map(_fold, unicodedata.normalize("NFC", q))).split())
    name = _in_case_of(folded, func.lower(Deal.name))
    begins = (" " + name).contains(" " + folded, autoescape=True)
    rank = case((name.startswith(folded, autoescape=True), "0"), (begins, "1"), (name.contains(folded, autoescape=True), "2"), else_="3")
    return rank + func.lower(Deal.name)


def _in_case_of(folded: str, text: ColumnElement[str]) -> ColumnElement[str]:
    """`text`, which is in lower ASCII case, in lower case as far as `folded` needs it.

    SQLite's lower() knows ASCII only and PostgreSQL's depends on the locale of the database, so the other letters that
    are looked for are folded here, one by one.
    """
    letters = sorted({letter for letter in folded if not letter.isascii()})
    pairs = [(variant, letter, rank) for letter in letters for rank, variant in enumerate(_variants().get(letter, ""))]
    for variant, letter, _ in islice(sorted(pairs, key=lambda pair: pair[2]), MAX_FOLDED):
        text = func.replace(text, variant, letter)
    return text


def _fold(letter: str) -> str:
    folded = letter.casefold()
    return folded if len(folded) == 1 else letter


@cache
def _variants() -> dict[str, str]:
    """By folded letter outside ASCII: the other letters that fold to it, the capital first."""
    variants: dict[str, str] = {}
    for letter in map(chr, range(128, 0x1E944)):
        folded = _fold(letter)
        if folded != letter:
            variants[folded] = variants.get(folded, "") + letter
    return variants
