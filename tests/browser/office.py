"""An office in a real browser: a lead with three deals, and a colleague who sees the first of them."""

from dataclasses import dataclass

from playwright.async_api import Page, expect

from app.models import Deal, Organisation, User


@dataclass
class Office:
    """A lead who owns three deals, and a colleague who sees the first of them."""

    url: str
    organisation: Organisation
    lead: User
    colleague: User
    deals: list[Deal]


async def is_current(page: Page, name: str) -> None:
    """The page is this deal's, has told the server, and the server has answered."""
    await expect(page.locator("#shell")).to_have_attribute("data-current-name", name)
    await expect(page.get_by_label(f"Current deal: {name}")).to_be_visible()


async def do(page: Page, name: str, what: str) -> None:
    """From the menu of the deal."""
    await page.get_by_label(f"What you can do with {name}").click()
    await page.locator(".deal-menu").get_by_role("button", name=what, exact=True).click()
