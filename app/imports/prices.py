"""Reads a price in US dollars. The column decides what "1.234" means, if it proves anything."""

import re
from decimal import Decimal
from typing import Literal

from app.imports.malformed import Malformed

# "" where the column has no number that tells, "both" where its numbers contradict each other.
DecimalMark = Literal["", ".", ",", "both"]

UNDISCLOSED = frozenset(
    {
        "undisclosed amount", "undisclosed", "not disclosed", "unknown", "confidential", "tbd", "nicht bekannt", "unbekannt",
        "vertraulich", "non divulgué", "non communiqué", "confidentiel", "no divulgado", "confidencial",
    }
)  # fmt: skip
# A quadrillion: far above any price, and below 2**53, so that a browser still reads it exactly.
MAX_PRICE = 10**15
MAX_NUMBER = 40

_DOLLARS = r"(?:us\$|\$us|usd|us dollars?|dollars?|dólares|\$)"
_OTHER = re.compile(
    r"€|£|¥|₹|\b(?:eur|euros?|chf|sfr|fr|gbp|jpy|cny|rmb|inr|cad|aud|sek|nok|dkk|pln|brl|hk\$|c\$|a\$|s\$)(?![a-z])\.?|(?:hk|c|a|s|ca|au|nz)\$"
)
_SCALES = {
    3: "k thousand tsd tausend mille",
    6: "m mm mn mio mln mill million millions millionen millón millones",
    9: "b bn billion mrd md mds milliard milliards milliarde milliarden",
    12: "t tn trillion billionen billones",
}
_POWERS = {word: power for power, words in _SCALES.items() for word in words.split()}
_SCALE = "|".join(sorted(_POWERS, key=len, reverse=True))
_PRICE = re.compile(rf"{_DOLLARS}?\s*([0-9][0-9.,' ]*?)\s*(e[+-][0-9]{{1,2}})?\s*(?:({_SCALE})\.?)?\s*{_DOLLARS}?")
# 1,234,567.89 · 1.234.567,89 · 1 234 567 · 1'234'567: groups of three, then perhaps the other sign and decimals.
_GROUPED = re.compile(r"([0-9]{1,3}([,. '])[0-9]{3}(?:\2[0-9]{3})*)(?:(?!\2)([.,])([0-9]+))?")
_INDIAN = re.compile(r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}")
_PLAIN = re.compile(r"[0-9]+(?:[.,][0-9]+)?")
_ALIKE = str.maketrans("’‘ʼ´`−\u2012\u2013\u2014", "'''''----")
# An accountant's nothing.
_NOTHING = re.compile(rf"{_DOLLARS}?\s*-+\s*{_DOLLARS}?")


def is_no_price(text: str) -> bool:
    """An accountant's dash, with its sign: "$ -"."""
    return _NOTHING.fullmatch(_plain(text)) is not None


def parse_price(text: str, decimal_mark: DecimalMark = "") -> int | None:
    """Whole US dollars, or None where the export says that they are undisclosed. Raises `Malformed`."""
    lowered = _plain(text)
    if lowered in UNDISCLOSED:
        return None
    if len(text) > MAX_NUMBER:
        raise Malformed("is too long for a price")
    if re.match(r"[\s$usd]*[-(]", lowered) or lowered.endswith("-"):
        raise Malformed("is a negative price")
    match = _PRICE.fullmatch(lowered)
    if match is None:
        if other := _OTHER.search(lowered):
            raise Malformed(f"is in {other[0].upper()}: prices are US dollars, and nothing is converted")
        raise Malformed("is not a price in US dollars")
    digits, exponent, scale = match.groups()
    number = _number(digits, decimal_mark, scaled=scale is not None or exponent is not None)
    price = round(number.scaleb(int(exponent[1:]) if exponent else 0).scaleb(_POWERS[scale] if scale else 0))
    if price > MAX_PRICE:
        raise Malformed("is higher than any price can be")
    return price


def decimal_mark_in(text: str) -> DecimalMark:
    """The sign of decimals that this number proves, "" where it proves none."""
    match = _PRICE.fullmatch(_plain(text)) if len(text) <= MAX_NUMBER else None
    if match is None:
        return ""
    digits = match[1]
    if grouped := _GROUPED.fullmatch(digits):
        sign, mark = grouped[2], grouped[3]
        if mark:
            return "." if mark == "." else ","
        if sign in ",." and digits.count(sign) > 1:
            return "." if sign == "," else ","
        return ""
    if _PLAIN.fullmatch(digits) and (mark := re.sub("[0-9]", "", digits)):
        return "." if mark == "." else ","
    return ""


def _plain(text: str) -> str:
    return " ".join(text.translate(_ALIKE).casefold().split())


def _number(digits: str, decimal_mark: DecimalMark, *, scaled: bool) -> Decimal:
    """The number in either notation. "1.234" alone could be either: what the column says counts, then what nobody doubts."""
    grouped = _GROUPED.fullmatch(digits)
    could_be_either = grouped is not None and grouped[2] in ",." and digits.count(grouped[2]) == 1 and not grouped[3]
    if could_be_either and decimal_mark == "both":
        raise Malformed("is an ambiguous number: the column has decimal commas and decimal points")
    if could_be_either and decimal_mark and grouped is not None:
        return Decimal(digits.replace(",", ".")) if grouped[2] == decimal_mark else Decimal(re.sub("[^0-9]", "", digits))
    if grouped and (not could_be_either or grouped[2] == ","):
        return Decimal(re.sub(r"[^0-9]", "", grouped[1]) + "." + (grouped[4] or "0"))
    if not _PLAIN.fullmatch(digits):
        raise Malformed("is not a price in US dollars")
    if not scaled and could_be_either:
        raise Malformed("is an ambiguous number (write 1,234 or 1234)")
    return Decimal(digits.replace(",", "."))
