"""The page of a real picker, in a process of its own: what is asked of it shows there."""

import asyncio

import pytest
from click.testing import CliRunner
from playwright.async_api import expect
from tests.e2e.picker import Picker
from tests.e2e.upstreams import InstantUpstream
from tests.page.conftest import OpenPage

from extproc.cli.probe import probe

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_request_shows_on_the_page_of_the_picker_that_routed_it(open_page: OpenPage) -> None:
    async with InstantUpstream() as upstream, Picker({"only": upstream.address}) as picker:
        page = await open_page(picker.page_url)
        await expect(page.locator("#readiness")).to_have_text("ready")
        await expect(page.locator("#matrix-table td.model")).to_have_text("serving")
        for model in ("llama", "gpt-4o"):
            asked = ["--target", picker.address, "--model", model, "--prompt", "s3cret prompt"]
            await asyncio.to_thread(CliRunner().invoke, probe, asked)
        await expect(page.locator("#decisions tr").last).to_contain_text("only")
        await expect(page.locator("#decisions tr").first).to_contain_text("404 model_not_found")
        await expect(page.locator("#outcomes")).to_contain_text("routed")
        await expect(page.locator("#callers tr")).to_have_count(0)  # extproc probe is no gateway
        assert "s3cret prompt" not in await page.content()
        await picker.kill()
        await expect(page.locator("#readiness")).to_have_text("no answer")
