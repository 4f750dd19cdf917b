"""The database goes away under the eyes of a person: where they are is said, what they typed is kept, and it goes on by itself."""

from datetime import UTC, datetime

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import insert, make_url

from app.core.database import Database
from app.models import Finding
from tests.browser.visitor import BROWSER_TESTS, first_row, make_visitor, scroll_to
from tests.conftest import StartWeb
from tests.factories import make_deal, make_organisation, make_user
from tests.resilience.proxy import TcpProxy
from tests.waiting import until

pytestmark = [*BROWSER_TESTS, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]


async def test_page_waits_for_the_database_and_keeps_what_was_typed(
    browser: Browser, database: Database, database_url: str, start_web: StartWeb
) -> None:
    organisation = await make_organisation(database)
    lead = await make_user(database, organisation)
    deals = [await make_deal(database, organisation, owner=lead, name=name) for name in ("Mojang", "YouTube")]
    at = datetime.now(UTC)
    facts = {"deal_id": deals[0].id, "created_at": at, "updated_at": at}
    async with database.write() as db:
        await db.execute(insert(Finding), [facts | {"number": n, "title": f"Finding {n:02}"} for n in range(1, 41)])
    target = make_url(database_url)
    assert target.port is not None
    wire = TcpProxy(target.port)
    try:
        server = await start_web({"DATABASE_URL": target.set(port=wire.port).render_as_string(hide_password=False)})
        visitor = await make_visitor(browser, server.url)
        page = visitor.page
        await visitor.sign_in(lead.email)
        await page.get_by_role("link", name="Mojang").click()
        await expect(page.get_by_text("Current deal", exact=True)).to_be_visible()
        cookies = await visitor.context.cookies()
        await visitor.open("/deals/new")
        await page.get_by_label("Name of the target").fill("Nautilus")
        await page.get_by_label("What it does, in a line").fill("Maps of the sea, drawn by whoever sails there")
        wire.refuse()
        await page.get_by_role("button", name="Create deal").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Mojang is still your deal")
        await expect(page.locator(".typed")).to_contain_text("Maps of the sea, drawn by whoever sails there")
        wire.accept()
        await expect(page.get_by_role("status")).to_have_text("Holdfast is back. Send it again now.", timeout=20_000)
        await page.get_by_role("button", name="Send it again").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Nautilus")
        await expect(page.get_by_text("Current deal", exact=True)).to_be_visible()

        # Typed into a form that is open meanwhile: it says where that is, and goes up by itself.
        await page.get_by_role("link", name="Edit", exact=True).click()
        await expect(page.locator(".draft-state")).to_be_attached()
        wire.refuse()
        await page.get_by_label("What the company does").fill("Maps of the sea")
        await expect(page.get_by_text("Kept on this device, not yet on the server")).to_be_visible()
        await expect(page.get_by_text("Holdfast cannot be reached at the moment.")).to_be_visible()
        await expect(page.get_by_role("button", name="Save")).to_be_disabled()
        wire.accept()
        await expect(page.get_by_text("Saved as a draft")).to_be_visible(timeout=20_000)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()

        wire.refuse()
        response = await page.goto(f"{server.url}/deals/{deals[0].id}/team")
        assert response is not None
        assert (response.status, "retry-after" in response.headers) == (503, True)
        await expect(page.get_by_role("status")).to_contain_text(
            "You are still in Nautilus; nothing is lost. This page tries again by itself."
        )
        assert (await visitor.axe()) == []
        assert {cookie["name"] for cookie in await visitor.context.cookies()} == {cookie["name"] for cookie in cookies}
        wire.accept()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Team", timeout=20_000)

        # A list that was scrolled comes back to its row, and whoever asks for no page in particular to the one they left.
        await visitor.open(f"/deals/{deals[0].id}/findings?sort=title")
        await scroll_to(page, "Finding 20")
        for is_reload in (True, False):
            wire.refuse()
            await (page.reload() if is_reload else page.goto(server.url))
            await expect(page.locator("[data-away]")).to_be_visible()
            wire.accept()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Findings", timeout=20_000)
            await expect(page).to_have_url(f"{server.url}/deals/{deals[0].id}/findings?sort=title")

            async def is_back() -> bool:
                return await first_row(page) == "Finding 20"

            await until(is_back, within=20)
        wire.refuse()
        await visitor.open("/deals")
        await expect(page.get_by_text("The list cannot be read for a moment")).to_be_visible()
        assert (await visitor.axe()) == []
        wire.accept()
        await expect(page.get_by_role("link", name="Mojang")).to_be_visible(timeout=20_000)
        assert [each for each in visitor.complaints if "503" not in each] == []
    finally:
        wire.close()
