"""Routing policies end to end: how soon an answer begins where prompts share beginnings, through a real Envoy.

Six `extproc sim`, each a process with a prefix cache of its own that holds the beginnings of about half of the groups,
behind an Envoy that balances by itself (round robin, least request) or asks `extproc serve` with its defaults, in
`detach` and in `track`. Every policy gets the same requests at the same times, in an open loop, from engines that have
just started: first at a rate at which round robin keeps up, then at one that only those can serve who find most of the
beginnings cached. Capacity is that of the engines if every beginning were cached.

Round robin and least request fall behind for as long as the second rate lasts, so that their times there, and the
ratios, say how long that was. What is still open at the end counts with the time that it had waited by then.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp

from bench.modes import FULL_DUPLEX, FULL_DUPLEX_TRACK, Mode
from bench.processes import Picker, PythonServer, endpoints_file
from bench.results import BenchError, Result
from bench.shared_prefixes import MEAN_QUESTION_TOKENS, MODEL, Arrival, arrivals
from bench.streamed import FirstTokens, send_streamed
from extproc.cli.demo.bootstrap import Balancing
from extproc.cli.demo.envoy import Envoy, GatewaySettings

ENGINES = 6
PREFILL_TOKENS_PER_S = 4000
KV_BLOCKS = 2048
"""Of 16 tokens: 32,768 in all. All beginnings together have 49,152."""
CAPACITY_PER_S = ENGINES * PREFILL_TOKENS_PER_S / MEAN_QUESTION_TOKENS
WARM_UP_S = 8
PHASES = ((0.25, 25), (0.75, 35))
"""Share of the capacity, and seconds."""
PATIENCE_S = 5
SEED = 4


@dataclass(frozen=True, eq=False)
class Policy:
    """A way to choose an engine."""

    name: str
    mode: Mode | None = None
    """That of the picker; None: Envoy balances by itself."""
    balancing: Balancing = "round_robin"

    def gateway(self, endpoints: Sequence[str], picker: str | None) -> GatewaySettings:
        """The Envoy that balances so."""
        if self.mode is None:
            return GatewaySettings(endpoints=endpoints, balancing=self.balancing)
        return GatewaySettings(endpoints=endpoints, picker=picker, processing_mode=self.mode.filter)


OURS = (Policy("detach", FULL_DUPLEX), Policy("track", FULL_DUPLEX_TRACK))
OTHERS = (Policy("round robin"), Policy("least request", balancing="least_request"))


@dataclass(frozen=True)
class Phase:
    """What came of one rate."""

    times: FirstTokens
    hit_ratio: float
    """Tokens found in the caches, of all tokens of prompts that were begun."""
    cores: Mapping[str, float]
    """CPU by who used it: engines, picker, and what was left of the machine (idle)."""


class Engine(PythonServer):
    """One `extproc sim` on a free port."""

    def __init__(self) -> None:
        super().__init__(
            *("extproc", "sim", "--model", MODEL, "--port=0", "--token-delay=10ms"),
            *(f"--prefill-rate={PREFILL_TOKENS_PER_S}", f"--kv-blocks={KV_BLOCKS}"),
        )
        self.address = ""

    async def _become_ready(self) -> None:
        self.address = (await self._line(r" listening on http://(\S+) "))[1]

    async def prefix_tokens(self) -> tuple[float, float]:
        """Tokens of prompts that were looked for in its cache so far, and those that were found."""
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(f"http://{self.address}/metrics") as response:
                page = await response.text()
        queries, hits = (
            re.search(rf"^vllm:prefix_cache_{name}_total\S* (\S+)$", page, re.MULTILINE) for name in ("queries", "hits")
        )
        if queries is None or hits is None:
            raise BenchError("the engine's metrics page does not tell of its prefix cache")
        return float(queries[1]), float(hits[1])


class Site:
    """Engines that have just started, and a gateway to them."""

    def __init__(self, engines: Sequence[Engine], picker: Picker | None, url: str) -> None:
        self._engines = engines
        self._picker = picker
        self._url = url

    async def run(self, requests: Sequence[Arrival]) -> Phase:
        """Sends them, and takes the figures."""
        tokens, cpu_s, begun_s = await self._tokens(), self._cpu_s(), asyncio.get_running_loop().time()
        times = await send_streamed(self._url, requests, patience_s=PATIENCE_S)
        took_s = asyncio.get_running_loop().time() - begun_s
        queries, hits = (after - before for after, before in zip(await self._tokens(), tokens, strict=True))
        cores = {name: (used_s - cpu_s[name]) / took_s for name, used_s in self._cpu_s().items()}
        return Phase(times, hits / queries, cores)

    async def _tokens(self) -> tuple[float, float]:
        queries, hits = zip(*[await engine.prefix_tokens() for engine in self._engines], strict=True)
        return sum(queries), sum(hits)

    def _cpu_s(self) -> dict[str, float]:
        picker = {} if self._picker is None else {"picker": self._picker.cpu_s}
        return {"engines": sum(engine.cpu_s for engine in self._engines), **picker, "idle": _idle_s()}


async def run() -> AsyncIterator[Result]:
    """For each rate a line for each policy and the ratios of ours to the others; then the CPU that was left."""
    phases = {policy: await _measure(policy) for policy in (*OTHERS, *OURS)}
    for index, (share, _) in enumerate(PHASES):
        here = {policy: of_policy[index] for policy, of_policy in phases.items()}
        yield Result(
            name=f"R-e2e, {share * CAPACITY_PER_S:.1f}/s, {share:.0%} of capacity", figure="p50", reference="p90"
        )
        for policy, phase in here.items():
            yield _policy_line(policy, phase)
        for ours in OURS:
            for other in OTHERS:
                yield _ratio_line(ours, here[ours].times, other, here[other].times)
    for policy, of_policy in phases.items():
        yield _cpu_line(policy, of_policy[-1])


async def _measure(policy: Policy) -> list[Phase]:
    """The phases, one after another, by the same engines."""
    rng = Random(SEED)
    async with _serve(policy) as site:
        await site.run(arrivals(rng, requests_per_s=PHASES[0][0] * CAPACITY_PER_S, duration_s=WARM_UP_S))
        return [
            await site.run(arrivals(rng, requests_per_s=share * CAPACITY_PER_S, duration_s=duration_s))
            for share, duration_s in PHASES
        ]


@asynccontextmanager
async def _serve(policy: Policy) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        engines = [Engine() for _ in range(ENGINES)]
        for engine in engines:
            await stack.enter_async_context(engine)
        endpoints = [engine.address for engine in engines]
        picker = None
        if policy.mode is not None:
            picker = Picker(endpoints_file(endpoints, directory), config=policy.mode.picker_config)
            await stack.enter_async_context(picker)
        settings = policy.gateway(endpoints, picker.address if picker is not None else None)
        gateway = await stack.enter_async_context(Envoy(settings))
        yield Site(engines, picker, gateway.url)


def _policy_line(policy: Policy, phase: Phase) -> Result:
    times = phase.times
    return Result(
        name=f"   {policy.name}: hit rate {phase.hit_ratio:.2f}",
        figure=_time(times, 50),
        reference=_time(times, 90),
        ratio=f"{times.failed} failed, {len(times.open_s)} open",
        goal="none failed",
        is_ok=not times.failed,
    )


def _ratio_line(ours: Policy, our_times: FirstTokens, other: Policy, other_times: FirstTokens) -> Result:
    return Result(
        name=f"   {ours.name} to {other.name}",
        figure=_ratio(our_times, other_times, 50),
        reference=_ratio(our_times, other_times, 90),
        goal="both < 1 ×",
        is_ok=all(
            not our_times.is_bound(percent) and our_times.percentile_s(percent) < other_times.percentile_s(percent)
            for percent in (50, 90)
        ),
    )


def _time(times: FirstTokens, percent: float) -> str:
    return f"{'> ' if times.is_bound(percent) else ''}{times.percentile_s(percent):.2f} s"


def _ratio(ours: FirstTokens, others: FirstTokens, percent: float) -> str:
    """At most that, where the others' time is the least that it can be; ours must not be."""
    if ours.is_bound(percent):
        return "not known"
    is_bound = others.is_bound(percent)
    return f"{'< ' if is_bound else ''}{ours.percentile_s(percent) / others.percentile_s(percent):.2f} ×"


def _cpu_line(policy: Policy, phase: Phase) -> Result:
    used = ", ".join(f"{name} {cores:.2f}" for name, cores in phase.cores.items() if name != "idle")
    return Result(
        name=f"   cores: {policy.name}",
        figure=f"{phase.cores['idle']:.2f} idle",
        reference=used,
        ratio=f"late p99 {phase.times.late_p99_s * 1e3:.0f} ms",
    )


def _idle_s() -> float:
    """CPU seconds that this machine has not used since it was started, over all cores."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[4]) / os.sysconf("SC_CLK_TCK")
