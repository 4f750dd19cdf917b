"""Dates in all their forms, and the order of day and month that a whole column proves."""

from datetime import date

import pytest

from app.core.errors import BadRequest
from app.imports.conventions import Evidence, Reading, check_choice, explain_question, gather, read_examples, reading_of
from app.imports.dates import DateOrder, parse_date
from app.imports.malformed import Malformed, Undecided


@pytest.mark.parametrize(
    "text",
    [
        "15/09/14", "15.09.14", "15-09-14", "15. 9. 2014", "15/09/2014 10:30", "15.09.2014, 10:30 Uhr", "15/09/2014 10:30:59 PM",
        "2014/09/15", "2014.9.15", "2014-09-15T23:59:59+02:00", "2014-09-15 10:30:00.123456", "20140915",
        "15-Sep-14", "15 Sept. 2014", "Sep 15, 2014", "Sep 15, 2014 10:30 AM", "Mon, 15 Sep 2014", "Montag, 15. September 2014",
        "15. September 2014", "15 septembre 2014", "15 de septiembre de 2014", "15 de setiembre del 2014", "2014-Sep-15",
        "41897", "41897.5", "41897,75",
    ],
)  # fmt: skip
def test_one_day_as_people_write_it(text: str) -> None:
    assert parse_date(text) == date(2014, 9, 15)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1-Sep-14", (2014, 9, 1)), ("1er août 2014", (2014, 8, 1)), ("3 févr. 2014", (2014, 2, 3)), ("3 März 2014", (2014, 3, 3)),
        ("3. Maerz 2014", (2014, 3, 3)), ("3 Jänner 2014", (2014, 1, 3)), ("3 mai 2014", (2014, 5, 3)), ("3 juil. 2014", (2014, 7, 3)),
        ("3 ene 2014", (2014, 1, 3)), ("31 dic. 99", (1999, 12, 31)), ("3-Okt-29", (2029, 10, 3)), ("3-Okt-30", (1930, 10, 3)),
        ("3 Dez. 2014", (2014, 12, 3)), ("May 3 2014", (2014, 5, 3)), ("3 août 2014", (2014, 8, 3)),
    ],
)  # fmt: skip
def test_months_of_four_languages_and_two_digits_of_a_year(text: str, day: tuple[int, int, int]) -> None:
    assert parse_date(text) == date(*day)


@pytest.mark.parametrize(
    "text", ["3 jui 2014", "2014", "9999", "123456", "15/09/14/1", "31-Feb-14", "2014-13-01", "1.234.567", "12,5", "25:61"]
)
def test_what_is_no_date_is_none(text: str) -> None:
    orders: tuple[DateOrder | None, ...] = (None, "day_first", "month_first")
    for order in orders:
        with pytest.raises(Malformed):
            parse_date(text, order)


def test_three_numbers_are_read_in_one_order_alone() -> None:
    assert parse_date("3/4/2014", "day_first") == date(2014, 4, 3)
    assert parse_date("3/4/14", "month_first") == date(2014, 3, 4)
    assert parse_date("5/5/2014", None) == date(2014, 5, 5), "the same either way"
    wrong: tuple[tuple[str, DateOrder], ...] = (("9/15/2014", "day_first"), ("15/9/2014", "month_first"))
    for text, order in wrong:
        with pytest.raises(Malformed, match="not a day of the calendar"):
            parse_date(text, order)
    for text in ("3/4/2014", "9/15/2014", "15/9/14"):
        with pytest.raises(Undecided):
            parse_date(text, None)


def test_serial_numbers_of_both_systems() -> None:
    assert parse_date("40435", is_1904=True) == date(2014, 9, 15)
    assert parse_date("36526") == date(2000, 1, 1)


def column(*cells: str) -> Evidence:
    return gather(1, ((line, [cell]) for line, cell in enumerate(cells, start=2)))[0]


@pytest.mark.parametrize(
    ("cells", "order", "question"),
    [
        (["3/4/2014", "9/15/2014"], "month_first", ""),
        (["9/15/2014 10:00", "3/4/14"], "month_first", ""),
        (["3/4/2014", "15.09.2014"], "day_first", ""),
        (["3/4/2014", "5/6/2014"], None, "open"),
        (["3/4/2014", "9/15/2014", "15/9/2014"], None, "contradiction"),
        (["5/5/2014", "2014-09-15", "1-Sep-14", "31/02/2014", "13/13/2013", ""], "day_first", ""),
        (["4//17/2013", "text 9/15/2014", "9/15/2014/2"], "day_first", ""),
        (["\u200e3/4/2014", "\ufeff9/15/2014\u200b"], "month_first", ""),
    ],
)
def test_column_decides_or_a_person(cells: list[str], order: DateOrder | None, question: str) -> None:
    found = column(*cells)
    assert (reading_of(found).date_order, found.question) == (order, question)
    assert Evidence.of(found.as_dict()) == found
    assert Evidence.of({**found.as_dict(), "from a later version": 1}) == found
    assert reading_of(found, "month_first").date_order == (order if found.date_order else "month_first")


def test_choice_is_held_against_the_column() -> None:
    proven, open_ = column("3/4/2014", "9/15/2014"), column("3/4/2014", "7/8/2014")
    check_choice("Date", proven, "month_first")
    check_choice("Date", open_, "day_first")
    with pytest.raises(BadRequest, match='"9/15/2014" on line 3 can be nothing else'):
        check_choice("Date", proven, "day_first")
    with pytest.raises(BadRequest, match="pass day_first or month_first"):
        check_choice("Date", open_, "dmy")
    assert 'Nothing in "Date" tells whether day or month comes first: "3/4/2014" and "7/8/2014"' in explain_question("Date", open_)
    assert read_examples(open_)[0] == {"text": "3/4/2014", "day_first": "3 April 2014", "month_first": "4 March 2014"}
    assert read_examples(proven)[0]["day_first"] == "", "a day that cannot be"


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["12,5 Mio", "1,234"], ","),
        (["1.234.567", "1.234"], ","),
        (["1,234,567", "1,234"], "."),
        (["$12.50", "1,234"], "."),
        (["1'234.50"], "."),
        (["1 234,50"], ","),
        (["1,234", "1.234", "1234", "1'234'567"], ""),
        (["12,5", "12.5"], "both"),
    ],
)
def test_sign_of_decimals_is_the_columns_too(cells: list[str], mark: str) -> None:
    assert reading_of(column(*cells)) == Reading("day_first", mark)  # type: ignore[arg-type]
