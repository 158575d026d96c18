"""P1: decisions per second through a real Envoy, ours against an empty servicer in the same place.

Full duplex, 0.5 KB bodies for three models on ten endpoints. Both run in the same minute, in short alternating rounds.
"""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from bench.endpoints import serve_endpoints
from bench.processes import Picker, PythonServer, Reference
from bench.results import BenchError, Ratio, Result
from bench.wrk import Load, ensure_wrk, run_wrk
from extproc.cli.demo.envoy import DETACHED, ISTIO, Envoy, GatewaySettings

MODELS = ("llama-8b", "mixtral7", "qwen3-4b")
"""All of one length, so that every body and every answer is of one size."""
ENDPOINT_MODELS = tuple(MODELS[index % 3] for index in range(10))
BODY_BYTES = 512
CONNECTIONS = 32
ROUNDS = 6
ROUND_S = 1
GOAL = 0.85
MODES = {"Envoy without response phase": DETACHED, "Istio's filter": ISTIO}


def body_for(model: str) -> bytes:
    """A chat completion of `BODY_BYTES` bytes."""
    head, tail = f'{{"model":"{model}","messages":[{{"role":"user","content":"', '"}],"max_tokens":64}'
    return (head + "a" * (BODY_BYTES - len(head) - len(tail)) + tail).encode()


async def run() -> AsyncIterator[Result]:
    """A line for each set of processing modes, and one below it with the CPU that a request took."""
    ensure_wrk()
    bodies = [body_for(model) for model in MODELS]
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        endpoints = await stack.enter_async_context(serve_endpoints(ENDPOINT_MODELS))
        picker = await stack.enter_async_context(Picker(endpoints, directory))
        reference = await stack.enter_async_context(Reference(endpoints, bodies[0]))
        for name, mode in MODES.items():
            gateways = [
                Envoy(GatewaySettings(endpoints=endpoints, picker=address, processing_mode=mode))
                for address in (picker.address, reference.address)
            ]
            async with gateways[0], gateways[1]:
                routed_before = await _routed(picker)
                ours = _Side(picker, gateways[0].url, bodies)
                theirs = _Side(reference, gateways[1].url, bodies)
                await ours.warm_up()
                await theirs.warm_up()
                for index in range(ROUNDS):
                    for side in (ours, theirs) if index % 2 else (theirs, ours):
                        await side.measure()
                routed = await _routed(picker) - routed_before
            if routed < sum(load.requests for load in ours.loads):
                raise BenchError(f"{name}: some of the requests were never routed by the picker ({routed:.0f} were)")
            for result in _results(name, ours, theirs):
                yield result


class _Side:
    """One of the two servers, its gateway, and what was measured of it round by round."""

    def __init__(self, server: PythonServer, url: str, bodies: Sequence[bytes]) -> None:
        self._server = server
        self._url = url
        self._bodies = bodies
        self.loads: list[Load] = []
        self.cpu_us: list[float] = []
        """Of the server's process, per request."""

    async def warm_up(self) -> None:
        await run_wrk(self._url, self._bodies, connections=CONNECTIONS, duration_s=ROUND_S)

    async def measure(self) -> None:
        before_s = self._server.cpu_s
        load = await run_wrk(self._url, self._bodies, connections=CONNECTIONS, duration_s=ROUND_S)
        self.loads.append(load)
        self.cpu_us.append((self._server.cpu_s - before_s) / load.requests * 1e6)

    @property
    def rates(self) -> list[float]:
        return [load.requests_per_s for load in self.loads]


async def _routed(picker: Picker) -> float:
    samples = await picker.counters("extproc_requests_total")
    return sum(value for labels, value in samples.items() if 'outcome="routed"' in labels)


def _results(name: str, ours: _Side, theirs: _Side) -> list[Result]:
    ratio = Ratio.of(ours.rates, theirs.rates)
    return [
        Result(
            name=f"P1 {name}",
            figure=f"{median(ours.rates):,.0f}/s",
            reference=f"{median(theirs.rates):,.0f}/s",
            ratio=str(ratio),
            goal=f"≥ {GOAL} ×",
            is_ok=ratio.median >= GOAL,
        ),
        Result(
            name="   CPU of the server per request",
            figure=f"{median(ours.cpu_us):.0f} µs",
            reference=f"{median(theirs.cpu_us):.0f} µs",
            ratio=str(Ratio.of(ours.cpu_us, theirs.cpu_us)),
        ),
    ]
