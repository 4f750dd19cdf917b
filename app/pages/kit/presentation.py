"""How values look on a page: the filters of the templates, and the addresses of static files."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from app.auth.email_address import shown_email

STATIC = Path(__file__).parents[2] / "static"

_WORDS = re.compile(r"[^\W_]+")
# (from how many seconds on, seconds of one, its name): weeks and months begin at two of them, "12 days" says more than "1 week".
_UNITS = (
    (365 * 86400, 365 * 86400, "year"),
    (60 * 86400, 30 * 86400, "month"),
    (14 * 86400, 7 * 86400, "week"),
    (86400, 86400, "day"),
    (3600, 3600, "hour"),
    (60, 60, "minute"),
)
_MAGNITUDES = ((1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K"))


class Assets:
    """Addresses of static files with a hash of their content, so that a browser may keep each for a year."""

    def __init__(self, root: Path = STATIC, *, reload: bool = False) -> None:
        self._root = root
        self._reload = reload
        self._known: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        if self._reload or path not in self._known:
            digest = sha256((self._root / path).read_bytes()).hexdigest()[:8]
            self._known[path] = f"/static/{path}?v={digest}"
        return self._known[path]


def initials(name: str) -> str:
    words: list[str] = _WORDS.findall(name)
    if len(words) > 1:
        return (words[0][0] + words[1][0]).upper()
    return (words[0][:2] if words else "?").upper()


def ago(moment: datetime, *, now: datetime) -> str:
    """Relative time in whole units; below a minute it is "just now" or "in a moment"."""
    seconds = int((now - moment).total_seconds())
    for least, size, unit in _UNITS:
        if abs(seconds) >= least:
            count = abs(seconds) // size
            text = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "just now" if seconds >= 0 else "in a moment"


def exact(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M:%S} UTC"


def day(value: date) -> str:
    return f"{value.day} {value:%b %Y}"


def exact_day(value: date) -> str:
    return f"{value:%A}, {value.day} {value:%B %Y}"


def dollars(amount: int) -> str:
    return f"${amount:,}"


def short_dollars(amount: int) -> str:
    """`$19.6B`, `$750M`, `$12.4K`: three figures at most, never rounded up into the next magnitude."""
    for size, letter in _MAGNITUDES:
        if amount >= size:
            tenths = amount * 10 // size
            return f"${tenths // 10}{letter}" if tenths >= 1000 or tenths % 10 == 0 else f"${tenths // 10}.{tenths % 10}{letter}"
    return f"${amount}"


def is_web(url: str) -> bool:
    """Whether an imported address may become a link: another scheme, such as javascript:, never does."""
    return url.startswith(("http://", "https://"))


def host(url: str) -> str:
    try:
        name = urlsplit(url).hostname
    except ValueError:
        return url
    return (name or url).removeprefix("www.")


def listed(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[,;|]", text) if part.strip()]


FILTERS: dict[str, Callable[..., object]] = {
    "day": day,
    "dollars": dollars,
    "email": shown_email,
    "exact": exact,
    "exact_day": exact_day,
    "host": host,
    "initials": initials,
    "is_web": is_web,
    "listed": listed,
    "moment": datetime.fromisoformat,
    "short_dollars": short_dollars,
}
