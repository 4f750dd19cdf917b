"""The checker itself: it accepts what is promised, whichever way an unknown outcome went, and names what a bad history breaks."""

from itertools import count
from typing import Any

import pytest

from tests.resilience.history import Fault, History, Kind, Operation, check

ANNE, BERT, OWNER = 1, 2, 9
RED, BLUE, GREEN, FOREIGN = 11, 12, 13, 99
OURS = frozenset((RED, BLUE, GREEN))
USERS = {"a": ANNE, "b": BERT, "o": OWNER}


class Story:
    """Operations a second apart and half a second long; `at` places one among others. A browser is its person's initial and a number."""

    def __init__(self, *faults: Fault) -> None:
        self.history = History(faults=list(faults), deals=dict.fromkeys((ANNE, BERT, OWNER), OURS))
        self._seconds = count(100)

    def op(self, kind: Kind, browser: str = "a1", *, at: float | None = None, took: float = 0.5, **values: Any) -> "Story":
        start = float(next(self._seconds)) if at is None else at
        user = USERS[browser[0]]
        self.history.operations.append(Operation(kind, start, start + took, browser, user, **values))
        return self

    def unknown(self, kind: Kind, **values: Any) -> "Story":
        return self.op(kind, outcome="unknown", status=503, **values)

    def broken(self) -> set[str]:
        return {each.split()[0] for each in check(self.history)}


def signed_in(*faults: Fault, value: int | None = None) -> Story:
    """Anne's first browser, on RED by its own selection unless said otherwise."""
    story = Story(*faults).op("login", value=None)
    return story.op("select", deal=value or RED).op("current", value=value or RED)


def sql_away() -> Fault:
    return Fault("sql", 90, 120)


GOOD = {
    "selecting, reading, coming back": signed_in()
    .op("select", deal=BLUE, server=1)
    .op("current", value=BLUE)
    .op("logout")
    .op("login", "a2", value=BLUE)
    .op("current", "a2", value=BLUE),
    "a read beside a select shows either": signed_in()
    .op("select", deal=BLUE, at=110, took=2)
    .op("current", value=BLUE, at=110.2, took=0.1)
    .op("current", value=RED, at=110.1, took=0.1),
    "an unknown select had no effect": signed_in(sql_away()).unknown("select", deal=BLUE).op("current", value=RED),
    "an unknown select took effect": signed_in(sql_away()).unknown("select", deal=BLUE).op("current", value=BLUE),
    "an unknown select took effect late": signed_in(sql_away())
    .unknown("select", deal=BLUE)
    .op("current", value=RED)
    .op("current", value=BLUE),
    "an unknown clear, either way": signed_in(sql_away()).unknown("clear").op("current", value=RED).op("current", value=None),
    "an unknown logout, either way": signed_in(sql_away())
    .unknown("logout")
    .op("current", value=RED)
    .op("current", outcome="failed", status=401),
    "an unknown revoke, either way": signed_in(sql_away())
    .unknown("revoke", browser="o1", deal=RED, target=ANNE)
    .op("current", value=RED)
    .op("current", value=None),
    "a failed select has no effect": signed_in().op("select", deal=BLUE, outcome="failed", status=404).op("current", value=RED),
    "taken away, given back, chosen again": signed_in()
    .op("revoke", "o1", deal=RED, target=ANNE)
    .op("current", value=None)
    .op("grant", "o1", deal=RED, target=ANNE)
    .op("select", deal=RED)
    .op("current", value=RED),
    "a stripped session is given what was selected elsewhere": signed_in()
    .op("login", "a2", value=RED)
    .op("select", "a2", deal=BLUE)
    .op("revoke", "o1", deal=RED, target=ANNE)
    .op("current", value=BLUE)
    .op("current", value=BLUE),
    "a clear in one browser reaches the others": signed_in()
    .op("login", "a2", value=RED)
    .op("clear", "a2")
    .op("current", value=None)
    .op("login", "a3", value=None),
    "another browser is late while Redis fails": signed_in(Fault("redis", 90, 120))
    .op("login", "a2", value=RED)
    .op("clear", "a2", at=105, took=0.1)
    .op("current", value=RED, at=105.3, took=0.1),
    "no answer from a web server that was killed": signed_in(Fault("web", 103, 105)).op("current", outcome="failed", status=0),
    "503 while SQL is away": signed_in(sql_away()).op("current", outcome="failed", status=503),
    "slow, and so was everything on this machine": signed_in(Fault("machine", 100, 110)).op("current", value=RED, took=3.5),
    "health, both ways": Story(Fault("redis", 100, 150))
    .op("health", redis_serves=True, at=105)
    .op("health", at=120)
    .op("health", redis_serves=True, at=170)
    .op("health", at=172),
    "health, before anything was seen": Story().op("health", at=100),
}

BAD = {
    "I1 a selection is lost": ("I1", signed_in().op("select", deal=BLUE).op("login", "a2", value=RED)),
    "I1 a login is lost": ("I1", signed_in().op("current", outcome="failed", status=401)),
    "I1 nothing comes back": ("I1", signed_in().op("login", "a2", value=None)),
    "I2 the other server shows the old": ("I2", signed_in().op("select", deal=BLUE).op("current", value=RED, server=1)),
    "I2 although Redis fails": ("I2", signed_in(Fault("redis", 90, 120)).op("select", deal=BLUE).op("current", value=RED)),
    "I3 new, then old": (
        "I3",
        signed_in(sql_away()).unknown("select", deal=BLUE).op("current", value=BLUE).op("current", value=RED),
    ),
    "I3 old again beside a slow select": (
        "I3",
        signed_in()
        .op("select", deal=BLUE, at=110, took=2)
        .op("current", value=BLUE, at=110.1, took=0.1)
        .op("current", value=RED, at=110.5),
    ),
    "I4 nobody chose it": ("I4", signed_in().op("current", value=GREEN)),
    "I4 a refused selection is shown": (
        "I4",
        signed_in().op("select", deal=GREEN, outcome="failed", status=404).op("current", value=GREEN),
    ),
    "I5 after a revoke": ("I5", signed_in().op("revoke", "o1", deal=RED, target=ANNE).op("current", value=RED)),
    "I5 after a revoke, by a new login": ("I5", signed_in().op("revoke", "o1", deal=RED, target=ANNE).op("login", "a2", value=RED)),
    "I5 after a delete": ("I5", signed_in().op("delete", "o1", deal=RED).op("current", value=RED)),
    "I5 after a logout": ("I5", signed_in().op("logout").op("current", value=RED)),
    "I5 long after a revoke while Redis failed": (
        "I5",
        signed_in(Fault("redis", 90, 120)).op("revoke", "o1", deal=RED, target=ANNE, at=105).op("current", value=RED, at=107),
    ),
    "I5 back by a new grant alone": (
        "I5",
        signed_in().op("revoke", "o1", deal=RED, target=ANNE).op("grant", "o1", deal=RED, target=ANNE).op("current", value=RED),
    ),
    "I6 somebody else's answer": ("I6", signed_in().op("current", value=RED, shown_user=BERT)),
    "I6 another organisation's deal": ("I6", signed_in().op("select", deal=FOREIGN).op("current", value=FOREIGN)),
    "I7 a clear did not last": ("I7", signed_in().op("clear").op("current", value=None).op("current", value=RED)),
    "I7 a cleared deal greets a new login": ("I7", signed_in().op("clear").op("login", "a2", value=RED)),
    "I7 a logout forgot": ("I7", signed_in().op("logout").op("login", "a2", value=None)),
    "I7 an unknown outcome ended as none": ("I7", signed_in(sql_away()).unknown("select", deal=BLUE).op("current", value=None)),
    "I8 a 500 while Redis fails": ("I8", signed_in(Fault("redis", 90, 120)).op("current", outcome="failed", status=500)),
    "I8 no answer from a living server": ("I8", signed_in().op("current", outcome="failed", status=0)),
    "I9 too slow": ("I9", signed_in(Fault("redis", 90, 120)).op("current", value=RED, took=3.5)),
    "I10 says up while down": ("I10", Story(Fault("redis", 100, 150)).op("health", redis_serves=True, at=115)),
    "I10 says down while up": ("I10", Story(Fault("redis", 100, 150)).op("health", at=165)),
    "I10 one server says down while up": ("I10", Story().op("health", at=150, server=1, redis_serves=True).op("health", at=166)),
}


@pytest.mark.parametrize("story", GOOD.values(), ids=GOOD)
def test_what_is_promised_is_accepted(story: Story) -> None:
    assert check(story.history) == []


@pytest.mark.parametrize(("invariant", "story"), BAD.values(), ids=BAD)
def test_what_is_not_is_rejected_by_its_name(invariant: str, story: Story) -> None:
    assert story.broken() == {invariant}, check(story.history)


def test_every_invariant_has_a_history_that_breaks_it() -> None:
    assert {invariant for invariant, _ in BAD.values()} == {f"I{number}" for number in range(1, 11)}
