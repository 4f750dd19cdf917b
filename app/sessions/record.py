"""What a session is at rest: one versioned record with its deadlines, and the markers that protect it in Redis."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

MAX_DATA_BYTES = 64 * 1024

SessionData = dict[str, Any]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One version of one session, with everything a warm request needs to be sure. Times are unix milliseconds.

    `version` rises with every change (see `next_version`); the deadlines are those of the login and of the session.
    """

    version: int
    login_id: int
    user_id: int
    login_idle_at: int
    login_ends_at: int
    expires_at: int
    data: SessionData

    def is_live(self, now_ms: int) -> bool:
        return now_ms < min(self.login_idle_at, self.login_ends_at, self.expires_at)


class Hold(NamedTuple):
    """A writer's marker: until it publishes, readers ask SQL."""

    token: str


class Lease(NamedTuple):
    """A reader's marker on a missing key, taken before it reads SQL: only its owner may refill."""

    token: str


Entry = Record | Hold | Lease


@dataclass(frozen=True)
class SessionLimits:
    """How long things live: a session (sliding), a login without activity, a login at most."""

    session_lifetime: timedelta
    login_idle: timedelta
    login_lifetime: timedelta

    @property
    def touch_interval(self) -> timedelta:
        """How long a record may be believed, and how late activity may be noted: a twentieth of the shortest clock, at most 300 s."""
        return min(timedelta(seconds=300), self.session_lifetime / 20, self.login_idle / 20)

    def record_life_ms(self, record: Record, now_ms: int) -> int:
        left = min(record.login_idle_at, record.login_ends_at, record.expires_at) - now_ms
        return min(int(self.touch_interval.total_seconds() * 1000), left)


def next_version(previous: int, now_ms: int) -> int:
    """Rises by at least one, and over a row made anew or a database restored from a backup, since it follows the clock too."""
    return max(previous + 1, now_ms)


def check_storable(value: Any) -> None:
    """Raise `ValueError` unless `value` is plain JSON of at most `MAX_DATA_BYTES`. Called when a key is set, not when it is saved."""
    try:
        size = len(json.dumps(value, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        raise ValueError(f"a session holds plain JSON only: {error}") from error
    if size > MAX_DATA_BYTES:
        raise ValueError(f"a session holds at most {MAX_DATA_BYTES} bytes, this would be {size}")
