"""One Chromium for the run's browser tests, and so one event loop: what drives it lives in the loop it was started in.

Each module here says so with `BROWSER_TESTS`, each async fixture with `@on_the_loop`.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio
from playwright.async_api import Browser

from app.core.database import Database
from tests.browser.office import Office
from tests.browser.visitor import Visitor, make_visitor, on_the_loop
from tests.conftest import StartWeb
from tests.factories import make_deal, make_member, make_organisation, make_user
from tests.servers.chromium import running_browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_browser(chromium: str) -> AsyncIterator[Browser]:
    async with running_browser(chromium) as browser:
        yield browser


@on_the_loop
async def browser(one_browser: Browser) -> AsyncIterator[Browser]:
    """Without a context, as it was started: with no cookies, no cache and nothing stored. A new context is a new person."""
    async with AsyncExitStack() as stack:
        yield one_browser
        for context in one_browser.contexts:
            stack.push_async_callback(context.close)


@on_the_loop
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, name="holdfast-test")
    yield database
    await database.close()


@on_the_loop
async def office(database: Database, start_web: StartWeb) -> Office:
    organisation = await make_organisation(database, name="Google")
    lead, colleague = [await make_user(database, organisation, name=name) for name in ("Ada Lead", "Ben Colleague")]
    deals = [await make_deal(database, organisation, owner=lead, name=name) for name in ("Mojang", "YouTube", "Skype")]
    for deal in deals[:2]:
        await make_member(database, deal, colleague, role="viewer")
    return Office((await start_web()).url, organisation, lead, colleague, deals)


@on_the_loop
async def lead(browser: Browser, office: Office) -> Visitor:
    visitor = await make_visitor(browser, office.url)
    await visitor.sign_in(office.lead.email)
    await visitor.page.wait_for_url("**/deals")
    return visitor
