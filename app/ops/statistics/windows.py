"""The spans of time a chart can show, and how they are cut into buckets."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

WindowName = Literal["1h", "24h", "7d"]


@dataclass(frozen=True)
class Window:
    """Buckets are aligned to the clock, so that a chart stands still while time goes on; the last one is not over yet."""

    name: WindowName
    span: timedelta
    bucket: timedelta
    words: str

    def since(self, now: datetime) -> datetime:
        return self.starts(now)[0]

    def starts(self, now: datetime) -> list[datetime]:
        """Of every bucket, the oldest first."""
        seconds = int(self.bucket.total_seconds())
        last = int(now.timestamp()) // seconds * seconds
        return [datetime.fromtimestamp(last - seconds * each, UTC) for each in range(self.span // self.bucket - 1, -1, -1)]

    def index(self, moment: datetime, now: datetime) -> int:
        """Of the bucket that holds `moment`; outside of 0 … len - 1 where none does."""
        return int((moment - self.since(now)) // self.bucket)


WINDOWS: dict[str, Window] = {
    "1h": Window("1h", timedelta(hours=1), timedelta(minutes=1), "the last hour"),
    "24h": Window("24h", timedelta(hours=24), timedelta(minutes=15), "the last 24 hours"),
    "7d": Window("7d", timedelta(days=7), timedelta(hours=2), "the last 7 days"),
}
