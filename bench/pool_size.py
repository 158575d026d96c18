"""A pool of 5,000 pods: what its picker takes to start, at rest, and while 500 of its pods change a second.

The pods are those of an API server (`bench.pod_server`), each with its engine, which has a metrics page of 62 KB.
Requests come through a real Envoy in full duplex, at a fixed rate, in an open loop, in rounds with a storm of pod
events and without. When the picker knew of a pod's readiness is what its log says, to the millisecond.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp
import msgspec

from bench.chat import chat_request
from bench.endpoints import serve_nets
from bench.modes import FULL_DUPLEX
from bench.paced import Latencies, percentile, run_paced
from bench.picker_log import CHANGED_ENDPOINT, NEW_ENDPOINT, READY, SERVING, LoggedPicker, Said
from bench.pod_server import Flip, PodServer, Storm
from bench.pods import address_of
from bench.processes import Picker, pool_flags
from bench.results import BenchError, Ratio, Result
from bench.scan import fetch_page
from extproc.cli.demo.envoy import Envoy, GatewaySettings

PODS = 5_000
MODELS = ("llama-8b", "mixtral7", "qwen3-4b", "gemma-9b", "phi4-14b", "granite8")
EVENTS_PER_S = 500
REQUESTS_PER_S = 100
ROUNDS = 11
ROUND_S = 5
STARTS = 3
IDLE_S = 10
START_GOAL_S = 15.0
MEMORY_GOAL_BYTES = 400_000_000
GOAL = 2.0
NOT_READY_GOAL_S = 0.050


@dataclass(frozen=True)
class _Start:
    serving_s: float
    listed_s: float
    ready_s: float
    cpu_s: float
    resident_bytes: int


@dataclass(frozen=True)
class _Round:
    latencies: Latencies
    cores: float
    """CPU of the picker."""


async def run() -> AsyncIterator[Result]:
    """Lines for the start, for a picker at rest, for the storm, and for how long news take."""
    async with AsyncExitStack() as stack:
        page = await fetch_page()
        port = await stack.enter_async_context(serve_nets(MODELS, metrics_page=page.decode()))
        pods = await stack.enter_async_context(PodServer(MODELS, pods=PODS, port=port))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        source = pool_flags(pods.url, directory)
        starts = []
        for _ in range(STARTS - 1):
            async with LoggedPicker(*source, config=FULL_DUPLEX.picker_config) as picker:
                starts.append(_start(picker))
        picker = await stack.enter_async_context(LoggedPicker(*source, config=FULL_DUPLEX.picker_config))
        starts.append(_start(picker))
        for result in _start_lines(starts):
            yield result
        yield await _rest(picker)
        endpoints = [f"{address_of(index // len(MODELS), index % len(MODELS))}:{port}" for index in range(PODS)]
        gateway = await stack.enter_async_context(
            Envoy(GatewaySettings(endpoints=endpoints, picker=picker.address, processing_mode=FULL_DUPLEX.filter))
        )
        for result in await _storms(picker, gateway.url, pods.url):
            yield result


def _start(picker: LoggedPicker) -> _Start:
    return _Start(
        picker.after_start_s(SERVING),
        picker.after_start_s(NEW_ENDPOINT),
        picker.after_start_s(READY),
        picker.cpu_s,
        picker.resident_bytes,
    )


def _start_lines(starts: Sequence[_Start]) -> list[Result]:
    ready_s = median(start.ready_s for start in starts)
    resident = median(start.resident_bytes for start in starts)
    return [
        Result(
            name=f"{PODS:,} pods: from start to ready",
            figure=_spread([start.ready_s for start in starts], "s"),
            goal=f"≤ {START_GOAL_S:g} s",
            is_ok=ready_s <= START_GOAL_S,
        ),
        Result(name="   until it serves", figure=_spread([start.serving_s for start in starts], "s")),
        Result(
            name="   pool and pods listed",
            figure=_spread([start.listed_s - start.serving_s for start in starts], "s"),
        ),
        Result(
            name="   every endpoint's first probe",
            figure=_spread([start.ready_s - start.listed_s for start in starts], "s"),
        ),
        Result(name="   CPU until then", figure=_spread([start.cpu_s for start in starts], "s")),
        Result(
            name="   memory then",
            figure=f"{resident / 1e6:.0f} MB",
            goal=f"≤ {MEMORY_GOAL_BYTES / 1e6:.0f} MB",
            is_ok=resident <= MEMORY_GOAL_BYTES,
        ),
    ]


async def _rest(picker: Picker) -> Result:
    """Nothing happens but that every endpoint is probed every five seconds."""
    before_s = picker.cpu_s
    await asyncio.sleep(IDLE_S)
    return Result(name=f"{PODS:,} pods at rest: CPU", figure=f"{(picker.cpu_s - before_s) / IDLE_S:.2f} cores")


async def _storms(picker: LoggedPicker, url: str, api: str) -> list[Result]:
    requests = [chat_request(model) for model in MODELS]

    async def send() -> _Round:
        before_s, loop = picker.cpu_s, asyncio.get_running_loop()
        begun_s = loop.time()
        latencies = await run_paced(url, requests, requests_per_s=REQUESTS_PER_S, duration_s=ROUND_S)
        return _Round(latencies, (picker.cpu_s - before_s) / (loop.time() - begun_s))

    await send()
    routed_before = await picker.routed()
    quiet, stormy, flips = [], [], []
    for index in range(ROUNDS):
        for is_stormy in (True, False) if index % 2 else (False, True):
            if is_stormy:
                async with asyncio.TaskGroup() as both:
                    storm = both.create_task(_storm(api))
                    stormy.append(await send())
                flips += storm.result().flips
                await asyncio.sleep(1.0)  # what became ready last is probed
            else:
                quiet.append(await send())
    sent = sum(round_.latencies.requests for round_ in (*quiet, *stormy))
    if (routed := await picker.routed() - routed_before) < sent:
        raise BenchError(f"of {sent} requests the picker routed {routed:.0f}")
    return [*_pick_lines(quiet, stormy), *_lag_lines(picker, flips)]


async def _storm(api: str) -> Storm:
    """Errors: BenchError where the server did not keep up."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        query = {"events_per_s": str(EVENTS_PER_S), "duration_s": str(ROUND_S)}
        async with session.post(f"{api}/storm", params=query) as response:
            storm = msgspec.json.decode(await response.read(), type=Storm)
    if storm.events < 0.9 * EVENTS_PER_S * ROUND_S:
        raise BenchError(f"the storm had {storm.events} events in {ROUND_S} s")
    return storm


def _pick_lines(quiet: Sequence[_Round], stormy: Sequence[_Round]) -> list[Result]:
    def figures(rounds: Sequence[_Round], percent: int) -> list[float]:
        return [round_.latencies.p99_us if percent == 99 else round_.latencies.p50_us for round_ in rounds]

    p99 = Ratio.of(figures(stormy, 99), figures(quiet, 99))
    storm, calm = median(round_.cores for round_ in stormy), median(round_.cores for round_ in quiet)
    return [
        Result(
            name=f"Storm, {EVENTS_PER_S} events/s: p99 of picks",
            figure=f"{median(figures(stormy, 99)):,.0f} µs",
            reference=f"{median(figures(quiet, 99)):,.0f} µs",
            ratio=str(p99),
            goal=f"≤ {GOAL:g} ×",
            is_ok=p99.median <= GOAL,
        ),
        Result(
            name=f"   their p50, at {REQUESTS_PER_S}/s",
            figure=f"{median(figures(stormy, 50)):,.0f} µs",
            reference=f"{median(figures(quiet, 50)):,.0f} µs",
            ratio=str(Ratio.of(figures(stormy, 50), figures(quiet, 50))),
        ),
        Result(
            name="   CPU of the picker",
            figure=f"{storm:.2f} cores",
            reference=f"{calm:.2f} cores",
            ratio=str(Ratio.of([round_.cores for round_ in stormy], [round_.cores for round_ in quiet])),
        ),
        Result(name="   CPU per event", figure=f"{(storm - calm) / EVENTS_PER_S * 1e6:.0f} µs"),
    ]


def _lag_lines(picker: LoggedPicker, flips: Sequence[Flip]) -> list[Result]:
    """Errors: BenchError where the picker never learned of a flip."""
    said: dict[str, list[Said]] = {}
    for line in picker.said:
        if line.what == CHANGED_ENDPOINT and line.endpoint is not None:
            said.setdefault(line.endpoint, []).append(line)

    def lag_s(flip: Flip, state: tuple[bool, bool]) -> float:
        # The log has whole milliseconds, cut off.
        after = (line.at_s + 0.0005 for line in said.get(flip.pod, ()) if line.state == state)
        if (at_s := next((at_s for at_s in after if at_s >= flip.at_s - 0.0005), None)) is None:
            raise BenchError(f"the picker never said that {flip.pod} became {state}")
        return at_s - flip.at_s

    lost = [lag_s(flip, (False, False)) for flip in flips if not flip.is_ready]
    regained = [lag_s(flip, (True, True)) for flip in flips if flip.is_ready]
    late_s = percentile(lost, 99)
    return [
        Result(
            name="   from NotReady sent to no more picks",
            figure=_percentiles(lost),
            goal=f"p99 ≤ {NOT_READY_GOAL_S * 1e3:.0f} ms",
            is_ok=late_s <= NOT_READY_GOAL_S,
        ),
        Result(name="   from Ready sent to picks, a probe in it", figure=_percentiles(regained)),
    ]


def _spread(values: Sequence[float], unit: str) -> str:
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f}) {unit}"


def _percentiles(seconds: Sequence[float]) -> str:
    p50, p99 = percentile(seconds, 50), percentile(seconds, 99)
    return f"{p50 * 1e3:.1f}, p99 {p99 * 1e3:.1f} ms"
