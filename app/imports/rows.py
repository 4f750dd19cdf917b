"""Reads one record as the facts of one deal, or says why it cannot be one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import Any

from sqlalchemy import String

from app.imports.conventions import Reading
from app.imports.dates import parse_date
from app.imports.malformed import Malformed, Undecided
from app.imports.mapping import ColumnMap
from app.imports.parsing import clean_text, is_blank, parse_addresses, parse_year
from app.imports.prices import is_no_price, parse_price
from app.imports.reader import Record
from app.imports.report import RowRefusal, RowWarning
from app.models import Deal

# `text` columns have no length of their own; a tagline beyond this is a broken quote, not a tagline.
MAX_TEXT = 10_000
MAX_REFERENCE = 200
REQUIRED = {"name": "target", "acquirer": "acquirer"}


def _date(text: str, reading: Reading) -> date:
    return parse_date(text, reading.date_order, is_1904=reading.is_1904)


def _price(text: str, reading: Reading) -> int | None:
    return parse_price(text, reading.decimal_mark)


def _year(text: str, reading: Reading) -> int:
    return parse_year(text)


def _addresses(text: str, reading: Reading) -> str:
    return parse_addresses(text)


PARSERS: dict[str, tuple[str, Callable[[str, Reading], Any]]] = {
    "announced_on": ("malformed_date", _date),
    "announced_year": ("malformed_year", _year),
    "founded_year": ("malformed_year", _year),
    "price_usd": ("malformed_price", _price),
    "homepage": ("malformed_address", _addresses),
    "profile_url": ("malformed_address", _addresses),
    "news_url": ("malformed_address", _addresses),
}


@dataclass(slots=True)
class Row:
    """`facts` holds what the file states, by column of `deals`; what it leaves open or garbles is not in it."""

    line: int
    reference: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[RowWarning] = field(default_factory=list)


def read_row(record: Record, columns: ColumnMap) -> Row | RowRefusal:
    if record.problem:
        return RowRefusal(record.line, record.problem)
    row = Row(record.line)
    for fact, index in columns.columns.items():
        heading = columns.headings[index]
        try:
            text = clean_text(record.cells[index])
            _read_fact(row, fact, heading, text, columns)
        except Malformed as error:
            return RowRefusal(record.line, f'"{heading}" {error}')
    row.reference = row.facts.pop("external_ref", "") or _derived_reference(row.facts)
    _compare_years(row)
    return row


def shown(text: str) -> str:
    """A value of the file, fit for one line of a report."""
    return '"' + (text if len(text) <= 60 else text[:59] + "…") + '"'


def _read_fact(row: Row, fact: str, heading: str, text: str, columns: ColumnMap) -> None:
    """Raises `Malformed` where the row as a whole must be refused."""
    if fact in REQUIRED:
        if not text:
            if fact == "acquirer" and columns.is_own_list:
                return
            raise Malformed(f"is empty: the {REQUIRED[fact]} is missing")
    elif is_blank(text) or (fact == "price_usd" and is_no_price(text)):
        return
    limit = _LIMITS[fact]
    if len(text) > limit:
        raise Malformed(f"is longer than {limit:,} characters")
    if fact not in PARSERS:
        row.facts[fact] = text
        return
    code, parse = PARSERS[fact]
    try:
        row.facts[fact] = parse(text, columns.reading(columns.columns[fact]))
    except Undecided:
        return  # whoever imports is asked first; until then nothing is said of this date
    except Malformed as error:
        row.warnings.append(RowWarning(row.line, code, f'"{heading}" {shown(text)} {error}; left empty'))


def _derived_reference(facts: dict[str, Any]) -> str:
    """acquirer|target|year: what names a deal where the file has no reference of its own."""
    announced = facts.get("announced_on")
    year = facts.get("announced_year") or (announced.year if announced else "")
    reference = f"{facts.get('acquirer', '')}|{facts['name']}|{year}"
    if len(reference) <= MAX_REFERENCE:
        return reference
    return f"{reference[: MAX_REFERENCE - 33]}#{sha256(reference.encode()).hexdigest()[:32]}"


def _compare_years(row: Row) -> None:
    announced: date | None = row.facts.get("announced_on")
    year = row.facts.get("announced_year")
    if announced and year and announced.year != year:
        row.warnings.append(RowWarning(row.line, "year_mismatch", f"the date {announced:%d/%m/%Y} is not in the year {year}; both kept"))


def _limit_of(fact: str) -> int:
    kind = Deal.__table__.c[fact].type
    return (kind.length if isinstance(kind, String) else None) or MAX_TEXT


_LIMITS = {fact: _limit_of(fact) for fact in (column.name for column in Deal.__table__.columns)}
