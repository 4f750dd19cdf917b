"""Makes the pictures of the README and the guide from a running product: `make run`, then `python docs/make_pictures.py [ADDRESS]`.

Needs the development dependencies and a Chromium. Leaves `docs/pictures/*.png`; the demo deals stay as they were.
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
ADMIN = "admin@google.example"
DEAL = "YouTube"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
# Of the guide: smaller, since there are many of them on one page.
GUIDE = {"width": 1000, "height": 640}
# With one row of each kind of trouble.
EXPORT = (
    "Target,Buyer,Year,Price,Announced,Remark\n"
    "Alpine Maps,Google,2026,$120m,03/02/2026,maps\n"
    ",Google,2026,$5m,04/02/2026,who is it?\n"
    "Blue Robotics,Google,2026,$1.2bn,13/32/2026,robots\n"
)


async def main(address: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--disable-gpu", *flags])
        await take_work(browser, address)
        await take_return(browser, address)
        await take_guide(browser, address)
        await take_administration(browser, address)
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


async def take_guide(browser: Browser, address: str) -> None:
    """A day inside a deal."""
    page = await sign_in(browser, address, "light", GUIDE)
    await page.get_by_label("Dismiss this notice").click()
    await page.locator("[data-notice]").wait_for(state="detached")
    await page.goto(f"{address}/deals")
    await take(page, "list")
    await page.goto(f"{address}/deals/board")
    await take(page, "board")
    found = await (await page.request.get(f"{address}/api/deals/list?q={DEAL}&sort=match")).json()
    deal_id = found["deals"][0]["id"]
    for name in ("findings", "checklist", "team"):
        await page.goto(f"{address}/deals/{deal_id}/{name}")
        if name == "checklist":
            await page.get_by_role("listitem").filter(has=page.get_by_role("checkbox")).nth(2).hover()  # shows its handle
        await take(page, name)
    await page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog")
    await page.keyboard.type("licen")
    await dialog.get_by_role("group", name="Checklist").wait_for()
    await take(page, "palette")
    await page.goto(f"{address}/settings/devices")
    await take(page, "devices")
    await page.context.close()


async def take_administration(browser: Browser, address: str) -> None:
    page = await sign_in(browser, address, "light", GUIDE, ADMIN)
    await page.goto(f"{address}/imports")
    file = {"name": "deals-2026.csv", "mimeType": "text/csv", "buffer": EXPORT.encode()}
    await page.set_input_files("#file", files=[file])  # type: ignore[list-item]
    await page.get_by_role("button", name="Upload and check").click()
    await page.get_by_role("heading", name="Check before importing").wait_for()
    await take(page, "import")
    await page.get_by_role("button", name="Throw this file away").click()
    await page.goto(f"{address}/admin/people")
    await take(page, "people")
    await page.context.close()


async def sign_in(browser: Browser, address: str, scheme: str, size: dict[str, int] = DESKTOP, email: str = EMAIL) -> Page:
    context = await browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(f"{address}/login")
    await page.fill("#email", email)
    await page.fill("#password", PASSWORD)
    await page.click("button")
    await page.wait_for_url(lambda url: "/login" not in url)
    return page


async def take(page: Page, name: str) -> None:
    await page.wait_for_load_state("networkidle")
    await page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else ADDRESS))
