import contextlib
import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imports.dates import parse_date
from app.imports.malformed import Malformed
from app.imports.parsing import clean_text, is_blank, parse_addresses, parse_year
from app.imports.prices import MAX_PRICE, is_no_price, parse_price

DATES = st.dates(min_value=date(1583, 1, 1), max_value=date(2999, 12, 31))


@pytest.mark.parametrize(
    "text",
    [
        "15/09/2014",
        "15.9.2014",
        "15-09-2014",
        "2014-09-15",
        "2014-09-15T10:30:00Z",
        "2014-09-15 00:00:00",
        "15 Sep 2014",
        "15-Sept-2014",
        "15th September, 2014",
        "Sep 15, 2014",
        "SEPTEMBER 15 2014",
    ],
)
def test_one_day_in_many_notations(text: str) -> None:
    assert parse_date(text) == date(2014, 9, 15)


@pytest.mark.parametrize(
    "text", ["4//17/2013", "31/02/2014", "9/15/2014", "15/09-2014", "2014", "0000-01-01", "1/1/0001", "15 Foo 2014", "٣/٣/٢٠١٤"]
)
def test_malformed_date_is_refused_not_guessed(text: str) -> None:
    with pytest.raises(Malformed):
        parse_date(text)


def test_day_comes_before_month() -> None:
    assert parse_date("3/07/1905") == date(1905, 7, 3)


@given(DATES)
def test_every_day_of_the_calendar_reads_back(day: date) -> None:
    assert parse_date(f"{day:%d/%m}/{day.year}") == parse_date(day.isoformat()) == parse_date(f"{day.day} {day:%B} {day.year}") == day


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("$1,234,567", 1_234_567),
        ("1.234.567 USD", 1_234_567),
        ("1.234.567,89", 1_234_568),
        ("$1,234,567.49", 1_234_567),
        ("1 234 567", 1_234_567),
        ("1'234'567", 1_234_567),
        ("USD 12m", 12_000_000),
        ("US$ 12 million", 12_000_000),
        ("$1.2bn", 1_200_000_000),
        ("1,2 bn", 1_200_000_000),
        ("$1,200m", 1_200_000_000),
        ("1.234m", 1_234_000),
        ("$500k", 500_000),
        ("12 MM USD", 12_000_000),
        ("2tn", 2_000_000_000_000),
        ("3 thousand", 3_000),
        ("1,234", 1_234),
        ("1234", 1_234),
        ("1234.00", 1_234),
        ("0", 0),
        ("1.234.567.890", 1_234_567_890),
    ],
)
def test_price_in_dollars(text: str, price: int) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("1'234'567", 1_234_567),
        ("1’234’567.50 USD", 1_234_568),
        ("US$ 1’234’567", 1_234_567),
        ("1\u202f234\u202f567,00 $", 1_234_567),
        ("1\u00a0234\u00a0567", 1_234_567),
        ("1.2E+07", 12_000_000),
        ("1,2E+07", 12_000_000),
        ("1E+09", 1_000_000_000),
        ("12,5 Mio", 12_500_000),
        ("12,5 Mio. $", 12_500_000),
        ("12.5 million", 12_500_000),
        ("1,2 Mrd", 1_200_000_000),
        ("1,2 Mrd. USD", 1_200_000_000),
        ("3bn", 3_000_000_000),
        ("3 milliards", 3_000_000_000),
        ("2,5 Millionen", 2_500_000),
        ("500 Tsd.", 500_000),
        ("1,234.567", 1_235),
        ("12.5 million US dollars", 12_500_000),
    ],
)  # fmt: skip
def test_price_as_people_write_it(text: str, price: int) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize(
    ("text", "mark", "price"),
    [
        ("1,234", ",", 1), ("1.234", ",", 1_234), ("1,234", ".", 1_234), ("1.234", ".", 1), ("1.234m", ",", 1_234_000_000),
        ("1,200m", ",", 1_200_000), ("1.234.567", ".", 1_234_567), ("12.50", ",", 12),
    ],
)  # fmt: skip
def test_column_says_what_a_number_means_that_could_be_either(text: str, mark: str, price: int) -> None:
    assert parse_price(text, mark) == price  # type: ignore[arg-type]


def test_number_that_could_be_either_is_left_out_of_a_column_of_both() -> None:
    for text in ("1,234", "1.234"):
        with pytest.raises(Malformed, match="decimal commas and decimal points"):
            parse_price(text, "both")
    assert parse_price("12,5", "both") == 12


@pytest.mark.parametrize(("text", "currency"), [("CHF 1'234.50", "CHF"), ("€ 12", "€"), ("12 EUR", "EUR"), ("£5m", "£"), ("C$ 5", "C$")])
def test_other_currency_is_named_and_not_converted(text: str, currency: str) -> None:
    with pytest.raises(Malformed, match=re.escape(f"is in {currency}")):
        parse_price(text)


@pytest.mark.parametrize("text", ["$ -", "$-", "-", " - $ ", "US$ –", "$ -   "])
def test_dash_of_an_accountant_is_no_price(text: str) -> None:
    assert is_no_price(text)
    assert not is_no_price("$ -5")


@pytest.mark.parametrize("text", ["(1,234)", "($1,234)", "1,234-", "−5"])
def test_negative_price_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="negative"):
        parse_price(text)


@pytest.mark.parametrize("text", ["Undisclosed amount", "Undisclosed Amount", "UNDISCLOSED", "not disclosed"])
def test_undisclosed_price_is_none(text: str) -> None:
    assert parse_price(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "-5",
        "($5)",
        "$-1,000",
        "cheap",
        "€12m",
        "12m EUR",
        "1.234",
        "1,23,456",
        "1,234,56",
        "$",
        "1e9",
        "9" * 30,
        "9" * 4000,
        "1000001bn",
        "٣",
    ],
)
def test_nonsense_price_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_price(text)


@given(st.integers(min_value=0, max_value=MAX_PRICE))
def test_every_price_reads_back(price: int) -> None:
    assert parse_price(f"${price:,}") == parse_price(str(price)) == parse_price(f"{price:,}.00 USD") == price


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_price, parse_date, parse_year, parse_addresses, clean_text):
        with contextlib.suppress(Malformed):
            parse(text)


def test_year_as_a_spreadsheet_writes_it() -> None:
    assert parse_year("2014") == parse_year("2014.0") == 2014
    for text in ("14", "20144", "1200", "9999", "MMXIV"):
        with pytest.raises(Malformed):
            parse_year(text)


def test_typo_of_the_future_is_kept() -> None:
    assert parse_year("2104") == 2104


@pytest.mark.parametrize("text", ["", "-", "N/A", "#N/A", "null"])
def test_words_for_nothing_known(text: str) -> None:
    assert is_blank(text)


def test_white_space_is_folded_and_accents_composed() -> None:
    assert clean_text("\ufeffNe\u00adst\u200b \u200eLabs\u200f\u200d\u2060") == "Nest Labs"
    assert clean_text("می\u200cخواهم 👩\u200d🔬") == "می\u200cخواهم 👩\u200d🔬", "joiners that are part of the spelling stay"
    assert clean_text("  Cafe\u0301\u00a0\n  Noir\t") == "Caf\u00e9 Noir"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\u202e", "\u2066"])
def test_control_characters_are_refused_by_name(character: str) -> None:
    with pytest.raises(Malformed, match=f"U\\+{ord(character):04X}"):
        clean_text(f"Acme{character}Ltd")


def test_address_with_a_scheme_that_could_run_is_refused() -> None:
    for text in ("javascript:alert(1)", "data:text/html,x", "//evil.example", "ftp://a.example", 'http://a.example/"onclick=', "two words"):
        with pytest.raises(Malformed):
            parse_addresses(text)


def test_addresses() -> None:
    assert parse_addresses("http://mojang.com") == "http://mojang.com"
    assert parse_addresses("mojang.com/about") == "http://mojang.com/about"
    assert parse_addresses("http://a.example/x, https://b.example/y, ") == "http://a.example/x, https://b.example/y"
