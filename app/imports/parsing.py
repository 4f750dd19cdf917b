"""Turns the text of one cell into a year, an address or clean text. `dates.py` and `prices.py` are about the others."""

import re
import unicodedata

from app.core.invisible_characters import DIRECTION_MARKS, strip_invisible
from app.core.unicode_forms import MAX_MARKS, normal_form
from app.imports.dates import EARLIEST_YEAR, LATEST_YEAR
from app.imports.malformed import Malformed

# An export's words for "nothing known", besides an empty cell.
BLANKS = frozenset(
    {"", "-", "–", "—", "n/a", "#n/a", "#value!", "#ref!", "#div/0!", "#name?", "#num!", "#null!", "#nv", "#wert!", "null", "k.a.", "n.d."}
)

_ADDRESS = re.compile(r"https?://[^\s\"<>]+", re.IGNORECASE)
_BARE_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)+(?:/[^\s\"<>]*)?")


def is_blank(text: str) -> bool:
    return text.casefold() in BLANKS


def clean_text(raw: str) -> str:
    """Fold white space, compose accents, drop what cannot be seen. Raises `Malformed` for control characters."""
    if not (raw.isascii() and raw.isprintable()):
        raw = strip_invisible(raw)
        for character in raw:
            if character in DIRECTION_MARKS or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\r\n"):
                raise Malformed(f"holds the control character U+{ord(character):04X}")
        try:
            raw = normal_form("NFC", raw)
        except ValueError:
            raise Malformed(f"has more than {MAX_MARKS} accents on one letter") from None
    return " ".join(raw.split())


def parse_year(text: str) -> int:
    match = re.fullmatch(r"([0-9]{4})(?:\.0+)?", text)
    if match is None or not EARLIEST_YEAR <= int(match[1]) <= LATEST_YEAR:
        raise Malformed("is not a year")
    return int(match[1])


def parse_addresses(text: str) -> str:
    """One web address, or several with commas between. Anything else could run as a script where it is shown as a link."""
    text = text.strip(" ,;")
    if _BARE_HOST.fullmatch(text):
        return f"http://{text}"
    if not all(_ADDRESS.fullmatch(part) for part in re.split(r"[,;]?\s+", text)):
        raise Malformed("is not a web address")
    return text
