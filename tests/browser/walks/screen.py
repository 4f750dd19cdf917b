"""A browser as the walk uses it: what is on the screen, and what a hand does."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from playwright.async_api import BrowserContext, Error, Page, Request, Response

from tests.browser.walks.model import View

# What an address may say of a list; all else in it is about what was done.
KNOWN = {"q", "severity", "status", "owner", "sort", "cursor", "state", "stage", "archived", "import"}
# A page at rest for so long is kept: a second without a move, and no more than one write in two.
AT_REST_MS = 2300
_GONE = "Execution context was destroyed"  # by a page that tries again
_WRITES = re.compile(r"/api/(place|deals/\d+/(drafts/|visit|select))")

_LOOK = """() => {
  const edge = (document.querySelector(".bar")?.offsetHeight ?? 0) + 2;
  const rows = [...document.querySelectorAll("[data-row]")];
  const boxes = rows.map((row) => row.getBoundingClientRect());
  const board = document.querySelector(".board");
  const form = document.querySelector("form[data-draft]");
  return {
    url: location.href,
    rows: rows.map((row) => Number(row.dataset.row)),
    first: boxes.findIndex((box) => box.bottom > edge && box.right > 1),
    inSight: rows.filter((_, at) => {
      const { bottom, top, left, right } = boxes[at];
      return bottom > edge && top < innerHeight && right > 1 && left < innerWidth;
    }).map((row) => Number(row.dataset.row)),
    isTop: scrollY < 1 && !board?.scrollLeft,
    isEnd: scrollY + innerHeight >= document.documentElement.scrollHeight - 2,
    text: form?.querySelector("[name=title]")?.value ?? null,
    isOffered: [...document.querySelectorAll(".notice.draft button")].some((button) => button.textContent === "Continue here"),
    said: document.body.innerText,
  };
}"""

_SCROLL = """(id) => {
  const row = [...document.querySelectorAll("[data-row]")].find((each) => Number(each.dataset.row) === id);
  row.scrollIntoView({ block: "nearest", inline: "start", behavior: "instant" });
  const box = row.getBoundingClientRect();
  scrollBy({ top: box.top + box.height / 2 - document.querySelector(".bar").offsetHeight, behavior: "instant" });
}"""

_AT_THE_END = """(field) => {
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}"""


@dataclass(frozen=True)
class Seen:
    """The screen; `view` is as its address has it, without a row."""

    view: View
    rows: list[int]
    first: int
    in_sight: list[int]
    is_top: bool
    is_end: bool
    text: str | None
    is_offered: bool
    said: str

    @property
    def row(self) -> int:
        return 0 if self.is_top or self.first < 0 else self.rows[self.first]

    def is_at(self, row: int) -> bool:
        """That row is the first one in sight, give or take one; a window that is taller than the rest of the page shows it further down."""
        if not row or row not in self.rows:
            return self.first <= 1
        return abs(self.first - self.rows.index(row)) <= 1 or (self.is_end and row in self.in_sight)


class Screen:
    """One tab."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context, self.url = context, url
        self.writes: set[Request] = set()
        self.refused: list[str] = []
        self.take(page)

    def take(self, page: Page) -> None:
        self.page = page
        self.writes.clear()
        page.on("request", self._note)
        page.on("response", self._note_refusal)
        for end in ("requestfinished", "requestfailed"):
            page.on(end, lambda request: self.writes.discard(request))  # playwright marks what it is given

    def _note(self, request: Request) -> None:
        if _WRITES.search(request.url):
            self.writes.add(request)

    def _note_refusal(self, answer: Response) -> None:
        if answer.status >= 400 and _WRITES.search(answer.url):
            self.refused.append(f"{answer.status} {urlsplit(answer.url).path}")

    async def look(self) -> Seen | None:
        """None while there is no page of this site."""
        try:
            found: dict[str, Any] = await self.page.evaluate(_LOOK)
        except Error:
            return None
        if not found["url"].startswith(self.url):
            return None
        return Seen(
            view_of(found["url"].removeprefix(self.url)),
            found["rows"],
            found["first"],
            found["inSight"],
            found["isTop"],
            found["isEnd"],
            found["text"],
            found["isOffered"],
            found["said"],
        )

    async def open(self, path: str) -> None:
        await self.attempt(lambda: self.page.goto(self.url + path))

    async def reload(self) -> None:
        await self.attempt(lambda: self.page.reload())

    async def attempt(self, go: Callable[[], Awaitable[Any]]) -> None:
        """As often as a person would who sees that the server does not answer."""
        for pause in (0.2, 0.5, 1, 2, 4, 8):
            try:
                await go()
                return
            except Error as error:
                if "net::" not in str(error) and "interrupted" not in str(error):
                    raise
                await asyncio.sleep(pause)
        raise AssertionError(f"{self.page.url}: no answer")

    async def click(self, selector: str, nth: int = 0) -> None:
        """Without the scrolling that a driver does to what is out of sight."""
        await self.page.locator(selector).nth(nth).evaluate("(element) => { element.click(); }")

    async def press(self, keys: str) -> None:
        """One after the other, with nothing in focus, once the scripts stand that hear them."""
        await self.page.wait_for_load_state("domcontentloaded")
        await self.page.evaluate("document.activeElement?.blur()")
        for key in keys:
            await self.page.keyboard.press(key)

    async def scroll_to(self, row: int) -> None:
        await self.page.evaluate(_SCROLL, row)
        await self.pause(50)

    async def type(self, text: str) -> None:
        await self.page.locator("form[data-draft] [name=title]").first.evaluate(_AT_THE_END)
        await self.page.keyboard.type(text, delay=5)

    async def pause(self, ms: int) -> None:
        """By the page's own clock, so that its timers of that time have fired; by another where it goes on to the next by itself."""
        try:
            await self.page.evaluate("(ms) => new Promise((over) => setTimeout(over, ms))", ms)
        except Error as error:
            if _GONE not in str(error):
                raise
            await asyncio.sleep(ms / 1000)

    async def entry(self) -> str | None:
        """Names where it is in its history; an address that is opened twice in a row has one entry there."""
        try:
            key: str | None = await self.page.evaluate("window.navigation?.currentEntry?.key")
        except Error:
            return None
        return key

    async def rest(self, ms: int = AT_REST_MS) -> None:
        """Until nothing more is to be kept. What a page that is gone has on its way is not told of, hence the end to that."""
        await self.pause(ms)
        for _ in range(100):
            if not self.writes:
                break
            await asyncio.sleep(0.05)
        self.writes.clear()


def view_of(address: str) -> View:
    split = urlsplit(address)
    query = frozenset((name, value) for name, value in parse_qsl(split.query) if name in KNOWN)
    parts = split.path.strip("/").split("/")
    if parts[:2] == ["deals", "board"]:
        return View("board", query=query)
    if parts[0] != "deals" or len(parts) < 3:
        return View(split.path.strip("/"), query=query)
    deal, page, *below = parts[1:]
    item = next((int(part) for part in below if part.isdecimal()), 0)
    return View(page, int(deal), item, next((part for part in below if not part.isdecimal()), ""), query)
