"""The board, the tools it shares with the list, and the life of a deal from its beginning to the bin."""

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import select, update

from app.core.database import Database
from app.models import Deal, Pin
from tests.browser.office import Office, do
from tests.browser.visitor import BROWSER_TESTS, Visitor, make_visitor

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


async def test_list_and_board_have_the_same_tools_in_the_same_place(lead: Visitor) -> None:
    page = lead.page
    parts = ".page-head, .tools-search, .tools summary, .views a"
    places = "(parts) => [...document.querySelectorAll(parts)].map((part) => JSON.stringify(part.getBoundingClientRect()))"
    for width in (1600, 900, 360):
        await page.set_viewport_size({"width": width, "height": 900})
        seen = []
        for path in ("/deals", "/deals/board"):
            await lead.open(path)
            seen.append(await page.evaluate(places, parts))
        assert seen[0] == seen[1], width
        assert not await lead.overflows()
    # A column alone is for the list.
    await page.get_by_text("Stage: any").click()
    await page.get_by_role("link", name="Signing").click()
    await page.wait_for_url("**/deals?stage=signing")


async def test_board_is_worked_by_keyboard_mouse_and_menu(office: Office, lead: Visitor, database: Database) -> None:
    page, keys = lead.page, lead.page.keyboard
    await lead.open("/deals/board?sort=name")
    cards = page.locator("[data-card]")
    await expect(cards).to_have_count(3)
    await page.get_by_role("link", name="Mojang", exact=True).focus()
    await keys.press("ArrowDown")
    await expect(page.get_by_role("link", name="Skype", exact=True)).to_be_focused()
    async with page.expect_response("**/api/deals/*") as moved:
        await keys.press("Shift+ArrowRight")
    assert (await moved.value).ok
    await expect(page.locator("#stage-negotiation [data-card]")).to_contain_text("Skype")
    await expect(page.get_by_role("link", name="Skype", exact=True)).to_be_focused()
    await expect(page.locator("[data-live]")).to_have_text("Skype moved to Negotiation")
    await expect(page.locator("#stage-negotiation [data-count]")).to_have_text("1")

    async with page.expect_response("**/api/deals/*") as moved:
        await cards.filter(has_text="Mojang").drag_to(page.locator("#stage-closed"))
    assert (await moved.value).ok
    await page.get_by_role("link", name="Move YouTube to another stage").click()
    await page.get_by_label("Stage of YouTube").select_option("sourcing")
    async with page.expect_response("**/api/deals/*") as moved:
        await page.get_by_role("button", name="Move", exact=True).click()
    assert (await moved.value).ok
    assert await stages(database) == {"Mojang": "closed", "YouTube": "sourcing", "Skype": "negotiation"}

    # Somebody else was quicker: theirs is shown, nothing is written over it.
    async with database.write() as db:
        await db.execute(update(Deal).where(Deal.name == "Skype").values(stage="signing", version=Deal.version + 1))
    await page.get_by_role("link", name="Skype", exact=True).focus()
    await keys.press("Shift+ArrowLeft")
    await expect(page.locator("[data-toasts]")).to_contain_text("Somebody changed Skype meanwhile. It is in Signing now")
    await expect(page.locator("#stage-signing [data-card]")).to_contain_text("Skype")
    assert (await stages(database))["Skype"] == "signing"
    assert [each for each in lead.complaints if "409" not in each] == []


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
async def test_deal_is_begun_pinned_archived_binned_and_brought_back(
    browser: Browser, office: Office, database: Database, script: bool
) -> None:
    visitor = await make_visitor(browser, office.url, java_script_enabled=script)
    page = visitor.page
    await visitor.sign_in(office.lead.email)
    await page.get_by_role("link", name="New deal").first.click()
    await page.get_by_label("Price in US dollars").fill("about a million")
    await page.get_by_label("What it does, in a line").fill("Maps of the sea")
    await page.get_by_role("button", name="Create deal").click()
    await expect(page.get_by_label("Name of the target")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("What it does, in a line")).to_have_value("Maps of the sea")
    await page.get_by_label("Name of the target").fill("Nautilus")
    await page.get_by_label("Price in US dollars").fill("1,250,000")
    await page.get_by_role("button", name="Create deal").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nautilus")

    await do(page, "Nautilus", "Pin")
    await do(page, "Nautilus", "Archive")
    await expect(page.locator(".banner").get_by_text("This deal is archived.")).to_be_visible()
    await visitor.open("/deals")
    await expect(page.get_by_role("navigation", name="Pinned deals")).to_contain_text("Nautilus")
    await expect(page.get_by_role("table")).not_to_contain_text("Nautilus")
    await visitor.open("/deals?archived=true")
    await page.get_by_role("table").get_by_role("link", name="Nautilus").click()
    await do(page, "Nautilus", "Take out of the archive")
    await expect(page.get_by_role("status")).to_contain_text("Out of the archive.")

    await do(page, "Nautilus", "Move Nautilus to the bin")
    await expect(page.get_by_role("status").filter(has_text="in the bin")).to_contain_text("Nautilus is in the bin, for everybody.")
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Nautilus")
    await do(page, "Nautilus", "Move Nautilus to the bin")
    await visitor.open("/deals/bin")
    await page.get_by_role("button", name="Bring back Nautilus").click()
    await expect(page.get_by_role("status").last).to_contain_text("Back out of the bin.")
    await visitor.open("/deals?q=nautilus")
    pin = page.get_by_role("button", name="Pin Nautilus")
    await expect(pin).to_have_attribute("aria-pressed", "true")
    await pin.click()
    await expect(pin).to_have_attribute("aria-pressed", "false")
    await page.wait_for_load_state("networkidle")
    async with database.read() as db:
        assert (await db.scalars(select(Pin))).all() == []
    if not script:
        await visitor.open("/deals/board")
        await page.get_by_role("link", name="Move Nautilus to another stage").click()
        await page.get_by_label("Stage of Nautilus").select_option("signing")
        await page.get_by_role("button", name="Move", exact=True).click()
        await expect(page.locator("#stage-signing")).to_contain_text("Nautilus")
    assert [each for each in visitor.complaints if "400" not in each] == []


async def stages(database: Database) -> dict[str, str]:
    async with database.read() as db:
        return {row.name: row.stage for row in await db.execute(select(Deal.name, Deal.stage))}
