"""When a job is due, in the words and by the rules of arq's cron()."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from arq.cron import next_cron


@dataclass(frozen=True)
class Cron:
    """Without an hour it is due by the hour in UTC, since the night in which a zone's clock goes back has one of them twice."""

    minute: tuple[int, ...] = (0,)
    hour: int | None = None
    weekday: str | None = None

    def __str__(self) -> str:
        fixed = [f"weekday={self.weekday}"] if self.weekday else []
        fixed += [f"hour={self.hour}"] if self.hour is not None else []
        return " ".join([*fixed, f"minute={','.join(map(str, self.minute))}"])

    @classmethod
    def parse(cls, text: str) -> "Cron":
        words = dict(word.split("=", 1) for word in text.split())
        minutes = tuple(int(minute) for minute in words["minute"].split(","))
        return cls(minutes, int(words["hour"]) if "hour" in words else None, words.get("weekday"))

    @property
    def in_words(self) -> str:
        """For people: `Sundays at 02:00`, `every 5 minutes`."""
        if self.hour is None:
            return "hourly" if len(self.minute) == 1 else f"every {60 // len(self.minute)} minutes"
        day = f"{_DAYS[self.weekday]}s" if self.weekday else "daily"
        return f"{day} at {self.hour:02}:{self.minute[0]:02}"

    def zone(self, configured: ZoneInfo) -> ZoneInfo:
        return ZoneInfo("UTC") if self.hour is None else configured

    def next_after(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """The first due time after `moment`, in UTC. A time the zone's clock skips is due when it has skipped it."""
        words: dict[str, Any] = {"weekday": self.weekday, "hour": self.hour, "minute": set(self.minute)}
        return next_cron(moment.astimezone(zone), **words, microsecond=0).astimezone(UTC)

    def last_until(self, moment: datetime, zone: ZoneInfo, *, since: datetime) -> datetime:
        """The last due time not after `moment`, where `since` is a due time not after it either."""
        due = max(since, moment - self._longest_gap)
        while (later := self.next_after(due, zone)) <= moment:
            due = later
        return due

    @property
    def _longest_gap(self) -> timedelta:
        """More than ever lies between two due times; a zone's day may have 25 hours."""
        if self.hour is None:
            return timedelta(hours=2)
        return timedelta(days=8 if self.weekday else 2)


_DAYS = {"mon": "Monday", "tues": "Tuesday", "wed": "Wednesday", "thurs": "Thursday", "fri": "Friday", "sat": "Saturday", "sun": "Sunday"}
