"""When a job is due. cronsim computes it, with Debian cron's rules for the nights on which a zone's clock changes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim


@dataclass(frozen=True)
class Cron:
    """Without an hour it follows the hours of UTC: a zone has one hour twice on the night its clock goes back.

    Its text is stored as `weekday=sun hour=2 minute=0`, because workers of the previous version read it during an upgrade.
    """

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

    @property
    def expression(self) -> str:
        """For cron: `0 2 * * sun`."""
        hour = "*" if self.hour is None else self.hour
        return f"{','.join(map(str, self.minute))} {hour} * * {self.weekday[:3] if self.weekday else '*'}"

    def zone(self, configured: ZoneInfo) -> ZoneInfo:
        return ZoneInfo("UTC") if self.hour is None else configured

    def next_after(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """The first due time after `moment`, in UTC. A time that the zone's clock skips is due right after the skip."""
        return next(CronSim(self.expression, moment.astimezone(zone))).astimezone(UTC)

    def last_until(self, moment: datetime, zone: ZoneInfo, *, since: datetime) -> datetime:
        """The last due time not after `moment`; `since` is an earlier one, or `moment` itself."""
        # Forwards: backwards, cronsim skips the first of two equal hours.
        due = max(since, moment - self._longest_gap)
        while (later := self.next_after(due, zone)) <= moment:
            due = later
        return due

    @property
    def _longest_gap(self) -> timedelta:
        """More than the time between any two due times; a zone's day may have 25 hours."""
        if self.hour is None:
            return timedelta(hours=2)
        return timedelta(days=8 if self.weekday else 2)


_DAYS = {"mon": "Monday", "tues": "Tuesday", "wed": "Wednesday", "thurs": "Thursday", "fri": "Friday", "sat": "Saturday", "sun": "Sunday"}
