"""Reads a date. Whether day or month comes first is never guessed from one cell: the column decides, or a person."""

import re
import unicodedata
from collections import defaultdict
from datetime import date, timedelta
from typing import Literal, NamedTuple

from app.imports.malformed import Malformed, Undecided

DateOrder = Literal["day_first", "month_first"]
DATE_ORDERS: tuple[DateOrder, ...] = ("day_first", "month_first")
ORDER_WORDS = {"day_first": "day/month/year", "month_first": "month/day/year"}

# A deal or a company cannot be older than the modern calendar; a typo of the future such as 2104 is kept for people to see.
EARLIEST_YEAR, LATEST_YEAR = 1583, 2999
# Two digits are a year from 1930 to 2029, as Excel has it.
PIVOT = 30
# Serial numbers of spreadsheets, from 1927 to 2119: four digits are rather a year, and six an amount.
_SERIALS = range(10_000, 80_000)

_TIME = (
    r"(?:(?:t|,?\s+|\s*,\s*)[0-9]{1,2}[:.h][0-9]{2}(?:[:.][0-9]{2}(?:[.,][0-9]+)?)?(?:\s*[ap]\.?m\.?)?(?:\s*(?:uhr|h))?"
    r"(?:\s*(?:z|utc|gmt|[a-z]{3,4}|(?:utc|gmt)?[+-][0-9]{1,2}:?(?:[0-9]{2})?))?)?"
)
_YEAR = r"([0-9]{4}|'?[0-9]{2})"
_ORDERED = re.compile(r"([0-9]{1,2})\s?([/.-])\s?([0-9]{1,2})\s?\2\s?" + _YEAR + _TIME)
_YEAR_FIRST = re.compile(r"([0-9]{4})\s?([/.-])\s?([0-9]{1,2})\s?\2\s?([0-9]{1,2})" + _TIME)
_COMPACT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_SERIAL = re.compile(r"([0-9]{5})(?:[.,][0-9]+)?")
_WEEKDAY = re.compile(r"^[^\W\d_]{2,10}\.?,\s+")
_DAY_NAME_YEAR = re.compile(
    r"([0-9]{1,2})(?:st|nd|rd|th|er|º|°)?\.?[ /-]*(?:de\s+|of\s+)?([^\W\d_]{3,11})\.?[ /,.-]+(?:de\s+|del\s+)?" + _YEAR + _TIME
)
_NAME_DAY_YEAR = re.compile(r"([^\W\d_]{3,11})\.?[ -]+([0-9]{1,2})(?:st|nd|rd|th)?(?:,\s*|\s+|-)" + _YEAR + _TIME)
_YEAR_NAME_DAY = re.compile(r"([0-9]{4})[ /-]([^\W\d_]{3,11})\.?[ /-]([0-9]{1,2})" + _TIME)

# English, German, French, Spanish; whatever begins only one month's name stands for it.
_MONTHS = (
    "january januar janner janvier enero",
    "february februar feber fevrier febrero",
    "march marz maerz mars marzo",
    "april avril abril",
    "may mai mayo",
    "june juni juin junio",
    "july juli juillet julio",
    "august aout agosto",
    "september septembre septiembre setiembre",
    "october oktober octobre octubre",
    "november novembre noviembre",
    "december dezember decembre diciembre",
)


class Ordered(NamedTuple):
    """A date of three numbers, whose year is last: which of the first two is the day is the question."""

    first: int
    second: int
    year: int

    @property
    def orders(self) -> tuple[DateOrder, ...]:
        """The ways in which it is a day of the calendar."""
        return tuple(order for order in DATE_ORDERS if self.read(order) is not None)

    @property
    def is_open(self) -> bool:
        return self.first != self.second and len(self.orders) == 2

    def read(self, order: DateOrder) -> date | None:
        day, month = (self.first, self.second) if order == "day_first" else (self.second, self.first)
        try:
            return date(self.year, month, day)
        except ValueError:
            return None


def find_ordered(text: str) -> Ordered | None:
    """None for what is no date of three numbers with the year last."""
    match = _ORDERED.fullmatch(_WEEKDAY.sub("", text.strip().casefold()))
    return Ordered(int(match[1]), int(match[3]), _year(match[4])) if match else None


def parse_date(text: str, order: DateOrder | None = "day_first", *, is_1904: bool = False) -> date:
    """Only a date of three numbers depends on `order`; with None it raises `Undecided`, unless both orders agree.

    `is_1904`: serial numbers count from 1904, as old workbooks of Macs do. Raises `Malformed`.
    """
    lowered = _WEEKDAY.sub("", text.strip().casefold())
    if ordered := find_ordered(lowered):
        return _in_time(_choose(ordered, order))
    if match := _YEAR_FIRST.fullmatch(lowered):
        return _date(int(match[1]), int(match[3]), int(match[4]))
    if match := _DAY_NAME_YEAR.fullmatch(lowered):
        return _date(_year(match[3]), _month(match[2]), int(match[1]))
    if match := _NAME_DAY_YEAR.fullmatch(lowered):
        return _date(_year(match[3]), _month(match[1]), int(match[2]))
    if match := _YEAR_NAME_DAY.fullmatch(lowered):
        return _date(int(match[1]), _month(match[2]), int(match[3]))
    if match := _COMPACT.fullmatch(lowered):
        return _date(int(match[1]), int(match[2]), int(match[3]))
    if (match := _SERIAL.fullmatch(lowered)) and int(match[1]) in _SERIALS:
        return (date(1904, 1, 1) if is_1904 else date(1899, 12, 30)) + timedelta(days=int(match[1]))
    raise Malformed(f"is not a date ({ORDER_WORDS[order or 'day_first']})")


def _choose(ordered: Ordered, order: DateOrder | None) -> date:
    if order is None:
        if ordered.is_open or len(ordered.orders) == 1:
            raise Undecided("could be day/month or month/day: say which")
        order = "day_first"
    found = ordered.read(order)
    if found is None:
        raise Malformed(f"is not a day of the calendar ({ORDER_WORDS[order]})")
    return found


def _date(year: int, month: int, day: int) -> date:
    try:
        return _in_time(date(year, month, day))
    except ValueError as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed("is not a day of the calendar") from error


def _in_time(found: date) -> date:
    if not EARLIEST_YEAR <= found.year <= LATEST_YEAR:
        raise Malformed("is not a date of our time")
    return found


def _year(text: str) -> int:
    digits = text.lstrip("'")
    if len(digits) == 4:
        return int(digits)
    return int(digits) + (2000 if int(digits) < PIVOT else 1900)


def _month(name: str) -> int:
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    months = _BEGINNINGS.get(plain, set())
    if len(months) != 1:
        raise Malformed("is not a date: no such month")
    return next(iter(months))


def _beginnings() -> dict[str, set[int]]:
    found: defaultdict[str, set[int]] = defaultdict(set)
    for number, names in enumerate(_MONTHS, start=1):
        for name in names.split():
            for length in range(3, len(name) + 1):
                found[name[:length]].add(number)
    return dict(found)


_BEGINNINGS = _beginnings()
