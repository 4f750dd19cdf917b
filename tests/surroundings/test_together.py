"""Everything ordinary at once: nginx with a sub-path, PgBouncer in transaction mode, two servers whose clocks are five seconds apart.

SELECTIONS (5) is how many are made in Chromium; PICTURES names a folder for pictures of it.
"""

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from app.core.database import Database
from tests.browser.visitor import Visitor, make_visitor
from tests.conftest import StartWeb
from tests.factories import make_deal, make_organisation, make_user
from tests.servers.pgbouncer import PgBouncer
from tests.servers.proxies import ProxyServer
from tests.servers.skewed import clock_off_by
from tests.surroundings.test_proxies import PRODUCTION, ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

SELECTIONS = int(os.environ.get("SELECTIONS", "5"))
PICTURES = os.environ.get("PICTURES")
NAMES = ("Mojang", "YouTube", "Skype", "GitHub", "Waze")
SKEW = 5


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_every_selection_is_the_one_that_is_shown(
    browser: Browser, database: Database, database_url: str, start_web: StartWeb
) -> None:
    organisation = await make_organisation(database, name="Google")
    person = await make_user(database, organisation, name="Ada Lead", role="admin")
    deals = {name: (await make_deal(database, organisation, owner=person, name=name)).id for name in NAMES}
    pooler = PgBouncer(database_url, "transaction")
    proxy = None
    try:
        pooler.start()
        pooled = PRODUCTION | {"DATABASE_URL": pooler.url_of(database_url), "RATE_LIMIT_SELECT": "0"}
        webs = [await start_web(pooled | clock_off_by(skew)) for skew in (SKEW / 2, -SKEW / 2)]
        proxy = ProxyServer("nginx", [web.port for web in webs])
        proxy.start()
        proxy.wait_for_port()
        visitor = await make_visitor(browser, f"{proxy.shared_url}{ROOT}", ignore_https_errors=True, reduced_motion="reduce")
        await visitor.sign_in(person.email)
        await expect(visitor.page.get_by_role("heading", name="Deals")).to_be_visible()
        wrong = await _select_many(visitor, deals)
        assert wrong == []
        await _come_back_elsewhere(browser, visitor, person.email, last=NAMES[(SELECTIONS - 1) % len(NAMES)])
        assert visitor.complaints == []
        assert all("leads to a pooler" in web.output() for web in webs)
        assert all(web.output().count('"level": "error"') == 0 for web in webs)
        await visitor.context.close()
    finally:
        if proxy:
            proxy.remove()
        pooler.remove()


async def _select_many(visitor: Visitor, deals: dict[str, int]) -> list[str]:
    """Each by its page, which selects it once it is visible; then two answers, of whichever server, say what is current."""
    page, wrong = visitor.page, []
    await picture(page, "deals")
    for number in range(SELECTIONS):
        name = NAMES[number % len(NAMES)]
        await visitor.open(f"/deals/{deals[name]}/overview")
        await expect(page.locator("#shell")).to_have_attribute("data-current-name", name)
        for _ in range(2):
            await visitor.open("/workspace")
            if page.url.split("?")[0] != f"{visitor.url}/deals/{deals[name]}/overview":
                wrong.append(f"{number}: {name} was selected, {page.url} is shown")
        if number < 2:
            await picture(page, f"selection-{number}")
    return wrong


async def _come_back_elsewhere(browser: Browser, visitor: Visitor, email: str, *, last: str) -> None:
    """At a browser that knows nothing: the deal is back with the sign-in."""
    other = await make_visitor(browser, visitor.url, ignore_https_errors=True, reduced_motion="reduce")
    await other.open("/workspace")
    await other.sign_in(email)
    await expect(other.page.locator("#shell")).to_have_attribute("data-current-name", last)
    await picture(other.page, "back-elsewhere")
    assert other.complaints == []
    await other.context.close()
