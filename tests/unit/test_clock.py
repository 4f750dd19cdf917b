"""The clock that goes by the database's: how well it knows it, and what steps of either clock do to it."""

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest

from app.core.clock import DRIFT, Clock

START = datetime(2026, 1, 1, tzinfo=UTC)


class Machine(Clock):
    """A machine whose monotonic clock reads `at`, beside a database whose clock is `off` the true time."""

    def __init__(self, *, off: float = 0.0) -> None:
        self.at = 1000.0
        self.off = off

    def monotonic(self) -> float:
        return self.at

    @property
    def database(self) -> datetime:
        return START + timedelta(seconds=self.at - 1000 + self.off)

    def ask(self, there: float = 0.001, back: float = 0.001) -> None:
        asked_at = self.at
        self.at += there
        said = self.database
        self.at += back
        self.synchronize(asked_at, said, self.at)

    def error(self) -> float:
        return (self.now() - self.database).total_seconds()


def test_until_the_database_was_asked_it_is_this_machines_time() -> None:
    assert not Clock().is_set
    assert abs(Clock().now() - datetime.now(UTC)) < timedelta(seconds=1)
    assert Clock().skew is None


@pytest.mark.parametrize("off", [-3600, -8, -0.4, 0, 0.4, 8, 3600])
def test_it_goes_by_the_database_however_far_that_is(off: float) -> None:
    machine = Machine(off=off)
    machine.ask()
    machine.at += 30
    assert abs(machine.error()) <= 0.0011


def test_slow_answer_makes_nothing_worse_than_it_was() -> None:
    machine = Machine()
    machine.ask(0.0005, 0.0005)
    known = machine.error()
    machine.ask(0.0, 1.5)  # as long as it takes a loop that is busy to look at the answer
    assert abs(machine.error() - known) < 0.001


def test_it_never_is_further_off_than_the_best_answer_allows() -> None:
    chance = random.Random(7)
    machine, best = Machine(off=-600), 10.0
    for _ in range(500):
        there, back = chance.expovariate(50), chance.expovariate(50)
        machine.ask(there, back)
        best = min(best + DRIFT * (1 + there + back), there + back)
        assert abs(machine.error()) <= best
        machine.at += 1


def test_quartz_that_is_off_is_followed() -> None:
    machine = Machine()
    for _ in range(200):
        machine.ask()
        machine.at += 1
        machine.off += DRIFT / 4
    assert abs(machine.error()) < 0.005


@pytest.mark.parametrize("step", [-3600.0, -2.0, 2.0, 3600.0])
def test_database_whose_clock_is_set_is_believed_at_the_next_look(step: float) -> None:
    machine = Machine()
    for _ in range(5):
        machine.ask()
        machine.at += 1
    machine.off += step
    machine.ask()
    assert abs(machine.error()) <= 0.0011


def test_skew_is_how_far_this_machine_is_ahead() -> None:
    clock = Clock()
    for off in (-8, 8):
        clock.synchronize(clock.monotonic(), datetime.now(UTC) - timedelta(seconds=off), clock.monotonic())
        assert clock.skew is not None
        assert abs(clock.skew - timedelta(seconds=off)) < timedelta(seconds=1)


def test_time_does_not_stand_still() -> None:
    clock = Clock()
    clock.synchronize(clock.monotonic(), START, clock.monotonic())
    moments = list(itertools.islice(iter(clock.now, None), 100))
    assert moments == sorted(moments)
    assert moments[0] < moments[-1]
