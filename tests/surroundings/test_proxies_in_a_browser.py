"""A person's day in Chromium, behind nginx, below a path of a host that is shared with others."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from app.core.database import Database
from tests.browser.visitor import Visitor, make_visitor
from tests.conftest import StartWeb
from tests.factories import make_deal, make_organisation, make_user
from tests.servers.proxies import ProxyServer
from tests.surroundings.test_proxies import PRODUCTION, ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


async def switch(page: Page, name: str) -> None:
    """By the palette."""
    await page.keyboard.press("Control+k")
    await page.get_by_role("combobox", name="Search deals, or jump to a page or an action").fill(name)
    await expect(page.get_by_role("option", name=name).first).to_be_visible()
    await page.keyboard.press("Enter")
    await expect(page.locator("#shell")).to_have_attribute("data-current-name", name)


async def kept_by(page: Page) -> list[str]:
    keys: list[str] = await page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
    return keys


async def test_below_a_path_nothing_is_lost_and_nothing_leads_out(browser: Browser, database: Database, start_web: StartWeb) -> None:
    organisation = await make_organisation(database, name="Google")
    person = await make_user(database, organisation, name="Ada Lead", role="admin", is_operator=True)
    deals = {name: await make_deal(database, organisation, owner=person, name=name) for name in ("Mojang", "YouTube", "Skype")}
    webs = [await start_web(PRODUCTION), await start_web(PRODUCTION)]
    proxy = ProxyServer("nginx", [web.port for web in webs])
    try:
        proxy.start()
        proxy.wait_for_port()
        site = f"{proxy.shared_url}{ROOT}"
        visitor = await make_visitor(browser, site, ignore_https_errors=True, reduced_motion="reduce")
        asked: list[str] = []
        refused: list[Any] = []
        visitor.context.on("request", lambda request: asked.append(request.url))
        visitor.context.on("response", lambda response: refused.append((response.status, response.url)) if response.status >= 400 else None)
        # Somebody else's drafts, on the same host.
        await visitor.open("/login")
        await visitor.page.evaluate(
            "localStorage.setItem('holdfast:draft:1:1:finding-new', '{}'); localStorage.setItem('neighbour', 'theirs')"
        )
        await spend_a_day(visitor, site, person.email, {name: deal.id for name, deal in deals.items()})
        assert visitor.complaints == []
        assert refused == []
        assert [url for url in asked if not url.startswith((f"{site}/", f"{site}?"))] == []
        assert len(asked) > 50
        await visitor.context.close()
    finally:
        proxy.remove()


async def spend_a_day(visitor: Visitor, site: str, email: str, deals: dict[str, int]) -> None:
    page, context = visitor.page, visitor.context
    await visitor.open(f"/deals/{deals['Mojang']}/findings")
    assert page.url == f"{site}/login?next=%2Fdeals%2F{deals['Mojang']}%2Ffindings"
    await visitor.sign_in(email)
    await page.wait_for_url(f"{site}/deals/{deals['Mojang']}/findings")
    await expect(page.locator("#shell")).to_have_attribute("data-current-name", "Mojang")
    cookies = {cookie["name"]: cookie["path"] for cookie in await context.cookies()}
    assert cookies == {f"__Secure-holdfast_{name}": ROOT for name in ("auth", "session", "device")}

    # A draft survives a reload, and is kept apart from those of whoever else lives on this host.
    await page.goto(f"{site}/deals/{deals['Mojang']}/findings/new")
    await page.get_by_label("Title").fill("A licence that nobody signed")
    await expect(page.get_by_text("Saved as a draft")).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("Draft restored")).to_be_visible()
    await expect(page.get_by_label("Title")).to_have_value("A licence that nobody signed")
    assert any(key.startswith(f"holdfast{ROOT}:draft:") for key in await kept_by(page))

    # Palette, another tab, and what they tell each other.
    await switch(page, "YouTube")
    assert page.url.startswith(f"{site}/deals/{deals['YouTube']}/")
    other = await context.new_page()
    await other.goto(f"{site}/deals/{deals['Skype']}/overview")
    await expect(page.get_by_text("You switched to Skype in another tab")).to_be_visible()
    await page.get_by_role("link", name="Switch", exact=True).click()
    await page.wait_for_url(f"{site}/deals/{deals['Skype']}/**")
    await other.close()

    # Keys, the theme, the board, and the console that renews itself.
    await page.keyboard.press("g")
    await page.keyboard.press("b")
    await page.wait_for_url(f"{site}/deals/board")
    await page.locator("[data-card]", has_text="Skype").locator("a").first.focus()
    await page.keyboard.press("Shift+ArrowRight")
    await expect(page.get_by_text("Skype moved to").first).to_be_visible()
    await page.goto(f"{site}/ops")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()

    # Signing out takes what is ours, and nothing of the neighbours'.
    await page.goto(f"{site}/deals")
    await page.get_by_label("Your menu").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{site}/login")
    kept = await kept_by(page)
    assert "neighbour" in kept
    assert "holdfast:draft:1:1:finding-new" in kept
    assert not [key for key in kept if key.startswith(f"holdfast{ROOT}:draft:")]
    assert [cookie["name"] for cookie in await context.cookies()] == ["__Secure-holdfast_device"]
    await page.go_back()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
