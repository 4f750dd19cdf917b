"""Makes the pictures of the README from a running product: `make run`, then `python docs/make_pictures.py [ADDRESS]`.

Needs the development dependencies and a Chromium. Leaves `docs/pictures/*.png`.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

ADDRESS = "http://127.0.0.1:5001"
EMAIL, PASSWORD = "lead@google.example", "holdfast-demo-password"
PICTURES = Path(__file__).parent / "pictures"
DEAL = "YouTube"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


async def main(address: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--disable-gpu", *flags])
        await take_work(browser, address)
        await take_return(browser, address)
        await browser.close()


async def take_work(browser: Browser, address: str) -> None:
    """From the list, a deal is chosen in the switcher."""
    page = await sign_in(browser, address, "light")
    await page.goto(f"{address}/settings")
    await page.get_by_role("button", name="Clear my current deal everywhere").click()
    await page.goto(f"{address}/deals")
    await page.click("[data-switcher] summary")
    await page.get_by_role("combobox").press_sequentially(DEAL)
    await page.get_by_role("option", name=DEAL).first.wait_for()
    await take(page, "switcher")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name=DEAL, level=1).wait_for()
    await page.context.close()


async def take_return(browser: Browser, address: str) -> None:
    """Another browser, signed in afterwards, is back in the deal."""
    page = await sign_in(browser, address, "light")
    await take(page, "overview")
    await page.context.close()
    page = await sign_in(browser, address, "dark", PHONE)
    await take(page, "phone")
    await page.context.close()


async def sign_in(browser: Browser, address: str, scheme: str, size: dict[str, int] = DESKTOP) -> Page:
    context = await browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(f"{address}/login")
    await page.fill("#email", EMAIL)
    await page.fill("#password", PASSWORD)
    await page.click("button")
    await page.wait_for_url(lambda url: "/login" not in url)
    return page


async def take(page: Page, name: str) -> None:
    await page.wait_for_load_state("networkidle")
    await page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ADDRESS))
