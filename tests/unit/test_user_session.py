"""The session of a request as a dict: whatever changes a key is noted, to be merged key by key."""

from collections.abc import Callable
from typing import Any

import pytest

from app.sessions.interface import UserSession

CHANGES: list[tuple[Callable[[UserSession], Any], dict[str, Any]]] = [
    (lambda session: session.__setitem__("b", 2), {"a": 1, "b": 2}),
    (lambda session: session.update(b=2), {"a": 1, "b": 2}),
    (lambda session: session.setdefault("b", 2), {"a": 1, "b": 2}),
    (lambda session: session.pop("a"), {}),
    (lambda session: session.popitem(), {}),
    (lambda session: session.clear(), {}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_every_way_to_change_a_key_is_merged(change: Callable[[UserSession], Any], expected: dict[str, Any]) -> None:
    session = UserSession()
    session.show({"a": 1})
    change(session)
    assert dict(session) == expected
    assert session.merge_into({"a": 1, "other": 3}) == expected | {"other": 3}


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), "x" * 70_000, b"bytes"])
def test_what_is_not_plain_json_or_too_large_is_refused_when_it_is_set(value: Any) -> None:
    session = UserSession()
    with pytest.raises(ValueError, match="a session holds"):
        session["key"] = value
    assert "key" not in session
