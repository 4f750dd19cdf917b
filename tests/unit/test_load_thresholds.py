"""What decides the exit status of `make load`, and whose server it refuses."""

import pytest
from click.testing import CliRunner

from benchmarks.load.__main__ import is_loopback, main
from benchmarks.load.thresholds import Seen, connections_refused, judge, read_figures

FIGURES = """# HELP holdfast_restore_seconds Time an attempt to restore took
# TYPE holdfast_restore_seconds histogram
holdfast_restore_seconds_bucket{{le="0.005"}} {fast}
holdfast_restore_seconds_bucket{{le="0.01"}} {within}
holdfast_restore_seconds_bucket{{le="+Inf"}} {count}
holdfast_restore_seconds_count {count}
holdfast_connections_refused_total{{reason="address"}} {refused}
"""


def figures(*, within: int = 0, count: int = 0, refused: int = 0) -> dict[str, float]:
    return read_figures(FIGURES.format(fast=within, within=within, count=count, refused=refused))


def kept(seen: Seen, before: dict[str, float] | None, after: dict[str, float] | None) -> list[bool]:
    return [verdict.kept for verdict in judge(seen, before, after)]


def test_a_server_that_keeps_everything_passes() -> None:
    seen = Seen(answers=5000, selections=200, selection_errors=1)
    assert kept(seen, figures(within=3, count=100), figures(within=1003, count=1101)) == [True] * 4


def test_slow_restores_break_the_threshold_by_what_the_server_counted_meanwhile() -> None:
    before = figures(within=100_000, count=100_000)
    assert kept(Seen(answers=1), before, figures(within=100_098, count=100_100)) == [True, False, True, True]


def test_no_restore_at_all_breaks_nothing_and_says_so() -> None:
    assert "no restore" in judge(Seen(answers=1), figures(), figures())[1].figure


def test_figures_that_cannot_be_read_break_the_threshold() -> None:
    assert kept(Seen(answers=1), None, None) == [True, False, True, True]


def test_one_selection_of_a_hundred_that_fails_is_too_many() -> None:
    assert kept(Seen(answers=1, selections=100, selection_errors=1), figures(), figures())[2] is False


def test_one_lost_place_is_too_many() -> None:
    assert kept(Seen(answers=1, lost_places=1), figures(), figures())[3] is False


def test_a_server_that_never_answers_breaks_the_threshold() -> None:
    assert kept(Seen(), figures(), figures())[0] is False


def test_connections_that_the_limits_refused_are_counted() -> None:
    assert connections_refused(figures(refused=2), figures(refused=9)) == 7


@pytest.mark.parametrize("url", ["http://127.0.0.1:5001", "http://localhost:5001", "http://[::1]:5001", "https://deals.localhost"])
def test_this_machine_needs_no_word(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["https://deals.example", "http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example", "x"])
def test_another_machine_is_refused_without_a_word(url: str) -> None:
    refused = CliRunner().invoke(main, [url])
    assert refused.exit_code == 2
    assert "--yes-this-is-mine" in refused.output
