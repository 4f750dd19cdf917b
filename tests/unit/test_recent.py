"""What was proven a moment ago, kept for a while in bounded memory."""

import time

import pytest

from app.core import recent
from app.core.recent import Recent


def test_what_was_proven_is_not_proven_again_and_what_was_refused_is_not_kept() -> None:
    asked: list[str] = []

    def prove(key: str) -> str | None:
        asked.append(key)
        return key.upper() if key.isalpha() else None

    kept = Recent[str]()
    assert [kept.get(each, prove) for each in ("a", "a", "1", "1")] == ["A", "A", None, None]
    assert asked == ["a", "1", "1"]


def test_it_is_forgotten_after_a_while_and_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, now = Recent[str](), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert kept.get("a", str.upper) == "A"
    now += recent.KEPT_SECONDS - 1
    assert kept.get("a", lambda _: None) == "A"
    now += 1
    assert kept.get("a", lambda _: None) is None
    monkeypatch.setattr(recent, "MAX_KEPT", 3)
    for key in "bcdef":
        kept.get(key, str.upper)
    assert len(kept._kept) <= 3
