"""The system's Chromium, driven by playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

# Quiet and offline; the sandbox and /dev/shm are not to be had as root in a container.
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ROOT_FLAGS = ("--no-sandbox", "--disable-dev-shm-usage")
MISSING = "the browser tests need a Chromium: install the package chromium, or leave them out with BROWSER=0"


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@asynccontextmanager
async def running_browser(executable: str) -> AsyncIterator[Browser]:
    flags = FLAGS + (ROOT_FLAGS if os.geteuid() == 0 else ())
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            yield browser
        finally:
            await browser.close()
