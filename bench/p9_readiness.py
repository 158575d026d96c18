"""P9: how soon picks follow readiness: the last request to a pod that became NotReady, the first to one that is ready.

Pods of an API server (`bench.pod_server`) become not ready and ready again, several a second, under a steady load
through a real Envoy in full duplex, no two of whose prompts begin alike: a beginning that others have in their cache
would keep requests from the pod that comes. Times are those at which an event was sent, and at which an engine
(`bench.engines`) had read a request: what is on its way when the event comes counts as late. First the picker has to
ask a pod that became ready for its models; its 300 ms begin with that answer, and end with the first request, which the
load has to bring.
"""

import asyncio
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from bench.chat import varied_request
from bench.engines import Asked, Engines
from bench.modes import FULL_DUPLEX
from bench.paced import percentile, run_paced
from bench.pod_server import Flip, PodServer, Storm
from bench.pods import BenchPod, address_of
from bench.processes import Picker, pool_flags
from bench.results import BenchError, Result
from extproc.cli.demo.envoy import Envoy, GatewaySettings

MODEL = "llama-8b"
PODS = 24
EVENTS_PER_S = 30
"""A fifth of them flip a pod (`bench.pod_server`)."""
REQUESTS_PER_S = 600
REQUESTS = [varied_request(MODEL, number) for number in range(2_000)]
ROUNDS = 4
ROUND_S = 15
LEAST_FLIPS = 50
"""Of each kind: fewer have no 99th percentile worth its name."""
LOST_GOAL_S = 0.050
GAINED_GOAL_S = 0.300


@dataclass(frozen=True)
class Lags:
    """In seconds, one for each flip."""

    lost_s: Sequence[float]
    """From NotReady sent to the last request; 0 where none came after it."""
    gained_s: Sequence[float]
    """From the answer to `/v1/models` to the first request."""
    probed_s: Sequence[float]
    """From Ready sent to that answer."""


async def run() -> AsyncIterator[Result]:
    """A line for each goal, and one for how soon a pod that became ready is asked for its models."""
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Engines((MODEL,)))
        pods = await stack.enter_async_context(PodServer((MODEL,), pods=PODS, port=engines.port))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        picker = await stack.enter_async_context(Picker(*pool_flags(pods.url, directory)))
        addresses = [address_of(index, 0) for index in range(PODS)]
        endpoints = [f"{address}:{engines.port}" for address in addresses]
        gateway = await stack.enter_async_context(
            Envoy(GatewaySettings(endpoints=endpoints, picker=picker.address, processing_mode=FULL_DUPLEX.filter))
        )
        names = {_pod_name(index, address, engines.port): address for index, address in enumerate(addresses)}
        rounds = [await _flip_under_load(engines, gateway.url, pods.url, names) for _ in range(ROUNDS)]
    lost = [lag_s for lags in rounds for lag_s in lags.lost_s]
    gained = [lag_s for lags in rounds for lag_s in lags.gained_s]
    probed = [lag_s for lags in rounds for lag_s in lags.probed_s]
    if min(len(lost), len(gained)) < LEAST_FLIPS:
        raise BenchError(f"there were {len(lost)} and {len(gained)} flips, not {LEAST_FLIPS}")
    yield _line("P9 NotReady sent → last request, p99", lost, LOST_GOAL_S)
    yield _line("P9 models answered → first request, p99", gained, GAINED_GOAL_S)
    yield _line("   Ready sent → models answered, p99", probed)


def _line(name: str, lags_s: Sequence[float], goal_s: float | None = None) -> Result:
    late_s = percentile(lags_s, 99)
    return Result(
        name=name,
        figure=f"{late_s * 1e3:.1f} ms",
        reference=f"p50 {percentile(lags_s, 50) * 1e3:.1f} ms",
        ratio=f"max {max(lags_s) * 1e3:.1f}, n={len(lags_s)}",
        goal="" if goal_s is None else f"≤ {goal_s * 1e3:.0f} ms",
        is_ok=None if goal_s is None else late_s <= goal_s,
    )


def _pod_name(index: int, address: str, port: int) -> str:
    return BenchPod.build(index, model=MODEL, address=address, port=port).name


async def _flip_under_load(engines: Engines, url: str, api: str, names: Mapping[str, str]) -> Lags:
    """Errors: BenchError for an answer that is no 200."""
    await engines.seen()
    async with asyncio.TaskGroup() as both:
        # The load outlasts the flips: a pod that becomes ready last has to see requests too.
        load = run_paced(url, REQUESTS, requests_per_s=REQUESTS_PER_S, duration_s=ROUND_S + 2)
        both.create_task(load)
        flips = await _storm(api)
    return read_lags(flips, (await engines.seen()).asked, names)


async def _storm(api: str) -> Sequence[Flip]:
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        query = {"events_per_s": str(EVENTS_PER_S), "duration_s": str(ROUND_S)}
        async with session.post(f"{api}/storm", params=query) as response:
            return msgspec.json.decode(await response.read(), type=Storm).flips


def read_lags(flips: Sequence[Flip], asked: Sequence[Asked], names: Mapping[str, str]) -> Lags:
    """What the engines saw between the flips. `asked` is in order of time; `names`: address by pod.

    Errors: BenchError where a pod that stayed ready was never asked for its models, or never got a request.
    """
    probes: dict[str, list[float]] = {address: [] for address in names.values()}
    requests: dict[str, list[float]] = {address: [] for address in names.values()}
    for each in asked:
        (probes if each.is_probe else requests)[each.address].append(each.at_s)
    lost, gained, probed = [], [], []
    for index, flip in enumerate(flips):
        address = names[flip.pod]
        until_s = next((later.at_s for later in flips[index + 1 :] if later.pod == flip.pod), float("inf"))
        sent = requests[address]
        if not flip.is_ready:
            last = bisect_left(sent, until_s) - 1
            lost.append(max(0.0, sent[last] - flip.at_s) if last >= 0 else 0.0)
            continue
        answered_s = _first_after(probes[address], flip.at_s)
        first_s = _first_after(sent, answered_s)
        if first_s < until_s:
            gained.append(first_s - answered_s)
            probed.append(answered_s - flip.at_s)
        elif until_s - flip.at_s > 2 * GAINED_GOAL_S:
            raise BenchError(f"{flip.pod} became ready and got no request")
    return Lags(lost, gained, probed)


def _first_after(times_s: Sequence[float], at_s: float) -> float:
    index = bisect_right(times_s, at_s)
    return times_s[index] if index < len(times_s) else float("inf")
