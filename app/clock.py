"""The one source of time, so that tests can move it."""

from datetime import UTC, datetime, timedelta


class Clock:
    """Wall-clock time in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def unix_ms(self) -> int:
        return to_unix_ms(self.now())


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# In whole numbers: a float of seconds does not tell every millisecond of a far future.
def to_unix_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_unix_ms(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
