"""The second judge: it accepts what a register and docs/sessions.md allow, and refuses what they do not."""

import io
import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.resilience.history import Fault, History, Kind, Operation
from tests.resilience.register import check_registers, write_jsonl

ANNE, OWNER = 1, 9
RED, BLUE = 11, 12
LOGIN = Operation("login", 0, 0.5, "a1", ANNE, value=None)


def a(kind: Kind, start: float, end: float, browser: str = "a1", **about: Any) -> Operation:
    return Operation(kind, start, end, browser, OWNER if browser == "o" else ANNE, **about)


def judge(*operations: Operation, faults: tuple[Fault, ...] = ()) -> list[str]:
    return check_registers(History([LOGIN, *operations], list(faults)))


ON_RED = (a("select", 1, 2, deal=RED), a("current", 3, 4, value=RED))
UNKNOWN = a("select", 5, 6, deal=BLUE, outcome="unknown", status=503)
REVOKED = a("revoke", 5, 6, "o", deal=RED, target=ANNE)
GRANTED = a("grant", 7, 8, "o", deal=RED, target=ANNE)
REDIS_AWAY = (Fault("redis", 4, 7),)


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param(
            (a("select", 5, 9, deal=BLUE), a("current", 6, 7, value=BLUE), a("current", 6.5, 8, value=BLUE)), id="beside a select"
        ),
        pytest.param((UNKNOWN, a("current", 7, 8, value=RED), a("current", 9, 10, value=BLUE)), id="an unknown select, late"),
        pytest.param((UNKNOWN, a("current", 20, 21, value=RED)), id="an unknown select that never was"),
        pytest.param((a("select", 5, 6, deal=BLUE, outcome="failed", status=404), a("current", 7, 8, value=RED)), id="a failed select"),
        pytest.param((a("clear", 5, 6, "a2"), a("current", 7, 8, value=None)), id="another browser's clear"),
        pytest.param((REVOKED, a("current", 7, 8, value=None)), id="a revoke"),
        pytest.param((REVOKED, GRANTED, a("current", 9, 10, value=RED), a("current", 11, 12, value=None)), id="a restore in memory"),
        pytest.param(
            (REVOKED, GRANTED, a("me", 9, 10), a("select", 11, 12, "a2", deal=BLUE), a("current", 13, 14, value=RED)), id="a restore unseen"
        ),
        pytest.param((a("logout", 5, 6), a("current", 7, 8, outcome="failed", status=401)), id="a sign-out"),
    ],
)
def test_what_some_order_explains_is_accepted(operations: tuple[Operation, ...]) -> None:
    assert not judge(*ON_RED, *operations)


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param((a("select", 5, 6, deal=BLUE), a("current", 7, 8, value=RED)), id="an older deal than one's own"),
        pytest.param((UNKNOWN, a("current", 7, 8, value=BLUE), a("current", 9, 10, value=RED)), id="an unknown select, taken back"),
        pytest.param((UNKNOWN, a("current", 20, 21, value=RED), a("current", 22, 23, value=BLUE)), id="an unknown select, too late"),
        pytest.param((a("select", 5, 9, deal=BLUE), a("current", 5.5, 6, value=BLUE), a("current", 6.5, 7, value=RED)), id="new, then old"),
        pytest.param((a("select", 5, 6, deal=BLUE, outcome="failed", status=404), a("current", 7, 8, value=BLUE)), id="a failed select"),
        pytest.param((REVOKED, a("current", 6.5, 7, value=RED), a("current", 7, 8, value=None)), id="a deal that was revoked"),
        pytest.param((a("clear", 5, 6), a("current", 7, 8, value=RED)), id="a deal that was cleared"),
        pytest.param(
            (REVOKED, GRANTED, a("select", 11, 12, "a2", deal=BLUE), a("current", 13, 14, value=RED)), id="a restore of what was left"
        ),
        pytest.param((a("current", 5, 6, value=BLUE),), id="out of thin air"),
        pytest.param((a("logout", 5, 6), a("current", 7, 8, value=RED)), id="a ghost"),
    ],
)
def test_what_no_order_explains_is_refused(operations: tuple[Operation, ...]) -> None:
    assert judge(*ON_RED, *operations)


def test_another_browsers_change_may_be_seen_a_second_late_while_redis_fails_and_ones_own_may_not() -> None:
    late, too_late = a("current", 6.2, 6.4, value=RED), a("current", 7.5, 8, value=RED)
    assert not judge(*ON_RED, a("clear", 5, 6, "a2"), late, faults=REDIS_AWAY)
    assert judge(*ON_RED, a("select", 5, 6, deal=BLUE), late, faults=REDIS_AWAY)
    assert judge(*ON_RED, a("logout", 5, 6), too_late, faults=REDIS_AWAY)


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """What a real register does: each operation happens at one moment between its start and its end."""
    happens = sorted(
        draw(st.lists(st.tuples(st.integers(10, 200), st.sampled_from([None, RED, BLUE])), min_size=1, max_size=14)), key=lambda x: x[0]
    )
    value, operations = None, []
    for (moment, deal), i in zip(happens, count(), strict=False):
        before, after = draw(st.integers(0, 20)), draw(st.integers(0, 20))
        start, end = 10 + moment + i / 100 - before / 3, 10 + moment + i / 100 + after / 3
        if deal:
            value = deal
            lost = draw(st.booleans())
            operations.append(a("select", start, end, deal=deal, outcome="unknown" if lost else "ok"))
        else:
            operations.append(a("current", start, end, value=value))
    return operations


@settings(max_examples=150)
@given(histories())
def test_whatever_a_register_does_is_accepted_and_a_stale_read_after_it_is_not(operations: list[Operation]) -> None:
    assert not judge(*operations)
    end = max(op.end for op in operations) + 20  # no unknown is left
    stale = (a("select", end, end + 1, deal=BLUE), a("current", end + 2, end + 3, value=RED))
    assert judge(*operations, *stale)


def test_a_history_is_written_as_jepsens_tools_read_it() -> None:
    file = io.StringIO()
    write_jsonl(History([LOGIN, *ON_RED, UNKNOWN, a("current", 7, 8, value=RED)]), file)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(line["process"], line["type"], line["f"], line["value"]) for line in lines[-4:]] == [
        (0, "invoke", "select", BLUE),
        (0, "info", "select", BLUE),
        (1, "invoke", "current", None),
        (1, "ok", "current", RED),
    ]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
