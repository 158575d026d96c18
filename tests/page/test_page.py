"""The page in a real Chromium, over pools of every kind."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Error, Page, expect
from tests.page.conftest import OpenPage
from tests.page.pools import Shown, endpoint, fill, fill_many

from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Body, Plan
from extproc.registry.changes import Failure, Listing, PoolChanged
from extproc.telemetry.metrics import SourceState
from extproc.values.admin import ConfigFile
from extproc.values.load import EngineLoad
from extproc.values.model import ModelCard
from extproc.values.refusal import Reason

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = "#matrix-table tbody tr:not(.group)"
ONE = endpoint("one")
TWO = endpoint("two", 2)


async def look(page: Page) -> None:
    """The page asks at once, as it does when its tab is shown again."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def read_table(page: Page, selector: str) -> list[list[str]]:
    """The rows of a table's body, as a screen reader has their text."""
    script = "rows => rows.map(row => [...row.children].map(cell => cell.textContent.trim()))"
    rows: list[list[str]] = await page.eval_on_selector_all(f"{selector} tr", script)
    return rows


async def read_matrix(page: Page) -> Mapping[str, Mapping[str, str]]:
    """By endpoint: what stands in the column of each model, by the model's id."""
    ids: list[str] = await page.eval_on_selector_all("#matrix-head th.model b", "all => all.map(b => b.textContent)")
    rows = await page.eval_on_selector_all(
        ROWS,
        """rows => rows.map(row => [row.querySelector('.name .mono').textContent,
            [...row.querySelectorAll('td.model')].map(cell => cell.textContent)])""",
    )
    return {name: {id_: word for id_, word in zip(ids, words, strict=True) if word} for name, words in rows}


async def test_it_shows_which_model_is_on_which_endpoint(open_page: OpenPage) -> None:
    async with Shown() as shown:
        *_, down = fill(shown)
        shown.answer(down, "google/gemma-3-12b-it")
        shown.apply(PoolChanged((Listing(down, False, "1"),), ()))
        page = await open_page(shown.url)
        assert await read_matrix(page) == {
            "gemma-5b8f6-4nlsd": {"google/gemma-3-12b-it": "serving"},
            "gemma-5b8f6-c9tgx": {"google/gemma-3-12b-it": "suspect"},
            "gemma-5b8f6-jjw52": {"google/gemma-3-12b-it": "not ready"},
            "phi-7d9c4-2xkqp": {"microsoft/phi-4": "serving", "phi-sql-lora": "servingloaded"},
            "phi-7d9c4-8wzrt": {"microsoft/phi-4": "serving", "phi-sql-lora": "serving"},
            "phi-7d9c4-m4hvb": {"microsoft/phi-4": "serving"},
        }
        row = page.locator(ROWS).filter(has_text="phi-7d9c4-m4hvb")
        assert [text.strip() for text in await row.locator("td").all_inner_texts()][2:6] == ["11", "24", "93 %", "1"]
        await expect(row.locator("td.kv")).to_have_class("kv full")
        await expect(page.locator("#matrix-head th.model .sub").last).to_have_text("2")


async def test_the_state_of_an_endpoint_is_a_word(open_page: OpenPage) -> None:
    good, silent, late, cut, gone, empty, unread = every = [
        endpoint(name, number)
        for number, name in enumerate(("a-good", "b-silent", "c-late", "d-cut", "e-gone", "f-empty", "g-unread"))
    ]
    async with Shown() as shown:
        shown.sync(*every)
        for each in (good, late, cut, gone, unread):
            shown.answer(each, "phi")
        for each in (silent, late):
            shown.fail(each, Failure.STATUS, "answers 503")
        shown.fail(cut, Failure.CONNECT, "no route", times=3)
        shown.apply(PoolChanged((Listing(gone, False, "1"),), ()))
        shown.answer(empty)
        shown.answer(empty)
        shown.load_problems[unread.id] = "answers 404"
        page = await open_page(shown.url)
        told = await page.eval_on_selector_all(
            ROWS,
            """rows => rows.map(row => [row.querySelector('.name .mono').textContent,
                row.querySelector('.state .shape').className, row.querySelector('.state .with-shape').textContent,
                row.querySelector('.state .sub').textContent])""",
        )
        assert told == [
            ["a-good", "shape serving", "serving", ""],
            ["b-silent", "shape unconfirmed", "unconfirmed", "models: answers 503"],
            ["c-late", "shape serving", "serving", "models: answers 503"],
            ["d-cut", "shape suspect", "suspect", "models: no route"],
            ["e-gone", "shape unready", "not ready", ""],
            ["f-empty", "shape serving", "serving", "lists no model"],
            ["g-unread", "shape serving", "serving", "load: answers 404"],
        ]


@pytest.mark.parametrize(
    ("scheme", "ground", "text"),
    [
        pytest.param("light", "rgb(244, 245, 247)", "rgb(28, 33, 39)", id="light"),
        pytest.param("dark", "rgb(14, 18, 23)", "rgb(228, 233, 239)", id="dark"),
    ],
)
async def test_it_is_light_or_dark_as_the_system_is(open_page: OpenPage, scheme: str, ground: str, text: str) -> None:
    async with Shown() as shown:
        fill(shown)
        page = await open_page(shown.url, color_scheme=scheme)
        script = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        assert await page.evaluate(script) == [ground, text]


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(open_page: OpenPage) -> None:
    async with Shown() as shown:
        fill_many(shown, 100)
        page = await open_page(shown.url)
        walk: list[str] = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            name, outline = await page.evaluate(
                """() => { const at = document.activeElement;
                if (at === document.body) return ['', ''];
                return [at.id || at.getAttribute('aria-labelledby') || at.className || at.textContent.trim(),
                        getComputedStyle(at).outlineStyle]; }"""
            )
            if not name:
                break  # back at the browser's own
            walk.append(name)
            assert outline == "solid", name
        groups = [name for name in walk if "endpoint" in name and ":" in name]
        assert len(groups) == 5
        assert [name for name in walk if name not in groups] == [
            "skip", "endpoint-filter", "model-filter", "trouble-only", "grouped", "unfold", "matrix",
            "refusals-only", "pause", "decisions-title", "changes-title", "outcomes-title", "sources-title",
            "callers-title", "explain-model", "explain-path", "explain-prompt", "explain-submit",
        ]  # fmt: skip


async def test_the_keyboard_skips_to_the_endpoints_scrolls_and_folds(open_page: OpenPage) -> None:
    async with Shown() as shown:
        fill_many(shown, 100)
        page = await open_page(shown.url, height=500)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        group = page.locator(":focus")
        await expect(group).to_have_attribute("aria-expanded", "false")
        before = await page.locator(ROWS).count()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator(":focus")).to_have_attribute("aria-expanded", "true")
        assert await page.locator(ROWS).count() > before
        await page.focus("#matrix")
        await page.keyboard.press("End")
        async with asyncio.timeout(8):
            while await page.locator("#matrix").evaluate("region => region.scrollTop") < 100:
                pass


async def test_at_a_phones_width_only_the_tables_scroll(open_page: OpenPage) -> None:
    long = "a-very-long-organisation-name/" + "model" * 20
    async with Shown("pool-with-a-name-as-long-as-they-get-in-namespaces-of-platforms") as shown:
        fill(shown)
        shown.add(endpoint("x" * 60, 30), long)
        shown.refuse("unknown", Reason.MODEL_UNKNOWN, named=long)
        shown.counts.sources["kubernetes"] = SourceState(False, None, ("https://" + "long" * 40,))
        page = await open_page(shown.url, width=360, height=780)
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        region = page.locator("#matrix")
        assert await region.evaluate("r => { r.scrollLeft = 300; return r.scrollLeft; }") == 300
        name, left = await page.evaluate(
            """() => [document.querySelector('#matrix-table tbody th.name').getBoundingClientRect().left,
                      document.getElementById('matrix').getBoundingClientRect().left]"""
        )
        assert name == pytest.approx(left, abs=1)


async def test_no_endpoints_is_said_with_what_to_do(open_page: OpenPage) -> None:
    async with Shown() as shown:
        page = await open_page(shown.url)
        await expect(page.locator("#matrix-empty")).to_contain_text("has not been read yet")
        shown.sync()
        await look(page)
        await expect(page.locator("#matrix-empty")).to_contain_text("The pool has no endpoints")
        await expect(page.locator("#matrix-empty")).to_contain_text("extproc doctor")
        await expect(page.locator("#decisions-empty")).to_be_visible()
        shown.add(ONE, "phi")
        await look(page)
        await expect(page.locator("#matrix-empty")).to_be_hidden()
        assert await read_matrix(page) == {"one": {"phi": "serving"}}


async def test_of_500_endpoints_groups_and_trouble_are_shown_first(open_page: OpenPage) -> None:
    async with Shown() as shown:
        fill_many(shown, 500)
        page = await open_page(shown.url)
        titles = await page.locator(".group button").all_inner_texts()
        assert sorted(int(title.split()[0]) for title in titles) == [6, 123, 123, 124, 124]
        assert await page.locator(ROWS).count() == 10  # 6 without an answer, 4 suspects
        await page.click("#unfold")
        assert await page.locator(ROWS).count() == 500
        assert len(await read_matrix(page)) == 500
        await page.click("#unfold")
        assert await page.locator(ROWS).count() == 10
        await page.fill("#endpoint-filter", "gpu-001")  # what is looked for is not hidden in a folded group
        assert await page.locator(ROWS).count() == 8


async def test_news_leave_focus_scroll_and_filters_where_they_are(open_page: OpenPage) -> None:
    async with Shown() as shown:
        many = fill_many(shown, 500)
        page = await open_page(shown.url)
        await page.click("#unfold")
        await page.fill("#endpoint-filter", "gpu-0")
        await page.locator("#matrix").evaluate("r => { r.scrollTop = 2000; }")
        await page.evaluate(f"document.querySelectorAll('{ROWS}')[150].isTheSame = true")
        await page.locator(".group button").nth(2).evaluate("button => button.focus({preventScroll: true})")
        shown.loads[many[0].id] = EngineLoad(shown.clock(), 777.0, 1.0, 0.5)
        shown.add(endpoint("gpu-0-fresh", 900), "aaa-new-model")  # a new row, and a new column
        await look(page)
        await expect(page.locator(ROWS).filter(has_text="gpu-0-fresh")).to_have_count(1)
        await expect(page.locator(ROWS).filter(has_text="777")).to_have_count(1)
        counts = await page.evaluate(
            "[...new Set([...document.querySelectorAll('#matrix-table tr')].map(row => row.children.length))]"
        )
        assert counts == [7 + 9]
        assert await page.input_value("#endpoint-filter") == "gpu-0"
        assert await page.evaluate("document.activeElement.closest('tr').className") == "group"
        assert await page.evaluate(f"[...document.querySelectorAll('{ROWS}')].some(row => row.isTheSame)")
        assert await page.locator("#matrix").evaluate("r => r.scrollTop") >= 1900


FILTERS = (
    ("words of a name, in any case", "endpoint", "PHI 8wz", {"phi-7d9c4-8wzrt"}),
    ("address", "endpoint", "10.0.0.13", {"gemma-5b8f6-c9tgx"}),
    ("state", "endpoint", "unconfirmed", {"gemma-5b8f6-jjw52"}),
    ("problem", "endpoint", "503 service", {"gemma-5b8f6-jjw52"}),
    ("none", "endpoint", "nothing like it", set[str]()),
    ("model", "model", "lora", {"phi-7d9c4-2xkqp", "phi-7d9c4-8wzrt"}),
)


async def test_filters(open_page: OpenPage) -> None:
    async with Shown() as shown:
        fill(shown)
        page = await open_page(shown.url)
        for case, field, text, names in FILTERS:
            await page.fill(f"#{field}-filter", text)
            assert (await read_matrix(page)).keys() == names, case
            await expect(page.locator("#matrix-note")).to_contain_text(f"{len(names)} of 6 endpoints match")
            await expect(page.locator("#matrix-empty")).to_be_visible(visible=not names)
            assert await page.locator("#matrix-head th.model").count() == (1 if field == "model" else 3), case
            await page.fill(f"#{field}-filter", "")
        await page.check("#trouble-only")
        assert (await read_matrix(page)).keys() == {"gemma-5b8f6-c9tgx", "gemma-5b8f6-jjw52"}


EVIL = "<img src=x onerror=alert(1)>"


async def test_names_are_text_whatever_stands_in_them(open_page: OpenPage) -> None:
    async with Shown(EVIL) as shown:
        evil = endpoint(EVIL, node=EVIL, role=EVIL, engine=EVIL)
        shown.sync(evil)
        shown.answer(evil, EVIL, ModelCard("adapter", parent=EVIL))
        shown.fail(evil, Failure.STATUS, EVIL)
        shown.load_problems[evil.id] = EVIL
        shown.counts.sources[EVIL] = SourceState(False, None, (EVIL,))
        shown.config.told = ConfigFile(EVIL, 1.0, (EVIL,), (EVIL,))
        shown.route(EVIL, evil, endpoint(EVIL + "2", 2))
        shown.refuse("unknown", Reason.MODEL_UNKNOWN, named=EVIL)
        shown.journal.note(EVIL, endpoint=EVIL, detail=EVIL)
        page = await open_page(shown.url)
        dialogs: list[Any] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog))
        await page.fill("#explain-model", EVIL)
        await page.click("#explain-submit")
        await expect(page.locator("#explain-verdict")).to_contain_text(EVIL)
        for selector in ("#pool", "#notices", "#matrix", "#decisions", "#outcomes", "#changes", "#sources"):
            await expect(page.locator(selector)).to_contain_text(EVIL)
        assert await page.locator("img").count() == 0
        assert dialogs == []


async def test_it_says_when_the_picker_stops_answering_and_when_it_is_back(open_page: OpenPage) -> None:
    async with Shown() as shown:
        fill(shown)
        page = await open_page(shown.url)
        await expect(page.locator("#status")).to_have_text("The picker is ready.")
        await shown.stop()
        await expect(page.locator("body")).to_have_attribute("data-freshness", "stale")
        await expect(page.locator("#freshness-text")).to_contain_text("No answer from the picker (cannot be reached)")
        await expect(page.locator("#freshness-text")).to_contain_text("what stands here is of")
        await expect(page.locator("#status")).to_have_text("The picker does not answer. What the page shows is old.")
        await expect(page.locator("#readiness")).to_have_text("no answer")
        assert (await page.title()).startswith("no answer")
        await shown.come_back()
        await page.click("#retry")
        await expect(page.locator("body")).to_have_attribute("data-freshness", "fresh")
        await expect(page.locator("#readiness")).to_have_text("ready")
        await expect(page.locator("#status")).to_have_text("The picker is ready.")
        await expect(page.locator("#retry")).to_be_hidden()


async def test_it_asks_while_somebody_looks_and_ever_more_rarely_when_nobody_answers(open_page: OpenPage) -> None:
    async with Shown() as shown:
        shown.sync(ONE)
        page = await open_page("about:blank", wait=False)
        await page.clock.install()
        asked: list[str] = []
        under_way: set[Any] = set()
        page.on("request", lambda request: asked.append(request.url) if "snapshot" in request.url else None)
        page.on("request", lambda request: under_way.add(request))
        page.on("requestfinished", lambda request: under_way.discard(request))
        page.on("requestfailed", lambda request: under_way.discard(request))
        await page.goto(shown.url)
        await expect(page.locator("body")).to_have_attribute("data-freshness", "fresh")

        async def count_in(seconds: int) -> int:
            before = len(asked)
            for _ in range(seconds):
                await page.clock.run_for(1000)
                async with asyncio.timeout(8):
                    while under_way:
                        await page.evaluate("0")
            return len(asked) - before

        def turn(state: str) -> str:
            script = f"Object.defineProperty(document, 'visibilityState', {{value: '{state}', configurable: true}})"
            return f"{script}; document.dispatchEvent(new Event('visibilitychange'));"

        assert await count_in(10) in range(2, 6)
        await page.evaluate(turn("hidden"))
        assert await count_in(20) == 0
        async with page.expect_request("**/api/decisions*"):
            await page.evaluate(turn("visible") + turn("hidden"))  # hidden again before the answer is here
        assert await count_in(20) == 0
        await page.evaluate(turn("visible"))
        await expect(page.locator("body")).to_have_attribute("data-freshness", "fresh")
        await shown.stop()
        assert await count_in(60) <= 9  # after 1, 2, 4, 8, 15, 15 … s


async def test_a_picker_that_was_restarted_counts_anew(open_page: OpenPage) -> None:
    async with Shown() as shown:
        shown.sync(ONE)
        shown.answer(ONE, "phi")
        for _ in range(3):
            shown.route("phi", ONE)
        page = await open_page(shown.url)
        await expect(page.locator("#decisions tr")).to_have_count(3)
        port = shown.port
        await shown.stop()
        await expect(page.locator("body")).to_have_attribute("data-freshness", "stale")
        again = Shown()
        again.port = port
        again.sync(ONE)
        again.answer(ONE, "gemma")
        for _ in range(5):
            again.route("gemma", ONE)
        await again.come_back()
        try:
            await page.click("#retry")
            await expect(page.locator("#decisions tr")).to_have_count(5)
            assert {row[1] for row in await read_table(page, "#decisions")} == {"gemma"}
            assert [row[1:] for row in await read_table(page, "#outcomes")] == [["0", "5", "5"]]
        finally:
            await again.stop()


async def test_the_token_is_asked_for_as_a_password(open_page: OpenPage, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret")
    async with Shown(token_file=str(file)) as shown:
        stranger = await open_page("about:blank", wait=False)
        with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
            await stranger.goto(shown.url)
        page = await open_page(shown.url, http_credentials={"username": "admin", "password": "s3cret"})
        await expect(page.locator("#pool")).to_have_text("default/llama")
        file.write_text("another")
        await look(page)
        await expect(page.locator("#freshness-text")).to_contain_text("reload the page")


async def test_decisions_stand_there_as_they_come_and_stand_still_when_paused(open_page: OpenPage) -> None:
    async with Shown() as shown:
        shown.sync(ONE, TWO)
        page = await open_page(shown.url)
        shown.route("phi", ONE, TWO)
        shown.refuse("unknown", Reason.MODEL_UNKNOWN, named="gpt-4o")
        await look(page)
        await expect(page.locator("#decisions tr")).to_have_count(2)
        rows = await read_table(page, "#decisions")
        assert [row[1:] for row in rows] == [
            ["gpt-4o → unknown", "404 model_not_found", "model unknown", "84 µs"],
            ["phi", "routed", "onescore 0.87, two 0.80", "61 µs"],
        ]
        await page.click("#pause")
        shown.route("phi", TWO)
        await look(page)
        await expect(page.locator("#decisions-note")).to_have_text("Paused, 1 since.")
        assert len(await read_table(page, "#decisions")) == 2
        await page.click("#pause")
        await expect(page.locator("#decisions tr")).to_have_count(3)
        await page.check("#refusals-only")
        assert [row[1] for row in await read_table(page, "#decisions")] == ["gpt-4o → unknown"]


async def test_decisions_that_came_too_fast_are_counted(open_page: OpenPage) -> None:
    async with Shown() as shown:
        shown.sync(ONE)
        page = await open_page(shown.url)
        for _ in range(250):
            shown.route("phi", ONE)
        await look(page)
        await expect(page.locator("#decisions-note")).to_have_text("50 came too fast to be shown. ")
        await expect(page.locator("#decisions tr")).to_have_count(200)
        later = await open_page(shown.url)
        await expect(later.locator("#decisions tr")).to_have_count(200)
        await expect(later.locator("#decisions-note")).to_have_text("")


async def test_requests_are_counted_by_outcome(open_page: OpenPage) -> None:
    async with Shown() as shown:
        shown.sync(ONE)
        shown.counts.requests = {("phi", "routed"): 1000, ("unknown", "model_not_found"): 7, ("phi", "overloaded"): 2}
        page = await open_page(shown.url)
        shown.counts.requests = {("phi", "routed"): 1500, ("unknown", "model_not_found"): 9, ("phi", "overloaded"): 2}
        await look(page)
        await expect(page.locator("#outcomes tr").first).to_contain_text("1,500")
        rows = await read_table(page, "#outcomes")
        assert [[row[0].split("sent")[0].split("no ")[0].split("satu")[0], *row[1:]] for row in rows] == [
            ["routed", "500", "500", "1,500"],
            ["model_not_found", "2", "2", "9"],
            ["overloaded", "0", "0", "2"],
        ]
        assert "unknown 9" in rows[1][0]
        await expect(page.locator("#figures")).to_contain_text("11 since the picker began")


async def test_what_needs_attention_is_said_at_the_top_and_goes_when_it_is_over(open_page: OpenPage) -> None:
    async with Shown() as shown:
        shown.is_ready = False
        shown.sync(ONE)
        shown.answer(ONE, "phi")
        shown.counts.sources["kubernetes"] = SourceState(False, shown.clock() - 150, ("403: pods is forbidden",))
        shown.counts.sources["dns"] = SourceState(False, None)
        shown.counts.sources["file"] = SourceState(True, shown.clock(), ("pools[0]: no port",))
        shown.config.told = ConfigFile("/etc/x.yaml", 300.0, ("scheduling.pickr: unknown key",), ("server.grpcPort",))
        shown.apply(PoolChanged((Listing(ONE, False, "1"),), ()))
        page = await open_page(shown.url)
        notices = await page.locator("#notices > li").evaluate_all("all => all.map(li => [li.className, li.innerText])")
        assert notices == [
            ["notice bad", "The source kubernetes cannot be read. It was last read 3 min ago; what was known then is "
                           "kept.\n\n403: pods is forbidden"],
            ["notice bad", "The source dns cannot be read. It was never read."],
            ["notice warn", "The source file is read, with problems:\n\npools[0]: no port"],
            ["notice bad", "The config file /etc/x.yaml is wrong as it is now. What was read 5 min ago is in effect."
                           "\n\nscheduling.pickr: unknown key"],
            ["notice warn", "Changes in /etc/x.yaml that count at the next start only:\n\nserver.grpcPort"],
            ["notice bad", "No endpoint is ready and confirmed: every request is refused with 503."],
            ["notice warn", "Known, but served by no endpoint now (503): phi"],
        ]  # fmt: skip
        await expect(page.locator("#readiness")).to_have_text("not ready")
        shown.is_ready = True
        shown.counts.sources.clear()
        shown.config.told = ConfigFile("/etc/x.yaml", 1.0)
        shown.apply(PoolChanged((Listing(ONE, True, "2"),), ()))
        shown.answer(ONE, "phi")
        await look(page)
        await expect(page.locator("#notices > li")).to_have_count(0)
        await expect(page.locator("#readiness")).to_have_text("ready")
        assert ["/etc/x.yaml", "in effect", "1.0 s"] in await read_table(page, "#sources")


async def test_callers_and_changes_are_listed(open_page: OpenPage) -> None:
    async with Shown() as shown:
        shown.sync(ONE)
        shown.answer(ONE, "phi")
        plan = Plan(Body.STREAMED, BodyMode.FULL_DUPLEX_STREAMED, BodyMode.NONE)
        shown.callers.note(plan, is_direct=False, began_at_s=shown.clock() - 3, has_left_early=True)
        page = await open_page(shown.url)
        [caller] = await read_table(page, "#callers")
        assert caller[:4] == [
            "through an HTTP hop, or not Envoy",
            "FULL_DUPLEX_STREAMED",
            "NONE",
            "ends with the decision",
        ]
        assert caller[4] == "1"
        assert caller[6].startswith("1, the soonest after 3.")
        changes = await read_table(page, "#changes")
        assert ["endpoint changed", "one"] in [row[1:3] for row in changes]


async def test_the_form_explains_a_request(open_page: OpenPage) -> None:
    async with Shown() as shown:
        *_, silent = fill(shown)
        shown.apply(PoolChanged((), (silent.id,)))
        page = await open_page(shown.url)
        await page.fill("#explain-model", "google/gemma-3-12b-it")
        await page.fill("#explain-prompt", "Hello")
        await page.click("#explain-submit")
        await expect(page.locator("#explain-verdict")).to_contain_text("routed to gemma-5b8f6-4nlsd (10.0.0.12:8000)")
        await expect(page.locator("#candidates tr")).to_have_count(5)
        await expect(page.locator("#candidates tr").first).to_contain_text("first")
        await page.fill("#explain-model", "gpt-4o")
        await page.keyboard.press("Enter")
        await expect(page.locator("#explain-verdict")).to_contain_text("404 model_not_found")
        await expect(page.locator("#explain-answer")).to_be_visible()
        await expect(page.locator("#explain-answer")).to_contain_text("does not exist")
        await shown.stop()
        await page.click("#explain-submit")
        await expect(page.locator("#explain-verdict")).to_have_text("No explanation: cannot be reached")
        await expect(page.locator("#explain-region")).to_be_hidden()
