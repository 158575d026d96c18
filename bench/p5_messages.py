"""P5: messages that leave the picker per request, and pieces of answers that come to it, when answers are streamed.

From the picker's own counters, before and after requests whose answers have 1,000 chunks each. The goal is exact: one
message per request, however long the answer, and nothing of the response phase.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from bench.processes import Picker
from bench.results import BenchError, Result
from extproc.cli.demo.envoy import DETACHED, ISTIO, Envoy, GatewaySettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

MODEL = "llama-8b"
CHUNKS = 1_000
REQUESTS = 20
MODES = {"Envoy without response phase": DETACHED, "Istio's filter": ISTIO}
_COUNTER = "extproc_stream_messages_total"


async def run() -> AsyncIterator[Result]:
    """Two lines for each set of processing modes: messages out, and messages of the response phase in."""
    settings = EngineSettings(models=(MODEL,), time_to_first_token_s=0.001, token_delay_s=0.0001)
    with tempfile.TemporaryDirectory(prefix="extproc-bench-") as directory:
        async with SimServer(settings) as sim, Picker([sim.address], Path(directory)) as picker:
            for name, mode in MODES.items():
                async with Envoy(
                    GatewaySettings(endpoints=[sim.address], picker=picker.address, processing_mode=mode)
                ) as gateway:
                    before = await picker.counters(_COUNTER)
                    await _stream_answers(gateway.url)
                    after = await picker.counters(_COUNTER)
                sent = _grown(before, after, 'direction="out"')
                response_phase = _grown(before, after, 'kind="response_')
                yield Result(
                    name=f"P5 {name}",
                    figure=f"{sent / REQUESTS:g} out/request",
                    goal="1",
                    is_ok=sent == REQUESTS,
                )
                yield Result(
                    name=f"   of the response, {CHUNKS:,} chunks",
                    figure=f"{response_phase / REQUESTS:g} in/request",
                    goal="0",
                    is_ok=response_phase == 0,
                )


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
