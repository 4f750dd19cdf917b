"""Spreadsheets that real programs saved (`tests/data/spreadsheets/make.py`), and what a person expects of each."""

import io
from datetime import date
from typing import Any

import pytest

from app.imports.layout import columns_of, layout_of, require_answers
from app.imports.mapping import guess_fields
from app.imports.rows import Row, read_row
from app.imports.survey import open_table, survey_file
from app.imports.unreadable import UnreadableFile
from tests.servers.web import ROOT

FOLDER = ROOT / "tests/data/spreadsheets"
ZOE = ("Zoë Labs", "Müller & Söhne", date(2014, 9, 15), 1_234_568, "São Paulo")
NEST = ("Nest", "Google", date(2014, 3, 4), 3_200_000_000, "Palo Alto")
OEUVRE = ("Œuvre", "L'Oréal", date(2013, 12, 1), 1_234, "Paris")
USUAL = [(2, *ZOE), (3, *NEST), (4, *OEUVRE)]
EXPECTED: dict[str, tuple[str, list[tuple[Any, ...]], list[str]]] = {
    "en-us.csv": ("utf-8", USUAL, []),
    "de-de.csv": ("cp1252", USUAL, []),
    "fr-fr.csv": ("utf-8", USUAL, []),
    "es-es.csv": ("cp1252", USUAL, []),
    "de-ch.csv": ("utf-8", USUAL, []),
    "unicode-text.csv": ("utf-16", USUAL, []),
    # Our own download of the rows left out, opened, corrected and saved by a German LibreOffice.
    "rows-left-out-de.csv": (
        "cp1252",
        [
            (2, "T1", "=Acme", date(2014, 4, 3), 1_234, "Köln"),
            (3, "T2", "=Acme", date(2014, 4, 3), 1_234_568, "815"),
            (4, "T3", "-Acme", date(2014, 4, 3), 2, "1/2"),
            (5, "T4", "@Acme", date(2014, 3, 1), 12_500_000, 'a;b "c"'),
            (6, "T5", "Zoë", date(2014, 2, 28), 1_500, "7"),
        ],
        [],
    ),
    # Titles above the headings, a buyer merged over two rows, a hidden row, a formula that LibreOffice worked out.
    "libreoffice.xlsx": (
        "xlsx",
        [(4, *ZOE), (5, "Nest", "Müller & Söhne", *NEST[2:]), (6, *OEUVRE[:3], 6_400_000_000, "Paris")],
        [],
    ),
    # Days counted from 1904, one of them a bare number; an error for a price; a cell at the end of the world.
    "openpyxl-1904.xlsx": ("xlsx", [*USUAL, (5, "Serial", "Acme", date(2014, 9, 15), None, None)], []),
    # Dates as text with the month first, one in euros, a target that looks like a formula, a note beside the table.
    "openpyxl-text-dates.xlsx": (
        "xlsx",
        [(2, *ZOE), (3, *NEST[:3], None, "Palo Alto"), (4, *OEUVRE), (5, "=1+1 Ltd", "TRUE", None, 1_235, None)],
        ['"Price" "3200000000 EUR" is in EUR: prices are US dollars, and nothing is converted; left empty'],
    ),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_spreadsheet_is_imported_as_a_person_expects(name: str) -> None:
    encoding, deals, warnings = EXPECTED[name]
    written = io.BytesIO()
    with (FOLDER / name).open("rb") as file:
        found = survey_file(file, written)
        layout = layout_of(found, guess_fields(found.headings), [""] * len(found.headings))
        require_answers(layout)
        columns = columns_of(layout)
        table = open_table(written if found.sheet else file, is_sheet=bool(found.sheet))
        rows = [read_row(record, columns) for batch in table.batches() for record in batch.records]
    assert found.encoding == encoding
    assert all(isinstance(row, Row) for row in rows)
    facts = ("name", "acquirer", "announced_on", "price_usd", "city")
    assert [(row.line, *(row.facts.get(fact) for fact in facts)) for row in rows if isinstance(row, Row)] == deals
    assert [warning.message for row in rows if isinstance(row, Row) for warning in row.warnings] == warnings


@pytest.mark.parametrize(("name", "said"), [("libreoffice.ods", "OpenDocument spreadsheet"), ("libreoffice.xls", "old Excel workbook")])
def test_other_spreadsheets_are_known_by_what_they_are(name: str, said: str) -> None:
    with (FOLDER / name).open("rb") as file, pytest.raises(UnreadableFile, match=said) as refused:
        survey_file(file, io.BytesIO())
    assert "save it as an Excel workbook (.xlsx) or as CSV" in refused.value.detail
