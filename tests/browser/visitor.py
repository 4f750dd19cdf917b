"""A person at a browser, with everything their browser complained about."""

from typing import Any, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize

from tests.factories import PASSWORD

BROWSER_TESTS = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
on_the_loop = pytest_asyncio.fixture(loop_scope="session")

DESKTOP, TABLET, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=768, height=1024), ViewportSize(width=360, height=740)

# At which width of a window axe looks at which theme, and by which rules (none: all). Only colours differ between themes.
LOOKS: dict[int, dict[Literal["light", "dark"], tuple[str, ...]]] = {1440: {"dark": ("color-contrast",), "light": ()}, 360: {"light": ()}}

_REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation",
  (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));"""

_FIND_VIOLATIONS = """rules => axe.run(document, {resultTypes: ["violations"], ...(rules.length && {runOnly: rules})})
  .then(({violations}) => violations)"""


class Visitor:
    """Keeps what the console and the content policy said; `complaints` must stay empty on a page that is well."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context, self.page, self.url = context, page, url
        self.complaints: list[str] = []
        self._has_lost_login = False
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def open(self, path: str) -> int:
        """Open a page; returns its status."""
        # None where a script of the page before was just going somewhere itself.
        response = await self.page.goto(self.url + path) or await self.page.goto(self.url + path)
        assert response is not None
        return response.status

    async def sign_in(self, email: str, *, password: str = PASSWORD) -> None:
        """By the form that is open, or at the front door."""
        if "/login" not in self.page.url:
            await self.open("/login")
        await self.page.get_by_label("E-mail").fill(email)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()

    async def axe(self, *rules: str) -> list[str]:
        """What axe finds wrong with the page as it is shown now, by all its rules or by these."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(Axe().axe_script)
        violations: list[dict[str, Any]] = await self.page.evaluate(_FIND_VIOLATIONS, rules)
        return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in violations]

    async def look(self) -> list[str]:
        """What is wrong with the page as it is shown now: what axe says, in both themes and on a phone; wider than a window."""
        found: list[str] = []
        size = self.page.viewport_size or DESKTOP
        for each in (DESKTOP, TABLET, PHONE):
            await self.page.set_viewport_size(each)
            if await self.overflows():
                found.append(f"wider than {each['width']} px")
            for scheme, rules in LOOKS.get(each["width"], {}).items():
                await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                found += [f"{scheme}, {each['width']} px: {problem}" for problem in await self.axe(*rules)]
        await self.page.set_viewport_size(size)
        return found

    async def lose_login(self) -> None:
        """The cookies are gone; what the open page sends on its own from now on, such as its place, may be refused."""
        self._has_lost_login = True
        await self.context.clear_cookies()

    async def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium reports the status of a page that answers with an error, which is not a fault of that page.
        is_answer = "Failed to load resource" in message.text and message.location["url"] == self.page.url
        is_answer |= self._has_lost_login and "a status of 401" in message.text
        if message.type in ("error", "warning") and not is_answer:
            self.complaints.append(message.text)


async def make_visitor(browser: Browser, url: str, **options: Any) -> Visitor:
    """`options` are those of a browser context."""
    context = await browser.new_context(**({"viewport": DESKTOP} | options))
    await context.add_init_script(_REPORT_VIOLATIONS)
    return Visitor(context, await context.new_page(), url)


async def first_row(page: Page) -> str:
    """The title of the first row in sight below the bar."""
    found: str = await page.evaluate("""() => {
      const edge = document.querySelector(".bar").offsetHeight;
      const row = [...document.querySelectorAll("[data-row]")].find((each) => each.getBoundingClientRect().bottom > edge + 2);
      return scrollY ? row.querySelector(".row-link, .todo-title").textContent : "";
    }""")
    return found


async def scroll_to(page: Page, title: str) -> None:
    """The row's upper half out of sight; then nothing moves until it is kept."""
    async with page.expect_response(lambda answer: answer.url.endswith("/api/place")) as kept:
        await (
            page.get_by_role("row")
            .filter(has_text=title)
            .evaluate("""(row) => {
          const edge = document.querySelector(".bar").offsetHeight;
          const box = row.getBoundingClientRect();
          scrollBy(0, box.top + box.height / 2 - edge);
        }""")
        )
    assert (await kept.value).status == 204
    assert await first_row(page) == title
