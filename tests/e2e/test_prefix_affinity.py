"""The default scheduling through a real Envoy: prompts that begin alike go where their beginning is cached."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest
from tests.e2e.picker import Picker

from extproc.admission.loads import SENDING_S
from extproc.admission.speed import REQUEST_S, TOKEN_S
from extproc.cli.demo.envoy import DETACHED, TRACKING, Envoy, GatewaySettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

MODEL = "llama"
NAMES = ("sim-0", "sim-1", "sim-2")
CHARS_PER_TOKEN = 4
PREFIX_TOKENS = 2_000
AGE = "extproc_probe_age_seconds"
MODES = {"detach": DETACHED, "track": TRACKING}
Message = dict[str, str]


def sim_of(name: str) -> SimServer:
    """An engine that computes prompts as fast as the picker believes before it has seen any."""
    settings = EngineSettings(
        name=name,
        models=(MODEL,),
        prefill_tokens_per_s=round(1 / TOKEN_S),
        time_to_first_token_s=REQUEST_S,
        token_delay_s=0.0,
    )
    return SimServer(settings)


def text_of(subject: str, tokens: int) -> str:
    """So much text, unlike that on any other subject."""
    return (f"All that is known of {subject}: " * tokens)[: tokens * CHARS_PER_TOKEN]


class Site(NamedTuple):
    """A gateway, its pickers, and three engines of one model."""

    sims: dict[str, SimServer]
    pickers: list[Picker]
    http: aiohttp.ClientSession

    async def ask(self, *messages: Message) -> tuple[str, int]:
        """Who served it, and how many tokens of the prompt it had cached."""
        fields = {"model": MODEL, "messages": messages, "max_tokens": 4}
        async with self.http.post("/v1/chat/completions", json=fields) as response:
            assert response.status == 200, await response.text()
            answer: dict[str, Any] = await response.json()
        return response.headers["x-served-by"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    async def ask_in_turn(self, prefix: str, questions: Sequence[str]) -> list[tuple[str, int]]:
        """Each question on the same prefix, one after another."""
        return [await self.ask(system(prefix), user(question)) for question in questions]

    async def take_down(self, name: str) -> None:
        """Its process is gone, and the picker knows."""
        await self.sims[name].stop()
        await self.pickers[0].wait_for_metric("extproc_endpoint_ready", 0, endpoint=name)

    async def bring_up(self, name: str) -> None:
        """Another process is in its place, and the picker knows."""
        port = int(self.sims[name].address.rpartition(":")[2])
        self.sims[name] = sim_of(name)
        await self.sims[name].start(port=port)
        await self.pickers[0].wait_for_metric("extproc_endpoint_ready", 1, endpoint=name)


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


@asynccontextmanager
async def serve(mode: str, *, pickers: int = 1) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        sims = {name: sim_of(name) for name in NAMES}
        stack.push_async_callback(stop_all, sims)
        for sim in sims.values():
            await sim.start()
        addresses = {name: sim.address for name, sim in sims.items()}
        phase = {} if mode == "detach" else {"responsePhase": mode}
        config = {"envoy": phase, "probes": {"models": {"interval": "500ms"}, "metrics": {"interval": "100ms"}}}
        asked = [await stack.enter_async_context(Picker(addresses, config=config)) for _ in range(pickers)]
        settings = GatewaySettings(
            endpoints=tuple(addresses.values()),
            picker=[picker.address for picker in asked],
            processing_mode=MODES[mode],
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        yield Site(sims, asked, http)


@pytest.fixture(params=list(MODES))
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with serve(request.param) as site:
        yield site


async def stop_all(sims: dict[str, SimServer]) -> None:
    """Those that stand in the places of others by now included."""
    for sim in sims.values():
        await sim.stop()


async def test_a_shared_prefix_stays_where_it_went_first(site: Site) -> None:
    prefix = text_of("whales", PREFIX_TOKENS)
    (first, nothing), *others = await site.ask_in_turn(prefix, [f"Question {index}?" for index in range(10)])
    assert nothing == 0
    assert {name for name, _ in others} == {first}
    assert {cached for _, cached in others} == {PREFIX_TOKENS}


async def test_every_group_stays_and_not_all_are_in_one_place(site: Site) -> None:
    groups = [text_of(f"island {index}", PREFIX_TOKENS // 2) for index in range(12)]
    served = [{name for name, _ in await site.ask_in_turn(group, ["Why?", "Where?", "When?"])} for group in groups]
    assert [len(names) for names in served] == [1] * len(groups)
    assert len(set[str]().union(*served)) > 1


async def test_a_conversation_stays_as_it_grows(site: Site) -> None:
    messages = [system(text_of("rivers", PREFIX_TOKENS // 2)), user("Which is the longest?")]
    first, _ = await site.ask(*messages)
    for turn in range(6):
        before = sum(len(message["content"]) + 1 for message in messages) // CHARS_PER_TOKEN
        messages += [assistant(text_of(f"answer {turn}", 300)), user(f"And then, after {turn}?")]
        name, cached = await site.ask(*messages)
        assert name == first
        assert cached > before - 32  # all of it but for a block or two at its end


async def test_a_prefix_is_where_it_was_computed_last_though_its_first_place_is_back(site: Site) -> None:
    """Both would know it if the picker remembered the process that is gone."""
    prefix = text_of("storms", PREFIX_TOKENS)
    ((first, _),) = await site.ask_in_turn(prefix, ["What are they?"])
    await site.take_down(first)
    ((second, cached),) = await site.ask_in_turn(prefix, ["Where are they?"])
    assert (second != first, cached) == (True, 0)
    await site.bring_up(first)
    answers = await site.ask_in_turn(prefix, [f"Question {index}?" for index in range(6)])
    assert set(answers) == {(second, PREFIX_TOKENS)}


@pytest.mark.parametrize("mode", list(MODES))
async def test_pickers_that_share_nothing_agree(mode: str) -> None:
    """Envoy asks them in turn: where one has sent a prefix the other sends it too, by itself, if all else is equal."""
    groups = [text_of(f"star {index}", PREFIX_TOKENS // 2) for index in range(6)]
    async with serve(mode, pickers=2) as site:
        served = []
        for group in groups:
            names = set()
            for question in ("Why?", "Where?"):
                for picker in site.pickers:
                    await until_rested(picker)
                names.add((await site.ask(system(group), user(question)))[0])
            served.append(names)
        routed = [await picker.metric("extproc_requests_total", outcome="routed") for picker in site.pickers]
    assert routed == [len(groups)] * 2
    assert [len(names) for names in served] == [1] * len(groups)


async def until_rested(picker: Picker) -> None:
    """Returns once it has read of every engine, since now, that there is nothing to do."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    async with asyncio.timeout(20):
        for name in NAMES:
            # What is sent a moment before a reading counts as not seen by it.
            while await picker.metric(AGE, kind="metrics", endpoint=name) > loop.time() - begun_s - SENDING_S:
                pass
