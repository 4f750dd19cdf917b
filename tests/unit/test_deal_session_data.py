"""What deals keep in a session."""

from datetime import UTC, datetime

import pytest

from app.current_deal.session_data import clear_restore_backoff, deal_card, dismiss, if_still_on, refresh_card, strip_deal

CARD = {"id": 7, "name": "Mojang", "role": "viewer", "access_until": None}
ON_A_DEAL = {"current_deal_id": 7, "deal": CARD, "source": "restored", "selected_at": "2026-11-02T08:00:00Z", "user": {"id": 3}}


def test_card_holds_the_end_of_the_access_in_unix_milliseconds() -> None:
    row = (7, "Mojang", "viewer", datetime(2026, 11, 2, tzinfo=UTC))
    assert deal_card(row) == CARD | {"access_until": 1_793_577_600_000}
    assert deal_card((7, "Mojang", "viewer", None)) == CARD


def test_strip_takes_the_deal_and_leaves_the_rest_with_a_notice() -> None:
    before = dict(ON_A_DEAL)
    assert strip_deal(before) == {"user": {"id": 3}, "notice": {"code": "deal_unavailable"}, "only_deal_off": True}
    assert before == ON_A_DEAL


def test_refresh_changes_the_card_alone_and_nothing_where_it_says_so_already() -> None:
    changed = refresh_card(ON_A_DEAL, name="Minecraft")
    assert changed == ON_A_DEAL | {"deal": CARD | {"name": "Minecraft"}}
    assert refresh_card(ON_A_DEAL, name="Mojang") is None
    assert refresh_card({"user": {"id": 3}}, name="Mojang") is None


def test_a_session_forgets_that_there_was_nothing_to_restore() -> None:
    assert clear_restore_backoff({"nothing_until": 5, "user": {"id": 3}}) == {"user": {"id": 3}}
    assert clear_restore_backoff({"user": {"id": 3}}) is None


@pytest.mark.parametrize("data", [{}, ON_A_DEAL | {"current_deal_id": 8}])
def test_a_session_that_moved_on_keeps_its_deal(data: dict[str, object]) -> None:
    assert if_still_on(7, strip_deal)(data) is None
    assert if_still_on(7, strip_deal)(ON_A_DEAL) is not None


def test_a_notice_that_came_after_the_one_read_is_kept() -> None:
    stripped = strip_deal(ON_A_DEAL)
    assert dismiss(stripped, "restored") is None
    assert "notice" not in (dismiss(stripped, "deal_unavailable") or stripped)
    assert "notice" not in (dismiss(stripped) or stripped)
