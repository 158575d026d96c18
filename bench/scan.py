"""Reading the load off a metrics page: the scanner against prometheus_client's parser, which reads all of it."""

import time
from collections.abc import AsyncIterator, Callable
from statistics import median

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.results import BenchError, Ratio, Result
from extproc.probes.scan import scan
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

MODEL = "llama"
ROUNDS = 15
SCANS = 200
GOAL = 0.05


async def fetch_page() -> bytes:
    """The simulator's page, which is vLLM's, of an engine at rest."""
    async with SimServer(EngineSettings(models=(MODEL,), lora=("sql", "law"))) as server:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(f"http://{server.address}/metrics") as response:
                return await response.read()


async def run() -> AsyncIterator[Result]:
    """The goal's line, and one for what only finding a line costs."""
    page = await fetch_page()
    text = page.decode()
    load = scan(page, engine="vllm", asked_at_s=0.0)
    if None in (load.waiting, load.running, load.kv_used_ratio, load.cache_tokens, load.adapters, load.prefill_s):
        raise BenchError(f"the page does not say everything: {load}")

    def parse() -> object:
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    pairs = [
        (_time_us(lambda: scan(page, engine="vllm", asked_at_s=0.0), SCANS), _time_us(parse, 2)) for _ in range(ROUNDS)
    ]
    ours, reference = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
    ratio = Ratio.of(ours, reference)
    yield Result(
        name=f"Scan of a metrics page of {len(page) / 1024:.0f} KB",
        figure=f"{median(ours):.0f} µs",
        reference=f"{median(reference):,.0f} µs",
        ratio=f"{ratio.median:.4f} (1 : {1 / ratio.median:.0f})",
        goal=f"≤ {GOAL}",
        is_ok=ratio.median <= GOAL,
    )
    found_us = [_time_us(lambda: page.find(b"\nabsent:name_of_a_metric"), SCANS) for _ in range(ROUNDS)]
    yield Result(name="   of that: a name that is not there", figure=f"{median(found_us):.1f} µs")


def _time_us(function: Callable[[], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls * 1e6
