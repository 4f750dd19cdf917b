"""Browsers that people use: an account has only so many logins and streams at once, so some are other tabs of one browser."""

from collections.abc import Sequence
from http.cookiejar import CookieJar
from itertools import count

from accounts import Account
from gevent.event import Event

# Holdfast ends the oldest of more than 20 logins, and of more than 12 streams of one person. Somebody may be signed in besides.
LOGINS_EACH, STREAMS_EACH = 12, 8


class Browser:
    """One login. `signed_in` is set once it is there."""

    def __init__(self, account: Account, streams: dict[str, int]) -> None:
        self.account = account
        self.cookies = CookieJar()
        self.tabs = 0
        self.signed_in = Event()
        self._streams = streams

    def takes_stream(self) -> bool:
        """Whether the account has room for one more; then it is taken."""
        open_now = self._streams.get(self.account.email, 0)
        self._streams[self.account.email] = open_now + 1
        return open_now < STREAMS_EACH


class Browsers:
    def __init__(self, accounts: Sequence[Account]) -> None:
        streams: dict[str, int] = {}
        self._browsers = [Browser(account, streams) for _ in range(LOGINS_EACH) for account in accounts]
        self._turn = count()

    def next_tab(self) -> Browser:
        browser = self._browsers[next(self._turn) % len(self._browsers)]
        browser.tabs += 1
        return browser
