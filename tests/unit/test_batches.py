"""The size of batches follows the time they take."""

import time

from app.batches import AIM, FEWEST_ROWS, FIRST_ROWS, MOST_ROWS, Pace


def after(pace: Pace, seconds: float) -> int:
    """The size of the next batch after one that took so long."""
    with pace.batch():
        time.sleep(seconds)
    return pace.rows


def test_batches_grow_while_they_are_quick_and_never_beyond_the_most() -> None:
    pace = Pace()
    sizes = [after(pace, 0) for _ in range(4)]
    assert sizes == [2 * FIRST_ROWS, MOST_ROWS, MOST_ROWS, MOST_ROWS]
    assert after(Pace(most=10), 0) == 10


def test_batches_shrink_when_they_are_slow_and_never_below_the_fewest() -> None:
    pace = Pace()
    slow = 1.1 * AIM.total_seconds()
    assert [after(pace, slow) for _ in range(4)] == [125, FEWEST_ROWS, FEWEST_ROWS, FEWEST_ROWS]


async def test_rest_is_as_long_as_the_batch() -> None:
    pace = Pace()
    after(pace, 0.02)
    began = time.monotonic()
    await pace.rest()
    assert time.monotonic() - began >= 0.019
