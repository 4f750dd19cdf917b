"""One Chromium for the run's browser tests, and so one event loop: what drives it lives in the loop it was started in.

Each module here says so with `BROWSER_TESTS`, each async fixture with `@on_the_loop`.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio
from playwright.async_api import Browser

from app.core.database import Database
from tests.browser.visitor import on_the_loop
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
