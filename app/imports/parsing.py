"""Turns the text of one cell into a date, a year, a price, an address or clean text."""

import re
import unicodedata
from datetime import date
from decimal import Decimal

from app.normalisation import MAX_MARKS, normal_form

# An export's words for "nothing known", besides an empty cell.
BLANKS = frozenset({"", "-", "–", "—", "n/a", "#n/a", "#value!", "null"})
UNDISCLOSED = frozenset({"undisclosed amount", "undisclosed", "not disclosed", "unknown", "confidential", "tbd"})

# A quadrillion: far above any price, and below 2**53, so that a browser still reads it exactly.
HIGHEST_PRICE = 10**15
LONGEST_NUMBER = 40

# A deal or a company cannot be older than the modern calendar; a typo of the future such as 2104 is kept for people to see.
EARLIEST_YEAR, LATEST_YEAR = 1583, 2999

_DAY_MONTH_YEAR = re.compile(r"([0-9]{1,2})([/.-])([0-9]{1,2})\2([0-9]{4})")
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ][0-9:.]+(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?")
_DAY_NAME_YEAR = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th)?[ .-]+([a-z]{3,9})[ .,-]+([0-9]{4})")
_NAME_DAY_YEAR = re.compile(r"([a-z]{3,9})[ .]+([0-9]{1,2})(?:st|nd|rd|th)?,?[ ]+([0-9]{4})")
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")

_PRICE = re.compile(
    r"(?:us\$|usd|\$)?\s*([0-9][0-9.,' ]*?)\s*(k|thousand|m|mm|mn|mln|million|b|bn|billion|t|tn|trillion)?"
    r"\s*(?:us\$|usd|us dollars|dollars|\$)?"
)
_SCALES = {"k": 3, "th": 3, "m": 6, "b": 9, "t": 12}
# 1,234,567.89 · 1.234.567,89 · 1 234 567 · 1'234'567: groups of three, then perhaps the other sign and decimals.
_GROUPED = re.compile(r"([0-9]{1,3}([,. '])[0-9]{3}(?:\2[0-9]{3})*)(?:(?!\2)[.,]([0-9]{1,2}))?")
_PLAIN = re.compile(r"[0-9]+(?:[.,][0-9]{1,4})?")

_ADDRESS = re.compile(r"https?://[^\s\"<>]+", re.IGNORECASE)
_BARE_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)+(?:/[^\s\"<>]*)?")
# Overrides of writing direction make a name read as another one.
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Malformed(ValueError):
    """The text cannot be what its column holds; the message is the rest of a sentence about it."""


def is_blank(text: str) -> bool:
    return text.casefold() in BLANKS


def clean_text(raw: str) -> str:
    """Fold white space and compose accents. Raises `Malformed` for control characters."""
    if not (raw.isascii() and raw.isprintable()):
        for character in raw:
            if character in _DIRECTION or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\r\n"):
                raise Malformed(f"holds the control character U+{ord(character):04X}")
        try:
            raw = normal_form("NFC", raw)
        except ValueError:
            raise Malformed(f"has more than {MAX_MARKS} accents on one letter") from None
    return " ".join(raw.split())


def parse_date(text: str) -> date:
    """Day/month/year, ISO, or with the month's English name. A month that cannot be is not taken for a day."""
    lowered = text.casefold()
    if match := _DAY_MONTH_YEAR.fullmatch(lowered):
        return _date(match[4], int(match[3]), match[1])
    if match := _ISO.fullmatch(text.upper()):
        return _date(match[1], int(match[2]), match[3])
    if match := _DAY_NAME_YEAR.fullmatch(lowered):
        return _date(match[3], _month(match[2]), match[1])
    if match := _NAME_DAY_YEAR.fullmatch(lowered):
        return _date(match[3], _month(match[1]), match[2])
    raise Malformed("is not a date (day/month/year)")


def parse_year(text: str) -> int:
    match = re.fullmatch(r"([0-9]{4})(?:\.0+)?", text)
    if match is None or not EARLIEST_YEAR <= int(match[1]) <= LATEST_YEAR:
        raise Malformed("is not a year")
    return int(match[1])


def parse_price(text: str) -> int | None:
    """Whole US dollars, or None where the export says that they are undisclosed."""
    lowered = text.casefold()
    if lowered in UNDISCLOSED:
        return None
    if len(text) > LONGEST_NUMBER:
        raise Malformed("is too long for a price")
    if re.match(r"[\s$usd]*[-−(]", lowered):
        raise Malformed("is a negative price")
    match = _PRICE.fullmatch(lowered)
    if match is None:
        raise Malformed("is not a price in US dollars")
    price = round(_number(match[1], scaled=match[2] is not None).scaleb(_power(match[2])))
    if price > HIGHEST_PRICE:
        raise Malformed("is higher than any price can be")
    return price


def parse_addresses(text: str) -> str:
    """One web address, or several with commas between. Anything else could run as a script where it is shown as a link."""
    text = text.strip(" ,;")
    if _BARE_HOST.fullmatch(text):
        return f"http://{text}"
    if not all(_ADDRESS.fullmatch(part) for part in re.split(r"[,;]?\s+", text)):
        raise Malformed("is not a web address")
    return text


def _date(year: str, month: int, day: str) -> date:
    try:
        found = date(int(year), month, int(day))
    except ValueError as error:
        raise Malformed("is not a day of the calendar (day/month/year)") from error
    if not EARLIEST_YEAR <= found.year <= LATEST_YEAR:
        raise Malformed("is not a date of our time")
    return found


def _month(name: str) -> int:
    for number, month in enumerate(_MONTHS, start=1):
        if month == name or month[:3] == name or (month[:4] == name and number == 9):
            return number
    raise Malformed("is not a date: no such month")


def _number(digits: str, *, scaled: bool) -> Decimal:
    """The number in either notation. "1.234" alone could be either, so it is refused; "1.234 bn" is a decimal."""
    grouped = _GROUPED.fullmatch(digits)
    if grouped and (grouped[1].count(".") != 1 or grouped[3]):
        return Decimal(re.sub(r"[^0-9]", "", grouped[1]) + "." + (grouped[3] or "0"))
    if not _PLAIN.fullmatch(digits):
        raise Malformed("is not a price in US dollars")
    if not scaled and re.search(r"[.,][0-9]{3}$", digits):
        raise Malformed("is an ambiguous number (write 1,234 or 1234)")
    return Decimal(digits.replace(",", "."))


def _power(scale: str | None) -> int:
    if scale is None:
        return 0
    return _SCALES.get(scale[:2]) or _SCALES[scale[0]]
