"""The size of batches follows the time they take."""

import time

from app.core.batches import AIM, FIRST_ROWS, MAX_ROWS, MIN_ROWS, BatchSizer


def after(batches: BatchSizer, seconds: float) -> int:
    """The size of the next batch after one that took so long."""
    with batches.batch():
        time.sleep(seconds)
    return batches.rows


def test_batches_grow_while_they_are_quick_and_never_beyond_the_most() -> None:
    batches = BatchSizer()
    sizes = [after(batches, 0) for _ in range(4)]
    assert sizes == [2 * FIRST_ROWS, MAX_ROWS, MAX_ROWS, MAX_ROWS]
    assert after(BatchSizer(most=10), 0) == 10


def test_batches_shrink_when_they_are_slow_and_never_below_the_fewest() -> None:
    batches = BatchSizer()
    slow = 1.1 * AIM.total_seconds()
    assert [after(batches, slow) for _ in range(4)] == [125, MIN_ROWS, MIN_ROWS, MIN_ROWS]


async def test_rest_is_as_long_as_the_batch() -> None:
    batches = BatchSizer()
    after(batches, 0.02)
    began = time.monotonic()
    await batches.throttle()
    assert time.monotonic() - began >= 0.019
