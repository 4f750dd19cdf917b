"""A person at a browser, with everything their browser complained about."""

from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page

from tests.factories import PASSWORD

DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 740}

_REPORT_VIOLATIONS = """document.addEventListener("securitypolicyviolation",
  (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));"""


class Visitor:
    """Keeps what the console and the content policy said; `complaints` must stay empty on a page that is well."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context, self.page, self.url = context, page, url
        self.complaints: list[str] = []
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

    async def axe(self) -> list[str]:
        """What axe finds wrong with the page as it is shown now."""
        found: dict[str, Any] = (await Axe().run(self.page)).response
        return [f"{each['id']}: {[node['target'] for node in each['nodes']]}" for each in found["violations"]]

    async def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium reports the status of a page that answers with an error, which is not a fault of that page.
        is_answer = "Failed to load resource" in message.text and message.location["url"] == self.page.url
        if message.type in ("error", "warning") and not is_answer:
            self.complaints.append(message.text)


async def make_visitor(browser: Browser, url: str, **options: Any) -> Visitor:
    """`options` are those of a browser context."""
    context = await browser.new_context(**({"viewport": DESKTOP} | options))
    await context.add_init_script(_REPORT_VIOLATIONS)
    return Visitor(context, await context.new_page(), url)
