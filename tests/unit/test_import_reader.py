import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imports import reader
from app.imports.mapping import guess_fields
from app.imports.reader import Record, TextTable, UnreadableFile

TEXT = "Target;Käufer\nCafé;Zoë\n"


def records(data: bytes) -> list[Record]:
    return [record for batch in TextTable(io.BytesIO(data)).batches() for record in batch.records]


def cells(data: bytes) -> list[list[str]]:
    return [record.cells for record in records(data)]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8-sig"),
        (TEXT.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("cp1252"), "cp1252"),
    ],
)
def test_encoding_is_found(data: bytes, encoding: str) -> None:
    table = TextTable(io.BytesIO(data))
    assert (table.encoding, table.headings) == (encoding, ["Target", "Käufer"])
    assert [record.cells for batch in table.batches() for record in batch.records] == [["Café", "Zoë"]]


def test_encoding_is_that_of_the_whole_file() -> None:
    data = b"Target\n" + b"plain\n" * 50_000 + "Zoë\n".encode("cp1252")
    assert TextTable(io.BytesIO(data)).encoding == "cp1252"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_read_off_the_heading_line(delimiter: str) -> None:
    data = delimiter.join(["Target", '"Value; in, USD"', "Buyer"]) + "\n" + delimiter.join(["Acme", "1", "Big"])
    table = TextTable(io.BytesIO(data.encode()))
    assert table.headings == ["Target", "Value; in, USD", "Buyer"]
    assert table.delimiter == delimiter


def test_one_column_needs_no_delimiter() -> None:
    assert cells(b"Target\nAcme\n") == [["Acme"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_those_of_the_file_where_a_record_starts(end: str) -> None:
    lines = ["", "Target,Tagline", 'A,"one', 'two"', "", ",", "B,x", 'C,"y', "", 'z"', "D,w"]
    found = records(end.join(lines).encode())
    assert [(record.line, record.cells[0]) for record in found] == [(3, "A"), (7, "B"), (8, "C"), (11, "D")]


def test_row_with_other_columns_is_a_problem_not_an_end() -> None:
    found = records(b"Target,Buyer\nA\nB,b\nC,c,c\n")
    assert [(record.line, bool(record.problem)) for record in found] == [(2, False), (3, False), (4, True)]
    assert found[0].cells == ["A", ""], "cells left out at the end are empty"
    assert "3 columns where the heading line has 2" in found[2].problem


def test_quote_that_never_closes_names_the_line_it_begins_on() -> None:
    found = records(b'Target,Buyer\nA,a\nB,"b\nC,c\nD,d\n')
    assert [(record.line, bool(record.problem)) for record in found] == [(2, False), (3, True)]
    assert "never closed" in found[1].problem


def test_quote_that_never_closes_is_given_up_after_a_while() -> None:
    found = records(b'Target,Buyer\nA,"a\n' + b"line,of text\n" * 20_000)
    assert "never closed" in found[0].problem
    assert found[-1].cells == ["line", "of text"]


def test_text_behind_a_closing_quote_is_a_problem() -> None:
    found = records(b'Target,Buyer\n"A"a,b\nB,b\n')
    assert [(record.line, bool(record.problem)) for record in found] == [(2, True), (3, False)]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\n  \n", b",,,\n"])
def test_empty_file(data: bytes) -> None:
    with pytest.raises(UnreadableFile, match="The file is empty"):
        TextTable(io.BytesIO(data))


def test_headings_alone_are_a_table_without_records() -> None:
    assert records(b"Target,Buyer\n") == []


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04\x14\x00\x06\x00workbook",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        b"SQLite format 3\x00",
        b"\x7fELF\x02\x01\x01",
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-32"),
        b"Target\n\xff\x81\x8d\n",
        "Target\nA".encode("utf-16") + b"\x00",
    ],
)
def test_what_is_no_text_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        TextTable(io.BytesIO(data))


def test_one_stray_control_character_is_left_to_its_row() -> None:
    assert cells(b"Target\nA\x00B\nC\n") == [["A\x00B"], ["C"]]


def test_line_without_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_LINE", 1000)
    with pytest.raises(UnreadableFile, match="longer than"):
        list(TextTable(io.BytesIO(b"Target\n" + b"A\n" * 100 + b"x" * 5000)).batches())


def test_batches_tell_how_far_the_file_was_read() -> None:
    data = b"Target\n" + b"Acme\n" * 60_000
    positions = [batch.position for batch in TextTable(io.BytesIO(data)).batches()]
    assert positions == sorted(positions)
    assert positions[0] < len(data) // 2
    assert positions[-1] == len(data)


HEAD, ROW = ["Target", "Buyer", "Year"], ["Nest", "Google", "2014"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sep=;\nTarget;Buyer;Year\nNest;Google;2014\n", 3),
        ("SEP=;\r\nTarget;Buyer;Year\r\nNest;Google;2014\r\n", 3),
        ('"sep=;"\nTarget;Buyer;Year\nNest;Google;2014\n', 3),
        ("sep=;,,\nTarget;Buyer;Year\nNest;Google;2014\n", 3),
        ("sep=,\nTarget;Buyer;Year\nNest;Google;2014\n", 3),
        ("sep=\t\nTarget\tBuyer\tYear\nNest\tGoogle\t2014\n", 3),
        ("sep=\\t\nTarget\tBuyer\tYear\nNest\tGoogle\t2014\n", 3),
        ("sep=\nTarget|Buyer|Year\nNest|Google|2014\n", 3),
        ("sep=^\nTarget^Buyer^Year\nNest^Google^2014\n", 3),
        ("sep=;\rTarget;Buyer;Year\rNest;Google;2014", 3),
        ("Target|Buyer|Year\nNest|Google|2014\n", 2),
        ("Deals of 2014\n\nTarget;Buyer;Year\nNest;Google;2014\n", 4),
        ('"Our deals, and\nothers",,\nof,,\nTarget,Buyer,Year\nNest,Google,2014\n', 5),
        ("Exported on 1.1.2015;;\nby: somebody;;\n;;\nTarget;Buyer;Year\nNest;Google;2014\n", 5),
        ("Target,Buyer,Year,\nNest,Google,2014,\n", 2),
        ("Target,Buyer,Year\nNest,Google,2014,\n", 2),
        ("Target,Buyer,Year,,,\nNest,Google,2014,,,,\n", 2),
        ("Target,Buyer,Year\nNest,Google,2014\n\x1a", 2),
        ("Target,Buyer,Year\r\nNest,Google,2014\x1a\x1a", 2),
        ("Target,Buyer,Year\nNest,Google,2014\n\x1a\r\n", 2),
        ("\u200bTarget,Bu\u00adyer,\ufeffYear\u200e\nNest,Google,2014\n", 2),
        ('Target,Buyer,Year\n"Nest","Google","2014"\n', 2),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_file_is_read_however_a_program_wrote_it(text: str, line: int, encoding: str) -> None:
    table = TextTable(io.BytesIO(text.encode(encoding)))
    assert table.headings == HEAD
    [record] = [record for batch in table.batches() for record in batch.records]
    assert record == Record(line, ROW)


def test_headings_nobody_knows_are_found_below_a_title() -> None:
    table = TextTable(io.BytesIO(b"Our list\n\nWer;Wen;Wann\nNest;Google;2014\nWaze;Google;2013\n"))
    assert (table.headings, table.delimiter) == (["Wer", "Wen", "Wann"], ";")


def test_headings_of_four_languages_are_known() -> None:
    wanted = ["name", "acquirer", "announced_on", "price_usd", "country"]
    for headings in ("Target,Buyer,Date,Price,Country", "Zielunternehmen,Käufer,Datum,Kaufpreis,Land",
                     "ZIELUNTERNEHMEN,Kaeufer,Datum,Preis,Land",
                     "Société cible,Acquéreur,Date d’annonce,Prix,Pays", "Societe cible,Acquereur,Date d'annonce,Montant,Pays",
                     "Empresa objetivo,Comprador,Fecha,Precio,País"):  # fmt: skip
        assert guess_fields(headings.split(",")) == wanted, headings


def test_stray_mark_of_an_end_in_the_middle_is_left_to_its_row() -> None:
    assert cells(b"Target,Buyer\nA\x1a,b\nC,d\n") == [["A\x1a", "b"], ["C", "d"]]


def test_extra_cells_that_say_something_are_a_problem() -> None:
    found = records(b"Target,Buyer\nA,b,,x\nB,b,,\n")
    assert [bool(record.problem) for record in found] == [True, False]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"%PDF-1.7\n", "This is a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "protected by a password"),
        (b"<html><table>", "web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Workbook>", "XML file"),
        (b"\x1f\x8b\x08", "compressed"),
    ],
)
def test_what_it_is_instead_is_said_with_what_to_do(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableFile, match=said):
        TextTable(io.BytesIO(data))


LETTERS = st.characters(codec="utf-8", exclude_characters="\x00\ufeff", exclude_categories=["Cc"])
CELL = st.text(st.one_of(LETTERS, st.sampled_from('",;\t\n')), max_size=20)


@given(
    st.lists(st.tuples(CELL, CELL), max_size=20), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])
)
def test_what_a_spreadsheet_writes_is_read_back(rows: list[tuple[str, str]], delimiter: str, encoding: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([("Target", "Buyer"), *rows])
    expected = [list(row) for row in rows if any(cell.strip() for cell in row)]
    assert cells(out.getvalue().encode(encoding)) == expected
