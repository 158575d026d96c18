"""P5: messages that leave the picker per request, and pieces of answers that come to it, when answers are streamed.

From the picker's own counters, before and after requests whose answers have 1,000 chunks each. The goal is exact,
however long the answer: one message per request where the picker leaves, and nothing of the response phase; two where
it tracks, the second being its answer to the response's headers, and not one piece of the answer.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from bench.modes import FULL_DUPLEX, FULL_DUPLEX_TRACK, ISTIO_DETACH, Mode
from bench.processes import Picker, endpoints_file
from bench.results import BenchError, Result
from extproc.cli.demo.envoy import Envoy, GatewaySettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

MODEL = "llama-8b"
CHUNKS = 1_000
REQUESTS = 20
MESSAGES = ((FULL_DUPLEX, 1, 0), (ISTIO_DETACH, 1, 0), (FULL_DUPLEX_TRACK, 2, 1))
"""For each mode the messages out, and those of the response phase in, per request."""
_COUNTER = "extproc_stream_messages_total"


async def run() -> AsyncIterator[Result]:
    """Three lines for each mode: messages out, messages of the response phase in, and pieces of answers among them."""
    settings = EngineSettings(models=(MODEL,), time_to_first_token_s=0.001, token_delay_s=0.0001)
    async with SimServer(settings) as sim:
        for mode, wanted_out, wanted_in in MESSAGES:
            before, after = await _count(mode, sim.address)
            for name, label, wanted in (
                (f"P5 {mode.name}", 'direction="out"', wanted_out),
                ("   messages of the response phase", 'direction="in",kind="response_', wanted_in),
                (f"   pieces of it, {CHUNKS:,} chunks", 'direction="in",kind="response_body"', 0),
            ):
                grown = _grown(before, after, label)
                yield Result(
                    name=name,
                    figure=f"{grown / REQUESTS:g}/request",
                    goal=f"{wanted}",
                    is_ok=grown == wanted * REQUESTS,
                )


async def _count(mode: Mode, endpoint: str) -> tuple[dict[str, float], dict[str, float]]:
    """The picker's counters before and after the requests."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        picker = await stack.enter_async_context(
            Picker(endpoints_file([endpoint], directory), config=mode.picker_config)
        )
        gateway = await stack.enter_async_context(
            Envoy(GatewaySettings(endpoints=[endpoint], picker=picker.address, processing_mode=mode.filter))
        )
        before = await picker.counters(_COUNTER)
        await _stream_answers(gateway.url)
        return before, await picker.counters(_COUNTER)


async def _stream_answers(url: str) -> None:
    async with aiohttp.ClientSession(raise_for_status=True) as session, asyncio.TaskGroup() as requests:
        for _ in range(REQUESTS):
            requests.create_task(_stream_answer(session, url))


async def _stream_answer(session: aiohttp.ClientSession, url: str) -> None:
    """One request, read to its end. Errors: BenchError when the answer is not the whole one."""
    wanted = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": CHUNKS,
        "ignore_eos": True,
        "stream": True,
    }
    events = 0
    async with session.post(f"{url}/v1/chat/completions", json=wanted) as response:
        async for line in response.content:
            events += line.startswith(b"data: {")
    if events < CHUNKS:
        raise BenchError(f"an answer had {events} chunks, not {CHUNKS}")


def _grown(before: dict[str, float], after: dict[str, float], label: str) -> float:
    return sum(value - before.get(labels, 0.0) for labels, value in after.items() if label in labels)
