"""Checks the arithmetic of docs/capacity.md: cores by rate, predicted and measured, and what an open answer weighs.

One picker with 100 endpoints whose metrics pages are read, and paced load through a real Envoy. From the picker at rest
and at the middle rate a line is drawn; at the other rates it predicts, and what is measured stands beside it. CPU of
the gateway is measured too. Then answers are held open where the picker tracks: memory of picker and gateway for each.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.chat import MODELS, Request, chat_requests
from bench.endpoints import serve_nets
from bench.engines import EVENT_BRACES, Engines
from bench.http1 import read_streamed
from bench.modes import FULL_DUPLEX, FULL_DUPLEX_TRACK, Mode
from bench.paced import run_paced
from bench.pods import address_of
from bench.processes import Picker, endpoints_file, process_cpu_s, process_status_bytes
from bench.results import BenchError, Result
from bench.scan import fetch_page
from extproc.cli.demo.envoy import Envoy, GatewaySettings

ENDPOINTS = 100
RATES = (250, 500, 1_000)
FITTED = 500
"""The rate at which the cost of a request is measured, for the others."""
SETTLE_S = 6.0
REST_S = 8.0
ROUND_S = 8.0
TOLERANCE = 0.1
"""By which more may be used than was predicted, at a higher rate. It is less as a rule: one wake-up serves several."""
OPEN = 1_000
OPEN_S = 12.0


async def run() -> AsyncIterator[Result]:
    """A line for each rate, one for the gateway, two for open answers."""
    page = await fetch_page()
    async with serve_nets(MODELS, metrics_page=page.decode()) as port:
        nets = len(MODELS)
        endpoints = [f"{address_of(index // nets, index % nets)}:{port}" for index in range(ENDPOINTS)]
        async with _serve(FULL_DUPLEX, endpoints) as (picker, gateway):
            for result in await _rates(picker, gateway):
                yield result
    async with Engines(MODELS) as engines:
        endpoints = [f"{address_of(0, index)}:{engines.port}" for index in range(len(MODELS))]
        async with _serve(FULL_DUPLEX_TRACK, endpoints) as (picker, gateway):
            for result in await _open_answers(picker, gateway):
                yield result


@asynccontextmanager
async def _serve(mode: Mode, endpoints: Sequence[str]) -> AsyncIterator[tuple[Picker, Envoy]]:
    """A picker, and the gateway that asks it."""
    with tempfile.TemporaryDirectory(prefix="extproc-bench-") as directory:
        async with Picker(endpoints_file(endpoints, Path(directory)), config=mode.picker_config) as picker:
            settings = GatewaySettings(endpoints=endpoints, picker=picker.address, processing_mode=mode.filter)
            async with Envoy(settings) as gateway:
                yield picker, gateway


async def _rates(picker: Picker, gateway: Envoy) -> list[Result]:
    """Errors: BenchError for an answer that is no 200."""
    await asyncio.sleep(SETTLE_S)
    begun_s, before_s = time.monotonic(), picker.cpu_s
    await asyncio.sleep(REST_S)
    at_rest = (picker.cpu_s - before_s) / (time.monotonic() - begun_s)
    cores, gateway_us = {}, {}
    requests = chat_requests()
    await run_paced(gateway.url, requests, requests_per_s=FITTED, duration_s=2)
    for rate in RATES:
        begun_s, before_s, gateway_s = time.monotonic(), picker.cpu_s, process_cpu_s(_pid(gateway))
        done = await run_paced(gateway.url, requests, requests_per_s=rate, duration_s=ROUND_S)
        cores[rate] = (picker.cpu_s - before_s) / (time.monotonic() - begun_s)
        gateway_us[rate] = (process_cpu_s(_pid(gateway)) - gateway_s) / done.requests * 1e6
    request_s = (cores[FITTED] - at_rest) / FITTED
    results = [Result(name=f"Capacity: cores at rest, {ENDPOINTS} endpoints", figure=f"{at_rest:.3f}")]
    for rate in RATES:
        predicted = at_rest + rate * request_s
        is_fitted, is_judged = rate == FITTED, rate > FITTED
        results.append(
            Result(
                name=f"   cores at {rate:,}/s",
                figure=f"{cores[rate]:.3f}",
                reference=f"{request_s * 1e6:.0f} µs/request" if is_fitted else f"predicted {predicted:.3f}",
                ratio="" if is_fitted else f"{cores[rate] / predicted:.2f}",
                goal=f"≤ {1 + TOLERANCE:g} ×" if is_judged else "",
                is_ok=cores[rate] <= (1 + TOLERANCE) * predicted if is_judged else None,
            )
        )
    results.append(Result(name="   CPU of the gateway per request", figure=f"{gateway_us[max(RATES)]:.0f} µs"))
    return results


async def _open_answers(picker: Picker, gateway: Envoy) -> list[Result]:
    """Errors: BenchError where one of them is not whole."""
    await _answer_all(gateway.url, OPEN // 10, 1.0)
    before = picker.resident_bytes, process_status_bytes(_pid(gateway), "VmRSS")
    async with asyncio.TaskGroup() as tasks:
        answers = tasks.create_task(_answer_all(gateway.url, OPEN, OPEN_S))
        while (open_streams := (await picker.counters("extproc_streams"))[""]) < OPEN:
            if answers.done():
                raise BenchError(f"of {OPEN} answers no more than {open_streams:.0f} were open")
            await asyncio.sleep(0.5)
        grown = (
            picker.resident_bytes - before[0],
            process_status_bytes(_pid(gateway), "VmRSS") - before[1],
        )
    return [
        Result(name=f"   memory of an open answer, track, of {OPEN:,}", figure=f"{grown[0] / OPEN / 1e3:.0f} KB"),
        Result(name="   the gateway's", figure=f"{grown[1] / OPEN / 1e3:.0f} KB"),
    ]


async def _answer_all(url: str, count: int, over_s: float) -> None:
    body = b'{"model":"%s","stream":true,"chunks":4,"over_s":%.1f}' % (MODELS[0].encode(), over_s)
    request = Request(body).to_http1()
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(read_streamed(url, request, b"{")) for _ in range(count)]
    if any(answer.result() != 4 * EVENT_BRACES for answer in asked):
        raise BenchError("an answer was not whole")


def _pid(gateway: Envoy) -> int:
    assert gateway._process is not None
    return gateway._process.pid
