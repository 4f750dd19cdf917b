"""A browser: it asks the six routes of any of the servers, and notes how each request ended."""

import itertools
import time
from dataclasses import dataclass
from typing import Any

import httpx

from .history import History

# Longer is a hang to whoever waits. The visitor waits on, to tell what would have come.
HANG_SECONDS = 3
GIVE_UP_SECONDS = 8
NOT_OFFERED = (404, 405, 501)


@dataclass(frozen=True)
class Answer:
    """`status` 0: none within GIVE_UP_SECONDS, or the connection was cut. `value` is what `get` or `whoami` showed."""

    status: int
    seconds: float
    value: str | None = None

    @property
    def served(self) -> bool:
        return 200 <= self.status < 300

    @property
    def says_signed_out(self) -> bool:
        return self.status == 401

    @property
    def well(self) -> bool:
        return self.served and self.seconds <= HANG_SECONDS

    @property
    def ending(self) -> str:
        """In words, such as `500` or `works after 3.4 s`."""
        what = "works" if self.served else "signed out" if self.says_signed_out else str(self.status or "no answer")
        return f"{what} after {self.seconds:.1f} s" if self.seconds > HANG_SECONDS else what


class Visitor:
    """One cookie jar. Each request opens a connection and goes to the next of the servers, unless one is named."""

    def __init__(
        self,
        transports: list[httpx.AsyncBaseTransport],
        urls: list[str],
        history: History,
        *,
        cookies: httpx.Cookies | None = None,
        login: str | None = None,
        replays: bool = False,
    ) -> None:
        self._transports = transports
        self._urls = urls
        self._history = history
        self._turns = itertools.cycle(range(len(urls)))
        self._process = history.new_process()
        self.cookies = httpx.Cookies() if cookies is None else cookies
        self.label = login
        self.replays = replays

    def tab(self) -> "Visitor":
        """Another tab of the browser: one cookie jar, and requests of its own."""
        return self._with(self.cookies, replays=self.replays)

    def thief(self) -> "Visitor":
        """The cookies as they are now, to be used later."""
        return self._with(httpx.Cookies(self.cookies), replays=True)

    def _with(self, cookies: httpx.Cookies, *, replays: bool) -> "Visitor":
        return Visitor(self._transports, self._urls, self._history, cookies=cookies, login=self.label, replays=replays)

    async def login(self, user: str, *, server: int | None = None) -> Answer:
        self.label = self._history.new_login(user)
        return await self._ask("POST", f"/login/{user}", "login", key=self.label, value=user, server=server)

    async def logout(self, *, server: int | None = None) -> Answer:
        return await self._ask("POST", "/logout", "logout", key=self.label, server=server)

    async def revoke_all(self, *, server: int | None = None) -> Answer:
        user = (self.label or "").rpartition("-")[0]
        return await self._ask("POST", "/revoke-all", "revoke-all", key=user, server=server)

    async def set(self, value: str, *, key: str = "a", server: int | None = None) -> Answer:
        return await self._ask("POST", f"/set/{key}/{value}", "set", key=f"{self.label}/{key}", value=value, server=server)

    async def get(self, *, key: str = "a", server: int | None = None) -> Answer:
        return await self._ask("GET", f"/get/{key}", "get", key=f"{self.label}/{key}", shows="value", server=server)

    async def whoami(self, *, server: int | None = None) -> Answer:
        return await self._ask("GET", "/whoami", "whoami", key=self.label, shows="user", server=server)

    async def _ask(
        self, method: str, path: str, f: str, *, key: str | None, value: str | None = None, shows: str | None = None, server: int | None
    ) -> Answer:
        if server is None:
            server = next(self._turns)
        extras: dict[str, Any] = {"server": server} | ({"replayed": True} if self.replays else {})
        self._history.add(self._process, "invoke", f, key=key, value=value, **extras)
        answer = await self._send(method, path, shows, server)
        kind = "ok" if answer.served else "info" if answer.status == 0 or answer.status >= 500 else "fail"
        self._history.add(self._process, kind, f, key=key, value=answer.value if shows else value, status=answer.status, **extras)
        if kind == "info":
            self._process = self._history.new_process()
        return answer

    async def _send(self, method: str, path: str, shows: str | None, server: int) -> Answer:
        began = time.monotonic()
        # Not closed, as that would close the transport, which others use.
        http = httpx.AsyncClient(
            transport=self._transports[server], base_url=self._urls[server], cookies=self.cookies, timeout=GIVE_UP_SECONDS
        )
        try:
            response = await http.request(method, path, headers={"Accept": "application/json"})
        except httpx.TransportError:
            return Answer(0, time.monotonic() - began)
        self.cookies.extract_cookies(response)
        seconds = time.monotonic() - began
        if not (shows and response.is_success):
            return Answer(response.status_code, seconds)
        try:
            found = response.json().get(shows)
        except (ValueError, AttributeError):
            found = None  # a success that is not what was asked for: judged as a value that is gone
        return Answer(response.status_code, seconds, None if found is None else str(found))
