from collections import Counter

import pytest

from app.demo.seed import DEMO_FILE
from app.imports.mapping import SYNONYMS, BadMapping, map_columns, normalise, parse_override
from app.imports.reader import TextTable

with DEMO_FILE.open("rb") as file:
    REAL = TextTable(file).headings


def test_every_heading_of_the_real_export_is_known() -> None:
    columns = map_columns(REAL)
    assert columns.ignored == ()
    assert set(columns.columns) == set(SYNONYMS)
    assert {columns.heading(fact): fact for fact in ("name", "acquirer", "external_ref", "profile_url", "news_url")} == {
        "Acquired Company": "name",
        "Acquiring Company": "acquirer",
        "Acquisitions ID": "external_ref",
        "Acquisition Profile": "profile_url",
        "News Link": "news_url",
    }


@pytest.mark.parametrize("heading", ["Target", "COMPANY", "acquired_company", " Deal-Name ", "Ｔａｒｇｅｔ", "name"])
def test_headings_are_compared_without_case_and_punctuation(heading: str) -> None:
    assert map_columns([heading, "Buyer"]).columns == {"name": 0, "acquirer": 1}


def test_no_synonym_means_two_fields() -> None:
    words = Counter(normalise(word) for fact, words in SYNONYMS.items() for word in {fact.replace("_", " "), *words.split(", ")})
    assert [word for word, count in words.items() if count > 1] == []


def test_unknown_heading_is_reported_and_ignored() -> None:
    columns = map_columns(["Target", "Value (EUR)", "", "Mood"])
    assert columns.ignored == ("Value (EUR)", "Mood")
    assert columns.columns == {"name": 0}


def test_two_headings_for_one_field_are_an_error_that_names_both() -> None:
    with pytest.raises(BadMapping, match='"Company" and "Target" both mean the field name'):
        map_columns(["Company", "Target"])


def test_a_heading_twice_is_an_error() -> None:
    with pytest.raises(BadMapping):
        map_columns(["Target", "Target"])


def test_without_a_target_the_error_lists_the_columns() -> None:
    with pytest.raises(BadMapping, match="The columns are: Buyer, Mood"):
        map_columns(["Buyer", "Mood"])


def test_override_wins_over_synonyms() -> None:
    columns = map_columns(["Company", "Target", "Käufer"], {"target": "name", "Käufer": "buyer"})
    assert columns.columns == {"name": 1, "acquirer": 2}
    assert columns.ignored == ("Company",)


def test_override_can_drop_a_column() -> None:
    columns = map_columns(["Company", "Target"], {"Company": "ignore"})
    assert columns.columns == {"name": 1}
    assert columns.ignored == ()


def test_override_of_a_column_that_is_not_there() -> None:
    with pytest.raises(BadMapping, match='no column "Firma"'):
        map_columns(["Target"], {"Firma": "name"})


def test_override_to_a_field_that_is_not_there() -> None:
    with pytest.raises(BadMapping, match='no field "owner_id"'):
        map_columns(["Target"], {"Target": "owner_id"})


def test_override_reads_from_the_last_equals_sign() -> None:
    assert parse_override("a=b=name") == ("a=b", "name")
    for text in ("name", "=name", "a="):
        with pytest.raises(BadMapping):
            parse_override(text)
