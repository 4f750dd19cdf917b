"""A short chaos run. `make chaos` is the long one."""

import os
import random

import pytest

from tests.resilience.chaos import DATABASES, run
from tests.resilience.matrix import IS_FULL
from tests.resilience.register import check_registers
from tests.resilience.site import LENIENCE

SECONDS = 20 if IS_FULL else 10


@pytest.mark.slow
@pytest.mark.parametrize("database", DATABASES if IS_FULL else ["postgresql"])
def test_random_faults_under_load_break_no_promise(database: str) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    report = run(database, seconds=SECONDS, seed=seed, lenience=LENIENCE)
    assert not report.violations, report
    assert not (IS_FULL and report.strays), report
    assert not (impossible := check_registers(report.history)), impossible
    assert report.history.faults, report
