"""What more cores would buy: probing in another process, more pickers, and how Envoy spreads its streams over those.

Three questions, each behind a real Envoy in full duplex. Whether probing hurts picks: two pickers have the same 1,000
endpoints, of which the first probes them at default intervals and the second once an hour. Load goes to the one, and
in the next round to the other, so that in both the same is probed, inside and outside of the process that picks.
Whether a second picker doubles the throughput, and what a request costs then; on two cores, which load, gateway and
endpoints need too, it cannot double, and CPU per request tells more. And which picker gets how many streams and
connections, by Envoy's own counts, with one worker thread and with two.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiohttp
import msgspec

from bench.chat import ENDPOINT_MODELS, MODELS, Request, chat_requests
from bench.endpoints import serve_endpoints, serve_nets
from bench.loop_turns import Turns, measure_turns
from bench.modes import FULL_DUPLEX
from bench.paced import Latencies, run_paced
from bench.pods import address_of
from bench.processes import Picker, endpoints_file
from bench.results import BenchError, Ratio, Result
from bench.scan import fetch_page
from bench.wrk import ensure_wrk, run_wrk
from extproc.cli.demo.envoy import Envoy, GatewaySettings

ENDPOINTS = 1_000
RARELY = {"probes": {"models": {"interval": "1h"}, "metrics": {"interval": "1h"}}}
CONNECTIONS = 32
SATURATING_S = 3
ROUNDS = 6
ROUND_S = 3
WORKERS = (1, 2)
MOST_UNEVEN = 0.1
"""Part of the requests by which two pickers' shares may differ from a half."""


@dataclass(frozen=True)
class _Pick:
    """A round at one picker."""

    latencies: Latencies
    cores: float
    """CPU of the picker that was asked."""


async def run() -> AsyncIterator[Result]:
    """Lines for each of the three questions."""
    ensure_wrk()
    for result in await _probing():
        yield result
    async with serve_endpoints(ENDPOINT_MODELS) as endpoints, AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        source = endpoints_file(endpoints, directory)
        pickers = [await stack.enter_async_context(Picker(source, config=FULL_DUPLEX.picker_config)) for _ in range(2)]
        for result in await _replicas(endpoints, pickers):
            yield result
        for workers in WORKERS:
            for result in await _spread(endpoints, pickers, workers):
                yield result


async def _probing() -> list[Result]:
    requests = chat_requests()
    page = (await fetch_page()).decode()
    async with serve_nets(MODELS, metrics_page=page) as port, AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        endpoints = [f"{address_of(index // len(MODELS), index % len(MODELS))}:{port}" for index in range(ENDPOINTS)]
        source = endpoints_file(endpoints, directory)
        inside = await stack.enter_async_context(Picker(source, config=FULL_DUPLEX.picker_config))
        outside = await stack.enter_async_context(Picker(source, config=FULL_DUPLEX.picker_config | RARELY))
        urls = {
            picker: (await stack.enter_async_context(_gateway(endpoints, [picker]))).url for picker in (inside, outside)
        }
        saturated = await run_wrk(urls[outside], requests, connections=CONNECTIONS, duration_s=SATURATING_S)
        rate = saturated.requests_per_s / 2
        await run_wrk(urls[inside], requests, connections=CONNECTIONS, duration_s=1)
        picks: dict[Picker, list[_Pick]] = {inside: [], outside: []}
        pages, begun_s = await _pages(inside), time.monotonic()
        for index in range(ROUNDS):
            for picker in (inside, outside) if index % 2 else (outside, inside):
                picks[picker].append(await _pick(picker, urls[picker], requests, rate))
        pages = (await _pages(inside) - pages) / (time.monotonic() - begun_s)
        await stack.aclose()  # the rest is for nobody but the probes
        turns = await measure_turns(endpoints)
    return [*_probing_lines(picks[inside], picks[outside], rate=rate, pages_per_s=pages), *_turn_lines(turns)]


async def _pick(picker: Picker, url: str, requests: Sequence[Request], rate: float) -> _Pick:
    """Errors: BenchError where the picker did not route all of it."""
    routed, cpu_s, begun_s = await picker.routed(), picker.cpu_s, time.monotonic()
    latencies = await run_paced(url, requests, requests_per_s=rate, duration_s=ROUND_S)
    cores = (picker.cpu_s - cpu_s) / (time.monotonic() - begun_s)
    routed = await picker.routed() - routed
    if routed < latencies.requests:
        raise BenchError(f"of {latencies.requests} requests the picker routed {routed:.0f}")
    return _Pick(latencies, cores)


async def _pages(picker: Picker) -> float:
    return (await picker.counters("extproc_probe_seconds_count")).get('kind="metrics"', 0.0)


def _probing_lines(
    inside: Sequence[_Pick], outside: Sequence[_Pick], *, rate: float, pages_per_s: float
) -> list[Result]:
    rows: tuple[tuple[str, Callable[[_Pick], float], str], ...] = (
        (f"p99 at {rate:,.0f}/s, probes inside / outside", lambda each: each.latencies.p99_us, "{:,.0f} µs"),
        ("   p50", lambda each: each.latencies.p50_us, "{:,.0f} µs"),
        ("   CPU of the picker that is asked", lambda each: each.cores, "{:.2f} cores"),
    )
    lines = []
    for name, figure_of, form in rows:
        ours, theirs = ([figure_of(each) for each in side] for side in (inside, outside))
        figure, reference = form.format(median(ours)), form.format(median(theirs))
        lines.append(Result(name=name, figure=figure, reference=reference, ratio=str(Ratio.of(ours, theirs))))
    return [*lines, Result(name="   pages read meanwhile", figure=f"{pages_per_s:.0f} /s")]


def _turn_lines(turns: Turns) -> list[Result]:
    return [
        Result(
            name="   an event loop with these probes only",
            figure=f"{turns.cores:.2f} cores",
            reference=f"{turns.probes_per_s:.0f} probes/s",
        ),
        Result(
            name="   … and what a pick would wait for them",
            figure=f"{turns.mean_wait_us:,.0f} µs, mean",
            reference=f"{turns.p99_wait_us:,.0f} µs, p99",
        ),
    ]


async def _replicas(endpoints: Sequence[str], pickers: Sequence[Picker]) -> list[Result]:
    """One picker against two, in alternating rounds."""
    requests = chat_requests()
    per_s: dict[int, list[float]] = {1: [], 2: []}
    cpu_us: dict[int, list[float]] = {1: [], 2: []}
    async with _gateway(endpoints, pickers[:1]) as one, _gateway(endpoints, pickers) as two:
        for index in range(1 + ROUNDS):
            for count, gateway in ((1, one), (2, two)) if index % 2 else ((2, two), (1, one)):
                cpu_s = sum(picker.cpu_s for picker in pickers)
                load = await run_wrk(gateway.url, requests, connections=CONNECTIONS, duration_s=ROUND_S)
                if index:  # the first one warms up
                    per_s[count].append(load.requests_per_s)
                    cpu_us[count].append((sum(picker.cpu_s for picker in pickers) - cpu_s) / load.requests * 1e6)
    return [
        Result(
            name=name,
            figure=f"{median(figures[2]):,.0f} {unit}",
            reference=f"{median(figures[1]):,.0f} {unit}",
            ratio=str(Ratio.of(figures[2], figures[1])),
        )
        for name, figures, unit in (
            ("Two pickers / one", per_s, "/s"),
            ("   CPU of the pickers per request", cpu_us, "µs"),
        )
    ]


async def _spread(endpoints: Sequence[str], pickers: Sequence[Picker], workers: int) -> list[Result]:
    """Errors: BenchError where Envoy and the pickers do not count the same."""
    async with _gateway(endpoints, pickers, workers=workers) as gateway:
        routed = [await picker.routed() for picker in pickers]
        load = await run_wrk(gateway.url, chat_requests(), connections=CONNECTIONS, duration_s=ROUND_S)
        routed = [await picker.routed() - before for picker, before in zip(pickers, routed, strict=True)]
        hosts = await _picker_hosts(gateway)
    streams = [hosts[picker.address]["rq_total"] for picker in pickers]
    connections = [hosts[picker.address]["cx_total"] for picker in pickers]
    if sum(routed) < load.requests or sum(streams) < load.requests:
        raise BenchError(f"of {load.requests} requests Envoy sent {streams}, the pickers routed {routed}")
    share = routed[0] / sum(routed)
    return [
        Result(
            name=f"Spread over two pickers, {workers} worker(s)",
            figure=" : ".join(f"{count:,.0f}" for count in routed),
            ratio=f"{share:.3f}",
            goal=f"0.5 ± {MOST_UNEVEN}",
            is_ok=abs(share - 0.5) <= MOST_UNEVEN,
        ),
        Result(name="   connections to each", figure=" : ".join(str(count) for count in connections)),
    ]


async def _picker_hosts(gateway: Envoy) -> dict[str, dict[str, int]]:
    """What Envoy counted of each picker, by its address."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with session.get(f"http://127.0.0.1:{gateway.admin_port}/clusters?format=json") as response:
            clusters = msgspec.json.decode(await response.read())["cluster_statuses"]
    hosts = next(cluster["host_statuses"] for cluster in clusters if cluster["name"] == "picker")
    return {
        "{address}:{port_value}".format(**host["address"]["socket_address"]): {
            stat["name"]: int(stat.get("value", 0)) for stat in host["stats"]
        }
        for host in hosts
    }


def _gateway(endpoints: Sequence[str], pickers: Sequence[Picker], *, workers: int = 1) -> Envoy:
    settings = GatewaySettings(
        endpoints=endpoints, picker=[picker.address for picker in pickers], processing_mode=FULL_DUPLEX.filter
    )
    return Envoy(settings, concurrency=workers)
