"""A browser that notes how each request ended: by an answer, and when, or by none."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

# Longer is a hang to whoever waits. The visitor waits on, to tell what would have come.
HANG_SECONDS = 3
GIVE_UP_SECONDS = 8


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: Any = None


class Speech(Protocol):
    """What a site calls things. A session holds two small numbers, under the keys a and b."""

    def login(self, name: str) -> Call: ...

    def logout(self) -> Call: ...

    def write(self, key: str, value: int) -> Call: ...

    def read(self, key: str) -> Call: ...

    def find(self, key: str, body: Any) -> int | None:
        """The number in the answer to `read`."""


@dataclass(frozen=True)
class Answer:
    """`status` 0: none within GIVE_UP_SECONDS, or the connection was cut. `value` is what a read showed."""

    status: int
    seconds: float
    value: int | None = None

    @property
    def served(self) -> bool:
        return 200 <= self.status < 300

    @property
    def says_signed_out(self) -> bool:
        return self.status == 401

    @property
    def ending(self) -> str:
        """In words, such as `500` or `works after 3.4 s`."""
        what = "works" if self.served else "signed out" if self.says_signed_out else str(self.status or "no answer")
        return f"{what} after {self.seconds:.1f} s" if self.seconds > HANG_SECONDS else what


class Visitor:
    """One cookie jar at one site. Each request opens a connection, so that any of the site's processes may get it."""

    def __init__(self, url: str, speech: Speech, cookies: httpx.Cookies | None = None) -> None:
        self.url = url
        self.speech = speech
        self.cookies = httpx.Cookies(cookies)

    def copy(self) -> "Visitor":
        """The same cookies as they are now: what a slow tab, or a thief, still holds."""
        return Visitor(self.url, self.speech, self.cookies)

    async def login(self, name: str) -> Answer:
        return await self._ask(self.speech.login(name))

    async def logout(self) -> Answer:
        return await self._ask(self.speech.logout())

    async def write(self, value: int, *, key: str = "a") -> Answer:
        return await self._ask(self.speech.write(key, value))

    async def read(self, *, key: str = "a") -> Answer:
        return await self._ask(self.speech.read(key), key=key)

    async def _ask(self, call: Call, *, key: str | None = None) -> Answer:
        began = time.monotonic()
        try:
            async with httpx.AsyncClient(base_url=self.url, cookies=self.cookies, trust_env=False, timeout=GIVE_UP_SECONDS) as http:
                response = await http.request(call.method, call.path, json=call.body)
                self.cookies = http.cookies
        except httpx.TransportError:
            return Answer(0, time.monotonic() - began)
        value = self.speech.find(key, response.json()) if key and response.is_success else None
        return Answer(response.status_code, time.monotonic() - began, value)
