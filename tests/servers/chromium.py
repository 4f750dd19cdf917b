"""The system's Chromium, driven by playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, async_playwright

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
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_flags())
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def browser_with_profile(executable: str, profile: Path) -> AsyncIterator[BrowserContext]:
    """A browser that keeps in the directory `profile` what a real one keeps on disk, to be found when it is opened again."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(profile, executable_path=executable, args=_flags())
        try:
            yield context
        finally:
            await context.close()


def _flags() -> tuple[str, ...]:
    return FLAGS + (ROOT_FLAGS if os.geteuid() == 0 else ())
