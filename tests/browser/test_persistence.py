"""Browser closed, browser opened again: back in the deal without a click. A real Chromium with its profile on disk."""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect
from sqlalchemy import delete

from app.core.database import Database
from app.models import Session, User
from tests.browser.visitor import BROWSER_TESTS, on_the_loop
from tests.conftest import StartWeb
from tests.factories import PASSWORD, make_deal, make_organisation, make_user
from tests.servers.chromium import browser_with_profile

pytestmark = BROWSER_TESTS

OpenBrowser = Callable[[], AbstractAsyncContextManager[BrowserContext]]


@on_the_loop
async def lead(database: Database) -> User:
    """Owns two deals, so that being in one of them is a choice."""
    organisation = await make_organisation(database)
    lead = await make_user(database, organisation)
    for name in ("YouTube", "Mojang"):
        await make_deal(database, organisation, owner=lead, name=name)
    return lead


@on_the_loop
async def url(start_web: StartWeb) -> str:
    return (await start_web()).url


@pytest.fixture
def open_browser(chromium: str, tmp_path: Path) -> OpenBrowser:
    """`async with open_browser() as browser`: always the same person's, at the same machine; leaving the block closes it."""
    return lambda: browser_with_profile(chromium, tmp_path / "profile")


async def test_browser_opened_again_is_back_in_the_deal_without_a_click(lead: User, url: str, open_browser: OpenBrowser) -> None:
    async with open_browser() as browser:
        await choose_mojang(await browser.new_page(), url, lead, keep_signed_in=True)
    async with open_browser() as browser:
        page = await browser.new_page()
        await page.goto(url)
        await assert_in_mojang(page)


async def test_browser_that_forgot_the_login_is_back_in_the_deal_after_signing_in(lead: User, url: str, open_browser: OpenBrowser) -> None:
    async with open_browser() as browser:
        await choose_mojang(await browser.new_page(), url, lead, keep_signed_in=False)
    async with open_browser() as browser:
        page = await browser.new_page()
        await page.goto(f"{url}/workspace/team")
        await expect(page).to_have_url(f"{url}/login?next=%2Fworkspace%2Fteam")
        await sign_in(page, lead)
        await assert_in_mojang(page)
        assert page.url.endswith("/team"), "on the page that was asked for"
        await expect(page.get_by_role("status")).to_contain_text("Back in Mojang")


async def test_browser_that_lost_the_session_cookie_stays_in_the_deal(lead: User, url: str, open_browser: OpenBrowser) -> None:
    async with open_browser() as browser:
        page = await browser.new_page()
        await choose_mojang(page, url, lead, keep_signed_in=False)
        await browser.clear_cookies(name="holdfast_session")
        await page.goto(f"{url}/workspace")
        await assert_in_mojang(page)


async def test_session_that_is_gone_from_the_servers_is_made_anew_under_the_eyes_of_its_person(
    lead: User, url: str, open_browser: OpenBrowser, database: Database, start_web: StartWeb
) -> None:
    """Rows deleted, and the browser sent to another server whose Redis never heard of it."""
    other = await start_web({"REDIS_URL": ""})
    async with open_browser() as browser:
        page = await browser.new_page()
        await choose_mojang(page, url, lead, keep_signed_in=False)
        async with database.write() as db:
            await db.execute(delete(Session))
        await page.goto(f"{other.url}/workspace")
        await assert_in_mojang(page)
        await expect(page.get_by_role("status")).to_contain_text("Back in Mojang, where you left off just now.")


async def choose_mojang(page: Page, url: str, person: User, *, keep_signed_in: bool) -> None:
    await page.goto(f"{url}/login")
    await sign_in(page, person, keep_signed_in=keep_signed_in)
    await page.get_by_role("link", name="Mojang").click()
    await assert_in_mojang(page)
    await expect(page.locator("[data-current-chip]")).to_be_visible()  # the server has answered the selection


async def sign_in(page: Page, person: User, *, keep_signed_in: bool = False) -> None:
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("Keep me signed in").set_checked(keep_signed_in)
    await page.get_by_role("button", name="Sign in").click()


async def assert_in_mojang(page: Page) -> None:
    """The deal is the page's and the current one."""
    await expect(page).to_have_title(re.compile("^Mojang · "))
    await expect(page.get_by_label("Current deal: Mojang")).to_be_visible()
