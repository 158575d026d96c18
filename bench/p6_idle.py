"""P6: CPU of a picker without requests at default intervals, with 100 and 1,000 endpoints whose pages have 60 KB.

The endpoints are listeners of one Envoy (`bench.endpoints`), each with an address of its own on loopback, so that the
picker has a connection to each. CPU is of the picker's process, from /proc, over three rounds of 10 s; the loop of P3
runs between them. The ratio is what the picker spends for each page that it reads, all else that it does in it, to one
turn of that loop.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median

import msgspec

from bench.endpoints import serve_nets
from bench.p3_decision import REFERENCE_BYTES, json_body
from bench.pods import address_of
from bench.processes import Picker, endpoints_file
from bench.results import BenchError, Ratio, Result
from bench.scan import MODEL, fetch_page

GOALS = {100: 0.15, 1_000: 1.0}
"""Cores by endpoints."""
SETTLE_S = 6.0
"""By then every kept connection is there, and the first regular probes are spread over their interval."""
ROUNDS = 3
ROUND_S = 10.0
LOOPS = 20_000
MOST_FAILURES = 0.05
"""Of the probes. One that fails is asked less often, and would make the picker look idle."""


async def run() -> AsyncIterator[Result]:
    """For each size of the pool a line with the goal, and how often its pages were read."""
    page = await fetch_page()
    with tempfile.TemporaryDirectory(prefix="extproc-bench-") as directory:
        async with serve_nets((MODEL,), metrics_page=page.decode()) as port:
            for size in GOALS:
                endpoints = [f"{address_of(index, 0)}:{port}" for index in range(size)]
                async with Picker(endpoints_file(endpoints, Path(directory))) as picker:
                    async for result in _rest(picker, size, len(page)):
                        yield result


async def _rest(picker: Picker, size: int, page_bytes: int) -> AsyncIterator[Result]:
    await asyncio.sleep(SETTLE_S)
    cores, per_page_us, loop_us, per_s = [], [], [], []
    failed = await _failures(picker)
    for _ in range(ROUNDS):
        loop_us.append(_loop_us())
        cpu_s, read, begun_s = picker.cpu_s, await _pages_read(picker), time.monotonic()
        await asyncio.sleep(ROUND_S)
        took_s = time.monotonic() - begun_s
        cpu_s, read = picker.cpu_s - cpu_s, await _pages_read(picker) - read
        cores.append(cpu_s / took_s)
        per_page_us.append(cpu_s / read * 1e6)
        per_s.append(read / took_s)
    failed = await _failures(picker) - failed
    if failed > MOST_FAILURES * sum(per_s) * ROUND_S:
        raise BenchError(f"{failed:,.0f} probes failed: what was measured is no picker at rest")
    goal = GOALS[size]
    yield Result(
        name=f"P6 {size:,} endpoints at rest: CPU",
        figure=f"{median(cores):.3f} cores",
        goal=f"≤ {goal:g} cores",
        is_ok=median(cores) <= goal,
    )
    yield Result(
        name=f"   for each page of {page_bytes / 1024:.0f} KB",
        figure=f"{median(per_page_us):.0f} µs",
        reference=f"{median(loop_us):.2f} µs",
        ratio=str(Ratio.of(per_page_us, loop_us)),
    )
    yield Result(
        name="   pages read", figure=f"{median(per_s):.0f} /s", reference=f"every {size / median(per_s):.2f} s"
    )


async def _failures(picker: Picker) -> float:
    return sum((await picker.counters("extproc_probe_failures_total")).values())


async def _pages_read(picker: Picker) -> float:
    """Errors: BenchError where it reads none."""
    read = (await picker.counters("extproc_probe_seconds_count")).get('kind="metrics"', 0.0)
    if not read:
        raise BenchError("the picker reads no metrics pages")
    return read


def _loop_us() -> float:
    """Microseconds that one turn of P3's reference takes."""
    document = json_body(REFERENCE_BYTES)
    document = json_body(2 * REFERENCE_BYTES - len(document))
    decode = msgspec.json.Decoder().decode
    begun_s = time.perf_counter()
    for _ in range(LOOPS):
        decode(document)
    return (time.perf_counter() - begun_s) / LOOPS * 1e6
