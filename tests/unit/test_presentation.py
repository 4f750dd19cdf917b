from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from app.pages.kit.fields import Field
from app.pages.kit.presentation import Assets, ago, day, host, initials, is_web, listed, short_dollars

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "letters"),
    [("YouTube", "YO"), ("[24]7", "27"), ("Gecko Design Inc.", "GD"), ("Ångström", "ÅN"), ("x", "X"), ("???", "?"), ("", "?")],
)
def test_initials_are_two_letters_of_what_can_be_read(name: str, letters: str) -> None:
    assert initials(name) == letters


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=23), "23 hours ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(days=13), "13 days ago"),
        (timedelta(days=20), "2 weeks ago"),
        (timedelta(days=70), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(seconds=-5), "in a moment"),
        (timedelta(days=-2), "in 2 days"),
    ],
)
def test_moment_is_told_from_now(passed: timedelta, text: str) -> None:
    assert ago(NOW - passed, now=NOW) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"),
        (999, "$999"),
        (12_400, "$12.4K"),
        (999_999, "$999K"),
        (750_000_000, "$750M"),
        (1_650_000_000, "$1.6B"),
        (2 * 10**9, "$2B"),
        (1_234_567_890_123, "$1.2T"),
    ],
)
def test_price_is_short_and_never_rounded_up(amount: int, text: str) -> None:
    assert short_dollars(amount) == text


def test_only_web_addresses_become_links() -> None:
    assert is_web("https://a.example")
    assert not is_web("javascript:alert(1)")
    assert host("http://www.a.example/b") == "a.example"
    assert host("http://[broken") == "http://[broken"


def test_small_things_are_shown_as_people_write_them() -> None:
    assert day(date(2012, 2, 1)) == "1 Feb 2012"
    assert listed("Video, Games;Search | ") == ["Video", "Games", "Search"]


def test_address_of_an_asset_changes_with_its_content(tmp_path: Path) -> None:
    file = tmp_path / "a.css"
    file.write_text("a")
    asset = Assets(tmp_path, reload=True)
    first = asset("a.css")
    file.write_text("b")
    assert asset("a.css") != first
    assert first.startswith("/static/a.css?v=")


def test_day_in_a_conflict_looks_like_every_other() -> None:
    assert Field("due_on", "Due", "day").shown("2026-12-24") == "24 Dec 2026"
    assert Field("due_on", "Due", "day").shown("") == ""
