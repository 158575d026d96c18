"""Takes the pictures of docs/page.md anew: `python -m tests.page.screenshots`."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image
from playwright.async_api import Browser, async_playwright
from tests.page.conftest import ARGUMENTS, find_chromium
from tests.page.pools import Shown, fill, fill_many, send_some

from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Body, Plan

FOLDER = Path("docs/images")
LOOKS = 60
WIDE = {"width": 1280, "height": 1000}
PHONE = {"width": 360, "height": 780}
PICTURES: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("page-light", 6, {"viewport": WIDE, "color_scheme": "light"}),
    ("page-dark", 6, {"viewport": WIDE, "color_scheme": "dark"}),
    ("page-phone", 6, {"viewport": PHONE, "device_scale_factor": 2}),
    ("page-500", 500, {"viewport": WIDE}),
)
"""Name, number of endpoints, and the browser's profile."""


async def take(browser: Browser, name: str, count: int, profile: dict[str, Any]) -> None:
    """Takes one picture, of a pool with some traffic."""
    rng = Random(5)
    async with Shown() as shown:
        (fill if count < 10 else lambda each: fill_many(each, count))(shown)
        plan = Plan(Body.STREAMED, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.NONE)
        page = await browser.new_page(**profile)
        await page.goto(shown.url)
        await page.wait_for_selector("body[data-freshness=fresh]")
        for _ in range(LOOKS):
            send_some(shown, rng)
            shown.callers.note(plan, is_direct=True, began_at_s=shown.clock(), has_left_early=False)
            await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            await page.wait_for_timeout(120)
        file = FOLDER / f"{name}.png"
        await page.screenshot(path=file)
        await page.close()
    with Image.open(file) as picture:
        # The other ways to fewer colours take red for amber.
        few = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
    print(f"{file}: {file.stat().st_size} bytes")


async def main() -> None:
    """Takes every picture."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        for name, count, profile in PICTURES:
            await take(browser, name, count, profile)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
