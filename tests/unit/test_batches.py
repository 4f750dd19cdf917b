"""The size of batches follows the time they take."""

import time

from app.core.batches import FIRST_ROWS, MAX_ROWS, MIN_ROWS, TARGET, BatchSizer


def sizes_after(seconds: float, *, most: int = MAX_ROWS) -> list[int]:
    """Of the four batches that follow on one that took so long, and on each other."""
    now = 0.0
    batches, sizes = BatchSizer(most=most, stopwatch=lambda: now), []
    for _ in range(4):
        with batches.batch():
            now += seconds
        sizes.append(batches.rows)
    return sizes


def test_batches_grow_while_they_are_quick_and_never_beyond_the_most() -> None:
    assert sizes_after(0) == [2 * FIRST_ROWS, MAX_ROWS, MAX_ROWS, MAX_ROWS]
    assert sizes_after(0, most=10) == [10] * 4


def test_batches_shrink_when_they_are_slow_and_never_below_the_fewest() -> None:
    assert sizes_after(1.1 * TARGET.total_seconds()) == [125, MIN_ROWS, MIN_ROWS, MIN_ROWS]


async def test_rest_is_as_long_as_the_batch() -> None:
    batches = BatchSizer(stopwatch=iter((0, 0.02)).__next__)
    with batches.batch():
        pass
    began = time.monotonic()
    await batches.throttle()
    assert time.monotonic() - began >= 0.019
