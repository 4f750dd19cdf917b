from datetime import date
from pathlib import Path

import pytest

from app.demo import seed
from app.imports.mapping import map_columns
from app.imports.reader import Record, TextTable
from app.imports.report import MAX_WARNINGS, Report, RowRefusal, RowWarning
from app.imports.rows import Row, read_row

COLUMNS = map_columns(["Target", "Buyer", "Date", "Year", "Price", "Homepage", "City", "Ref"])


def read(*cells: str) -> Row | RowRefusal:
    return read_row(Record(7, [*cells, *[""] * (8 - len(cells))]), COLUMNS)


def row(*cells: str) -> Row:
    found = read(*cells)
    assert isinstance(found, Row)
    return found


def reason(*cells: str) -> str:
    found = read(*cells)
    assert isinstance(found, RowRefusal)
    assert found.line == 7
    return found.reason


def test_facts_are_what_the_row_states() -> None:
    found = row(" YouTube ", "Google", "9/10/2006", "2006", "$1,650,000,000", "", "#N/A", "")
    assert found.facts == {
        "name": "YouTube",
        "acquirer": "Google",
        "announced_on": date(2006, 10, 9),
        "announced_year": 2006,
        "price_usd": 1_650_000_000,
    }
    assert found.warnings == []


def test_reference_is_derived_where_the_file_has_none() -> None:
    assert row("YouTube", "Google", "9/10/2006", "2006").reference == "Google|YouTube|2006"
    assert row("YouTube", "Google", "9/10/2006").reference == "Google|YouTube|2006"
    assert row("YouTube", "Google").reference == "Google|YouTube|"
    assert row("YouTube", "Google", "", "", "", "", "", "D-1").reference == "D-1"


def test_long_derived_references_fit_and_stay_apart() -> None:
    first, second = (row("T" * 200, "B" * 200, "", year).reference for year in ("2001", "2002"))
    assert len(first) == len(second) == 200
    assert first != second


@pytest.mark.parametrize("missing", [("", "Google"), ("YouTube", ""), ("  ", "Google"), ("\u00a0", "Google")])
def test_missing_target_or_acquirer_refuses_the_row(missing: tuple[str, str]) -> None:
    assert "is missing" in reason(*missing)


def test_acquirer_is_needed_only_where_the_file_has_one() -> None:
    found = read_row(Record(2, ["YouTube"]), map_columns(["Target"]))
    assert isinstance(found, Row)
    assert found.reference == "|YouTube|"


def test_malformed_facts_are_left_empty_with_a_warning_each() -> None:
    found = row("A", "B", "4//17/2013", "MMXIII", "cheap", "javascript:alert(1)")
    assert found.facts == {"name": "A", "acquirer": "B"}
    assert [warning.code for warning in found.warnings] == ["malformed_date", "malformed_year", "malformed_price", "malformed_address"]
    assert found.warnings[0] == RowWarning(7, "malformed_date", '"Date" "4//17/2013" is not a date (day/month/year); left empty')


def test_date_that_disagrees_with_its_year_is_kept_with_a_warning() -> None:
    found = row("A", "B", "28/06/1905", "2006")
    assert found.facts["announced_on"] == date(1905, 6, 28)
    assert found.facts["announced_year"] == 2006
    assert [warning.code for warning in found.warnings] == ["year_mismatch"]


def test_undisclosed_is_a_statement_and_an_empty_cell_is_none() -> None:
    assert row("A", "B", "", "", "Undisclosed amount").facts["price_usd"] is None
    assert "price_usd" not in row("A", "B").facts


def test_text_longer_than_its_column_refuses_the_row() -> None:
    assert reason("A" * 201, "B") == '"Target" is longer than 200 characters'
    assert reason("A", "B", "", "", "", "", "C" * 121) == '"City" is longer than 120 characters'
    assert reason("A", "B", "", "", "", "", "", "R" * 201) == '"Ref" is longer than 200 characters'


def test_control_characters_refuse_the_row() -> None:
    assert reason("A\x00", "B") == '"Target" holds the control character U+0000'


def test_unreadable_record_is_refused_with_its_reason() -> None:
    assert read_row(Record(3, [], "it has 1 columns"), COLUMNS) == RowRefusal(3, "it has 1 columns")


def test_long_values_are_cut_in_the_report() -> None:
    assert len(row("A", "B", "x" * 5000).warnings[0].message) < 150


def test_report_counts_every_warning_and_keeps_the_first() -> None:
    report = Report("Acme")
    for line in range(MAX_WARNINGS + 5):
        report.warn(RowWarning(line, "malformed_date", ""))
    assert len(report.warnings) == MAX_WARNINGS
    assert report.warning_counts["malformed_date"] == MAX_WARNINGS + 5


def test_the_real_data_reads_as_it_should() -> None:
    demo = seed.read_demo()
    sizes = {name: len(rows) for name, rows in demo.rows.items()}
    assert sum(sizes.values()) == 1643
    assert sum(size > 0 for size in sizes.values()) == 65
    assert (sizes["Google"], sizes["Microsoft"], sizes["Holdfast"]) == (161, 136, 0)
    assert [(warning.line, warning.code) for warning in demo.warnings if warning.code != "year_mismatch"] == [(56, "malformed_date")]
    assert len(demo.warnings) == 17
    assert len({row.reference for rows in demo.rows.values() for row in rows}) == 1643


def test_the_real_data_carries_its_licence() -> None:
    notice = (Path(seed.DEMO_FILE).parent / "NOTICE").read_text()
    assert "CC BY-SA 4.0" in notice
    assert "Alice Corona" in notice


def test_newest_is_by_credible_date_then_by_reference() -> None:
    def dated(reference: str, announced_on: date | None, year: int | None) -> Row:
        return Row(1, reference, {"announced_on": announced_on, "announced_year": year})

    rows = [
        dated("b", date(2014, 1, 1), 2014),
        dated("a", date(2014, 1, 1), 2014),
        dated("z", None, 2015),
        dated("wrong", date(2014, 9, 3), 2104),
        dated("new", date(2014, 2, 1), 2014),
    ]
    assert [row.reference for row in seed.newest_first(rows)] == ["new", "a", "b", "wrong", "z"]


def test_table_reads_the_real_file() -> None:
    with seed.DEMO_FILE.open("rb") as stream:
        table = TextTable(stream)
        assert (table.encoding, table.delimiter, len(table.headings)) == ("utf-8", ",", 18)
