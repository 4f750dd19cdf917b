"""Unicode's normal forms, at a bounded cost.

Putting accents in order takes the square of their number where there are many in a row: 32 000 on one letter keep a process busy for
seconds. No language has more than a few, and Unicode's stream-safe format (UAX 15) allows 30.
"""

import unicodedata
from typing import Literal

MAX_MARKS = 30


def normal_form(form: Literal["NFC", "NFKC", "NFKD"], text: str) -> str:
    """`text` in this form. Raises ValueError, in words that follow the name of what it is, for too many accents on one letter."""
    if text.isascii():
        return text
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character)[0] == "M" else 0
        if marks > MAX_MARKS:
            raise ValueError(f"more than {MAX_MARKS} accents on one letter are not allowed")
    return unicodedata.normalize(form, text)
