"""One Chromium for the session, and a fresh profile of it for each test."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOW = "the tests of the page need Chromium: `make tools` as root on Debian, or `apt-get install chromium`"

OpenPage = Callable[..., Awaitable[Page]]


def find_chromium() -> str | None:
    """The machine's Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium. Tests are left out only where it is missing and could not have been installed."""
    path = find_chromium()
    if path is None:
        can_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
        (pytest.fail if can_install else pytest.skip)(HOW)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens a page in a profile of its own and waits for its first data. It fails the test if a script of it fails."""
    pages: list[Page] = []
    errors: list[str] = []

    async def open_one(url: str, *, wait: bool = True, width: int = 1280, height: int = 900, **profile: Any) -> Page:
        context = await browser.new_context(viewport={"width": width, "height": height}, **profile)
        context.set_default_timeout(8000)
        page = await context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if _is_fault(message) else None)
        await page.goto(url)
        if wait:
            await page.wait_for_selector("body[data-freshness=fresh]")
        return page

    yield open_one
    for page in pages:
        await page.context.close()
    assert errors == []


def _is_fault(message: Any) -> bool:
    """An error, such as one that the page's policy stopped; a request without an answer is none of the page's."""
    return bool(message.type == "error" and "Failed to load resource" not in message.text)
