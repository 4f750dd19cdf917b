"""When the worker's daily job is due."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from worker.supervisor import until_daily


@pytest.mark.parametrize(
    ("now", "zone", "hours"),
    [
        (datetime(2026, 11, 22, 2, 0, tzinfo=UTC), "UTC", 1),
        (datetime(2026, 11, 22, 3, 0, tzinfo=UTC), "UTC", 24),
        (datetime(2026, 11, 22, 12, 0, tzinfo=UTC), "Asia/Tokyo", 6),
        # The night in which the clock goes forward has an hour less.
        (datetime(2026, 3, 28, 2, 30, tzinfo=UTC), "Europe/Paris", 22.5),
    ],
)
def test_daily_hour_is_that_of_the_zone(now: datetime, zone: str, hours: float) -> None:
    assert until_daily(now, ZoneInfo(zone)) == timedelta(hours=hours)
