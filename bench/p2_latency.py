"""P2: latency through a real Envoy in full duplex, ours against an empty servicer in the same place.

The median at one connection, which is the time of a request when nothing else is going on; and the 99th percentile at
half of the throughput that the reference reaches in the same run, in an open loop.
"""

from collections.abc import AsyncIterator
from statistics import median

from bench.chat import ENDPOINT_MODELS
from bench.endpoints import serve_endpoints
from bench.modes import FULL_DUPLEX
from bench.paced import Latencies, run_paced
from bench.results import BenchError, Ratio, Result
from bench.sides import Sides, serve_sides
from bench.wrk import ensure_wrk, run_wrk

ROUNDS = 6
SINGLE_ROUND_S = 1
LOADED_ROUND_S = 3
SATURATING_CONNECTIONS = 32
SATURATING_S = 3
SINGLE_GOAL = 1.15
LOADED_GOAL = 1.5


async def run() -> AsyncIterator[Result]:
    """A line for one connection, one for half load, and one for how late the load itself was."""
    ensure_wrk()
    async with serve_endpoints(ENDPOINT_MODELS) as endpoints, serve_sides(FULL_DUPLEX, endpoints) as sides:
        yield await _one_connection(sides)
        for result in await _half_load(sides):
            yield result


async def _one_connection(sides: Sides) -> Result:
    """Errors: BenchError where the picker did not route all of it."""
    routed_before = await sides.ours.server.routed()
    figures: dict[str, list[float]] = {sides.ours.url: [], sides.reference.url: []}
    requests = 0
    for index in range(1 + ROUNDS):
        for side in sides.in_turn(index):
            load = await run_wrk(side.url, sides.requests, connections=1, duration_s=SINGLE_ROUND_S)
            requests += load.requests if side is sides.ours else 0
            if index:  # the first one warms up
                figures[side.url].append(load.p50_us)
    await _check_routed(sides, routed_before, requests)
    ours, theirs = figures.values()
    ratio = Ratio.of(ours, theirs)
    return Result(
        name="P2 p50, one connection",
        figure=f"{median(ours):,.0f} µs",
        reference=f"{median(theirs):,.0f} µs",
        ratio=str(ratio),
        goal=f"≤ {SINGLE_GOAL} ×",
        is_ok=ratio.median <= SINGLE_GOAL,
    )


async def _half_load(sides: Sides) -> list[Result]:
    """Errors: BenchError where the picker did not route all of it."""
    saturated = await run_wrk(
        sides.reference.url, sides.requests, connections=SATURATING_CONNECTIONS, duration_s=SATURATING_S
    )
    rate = saturated.requests_per_s / 2
    routed_before = await sides.ours.server.routed()
    figures: dict[str, list[Latencies]] = {sides.ours.url: [], sides.reference.url: []}
    for index in range(ROUNDS):
        for side in sides.in_turn(index):
            figures[side.url].append(
                await run_paced(side.url, sides.requests, requests_per_s=rate, duration_s=LOADED_ROUND_S)
            )
    ours, theirs = figures.values()
    await _check_routed(sides, routed_before, sum(latencies.requests for latencies in ours))
    ratio = Ratio.of([latencies.p99_us for latencies in ours], [latencies.p99_us for latencies in theirs])
    return [
        Result(
            name=f"P2 p99 at half load, {rate:,.0f}/s",
            figure=f"{median(latencies.p99_us for latencies in ours):,.0f} µs",
            reference=f"{median(latencies.p99_us for latencies in theirs):,.0f} µs",
            ratio=str(ratio),
            goal=f"≤ {LOADED_GOAL} ×",
            is_ok=ratio.median <= LOADED_GOAL,
        ),
        Result(
            name="   p50 of the same",
            figure=f"{median(latencies.p50_us for latencies in ours):,.0f} µs",
            reference=f"{median(latencies.p50_us for latencies in theirs):,.0f} µs",
            ratio=str(Ratio.of([latencies.p50_us for latencies in ours], [latencies.p50_us for latencies in theirs])),
        ),
        Result(
            name="   of that: the load itself was late, p99",
            figure=f"{median(latencies.late_p99_us for latencies in ours):,.0f} µs",
            reference=f"{median(latencies.late_p99_us for latencies in theirs):,.0f} µs",
        ),
    ]


async def _check_routed(sides: Sides, before: float, requests: int) -> None:
    routed = await sides.ours.server.routed() - before
    if routed < requests:
        raise BenchError(f"of {requests} requests the picker routed {routed:.0f}")
