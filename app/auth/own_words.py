"""Rejects passwords built from public facts about a person: name, address, organisation, this site."""

import re
import unicodedata
from collections.abc import Iterable

from app.auth.common_passwords import SWAPS, WORDS

PRODUCT = "holdfast"
MIN_WORD = 3
# Fewer letters than this beside such words are an ornament.
MIN_OF_ITS_OWN = 5
_TOP_LEVEL = re.compile(r"\.[^.]*$")


def own_words(*, email: str = "", name: str = "", organisation: str = "") -> frozenset[str]:
    """The words, and each text without its blanks and signs."""
    local, _, domain = email.partition("@")
    texts = (local, _TOP_LEVEL.sub("", domain), name, organisation, PRODUCT)
    words = {_plain(piece) for text in texts for piece in [text, *re.split(r"[\W_]+", text)]}
    return frozenset(word for word in words if len(word) >= MIN_WORD)


def is_made_of(password: str, words: Iterable[str]) -> bool:
    """Whether little is left of the password without these words, or only a common password."""
    spellings = set(words) | {word.translate(SWAPS) for word in words}
    longest_first = sorted(spellings, key=len, reverse=True)
    return any(_rest_is_nothing(text, longest_first) for text in {_plain(password), _plain(password.lower().translate(SWAPS))})


def is_hardly_changed(new: str, current: str) -> bool:
    """Whether only case, or digits and signs at the ends, differ: whoever knew the old password would guess it."""
    old_core, new_core = _core(current), _core(new)
    return _plain(new) == _plain(current) or (old_core == new_core and len(old_core) >= MIN_OF_ITS_OWN)


def _rest_is_nothing(text: str, words: list[str]) -> bool:
    rest = text
    for word in words:
        rest = rest.replace(word, " ")
    letters = re.sub(r"[\W\d_]+", "", rest)
    return rest != text and (len(letters) < MIN_OF_ITS_OWN or letters in WORDS)


def _plain(text: str) -> str:
    """Letters and digits alone, without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text[:1024])
    return re.sub(r"[\W_]+", "", "".join(each for each in decomposed if not unicodedata.combining(each)).casefold())


def _core(text: str) -> str:
    return re.sub(r"^\d+|\d+$", "", _plain(text))
