"""Long answers: what 10,000 chunks cost the picker beyond 10 where it leaves or tracks, and one where it observes.

Detach and track: two pickers alike, each behind an Envoy of its own, answer at the same time. One gets answers of 10
chunks, the other of 10,000, over the same seconds, and they change places every round, so that machine, rate and time
are the same for both. What each spends for a request is its CPU less what it spent at rest, and their ratio is judged.

Observe: picker and empty servicer in turn, as in P1, with answers whose chunks come one by one; CPU for each chunk.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from bench.chat import MODELS, Request
from bench.engines import EVENT_BRACES, Engines
from bench.http1 import read_streamed
from bench.modes import FULL_DUPLEX, FULL_DUPLEX_TRACK, ISTIO_OBSERVE, Mode
from bench.pods import address_of
from bench.processes import Picker, PythonServer, endpoints_file
from bench.results import BenchError, Ratio, Result
from bench.sides import Side, serve_sides
from extproc.cli.demo.envoy import Envoy, GatewaySettings

FEW, MANY = 10, 10_000
REQUESTS = 24
"""Of each kind, a round."""
BEGIN_S, OVER_S = 8.0, 4.0
"""Requests begin over so many seconds, and each answer takes so many."""
ROUNDS = 10
"""Two by two, so that each picker has had both kinds: no two processes cost quite the same."""
REST_S = 4.0
TOLERANCE = 0.05
OBSERVED_REQUESTS, OBSERVED_CHUNKS = 16, 400
OBSERVED_ROUNDS = 6
# Probes are rare: what they cost is much beside so few requests, and not what is asked here.
RARE_PROBES = {"models": {"interval": "60s"}, "metrics": {"interval": "0s"}}
_COUNTER = "extproc_stream_messages_total"


async def run() -> AsyncIterator[Result]:
    """A line for each of the modes that leave answers alone, and one for a chunk of those that are observed."""
    async with Engines(MODELS) as engines:
        endpoints = [f"{address_of(0, index)}:{engines.port}" for index in range(len(MODELS))]
        # The reference knows of no models, and asks all of them in turn.
        await engines.serve({address_of(0, index): MODELS for index in range(len(MODELS))})
        for mode in (FULL_DUPLEX, FULL_DUPLEX_TRACK):
            yield await _compare(mode, endpoints)
        yield await _observe(endpoints)


async def _compare(mode: Mode, endpoints: Sequence[str]) -> Result:
    """Errors: BenchError where a picker did not route all of its requests."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        sides = []
        for _ in range(2):
            config = mode.picker_config | {"probes": RARE_PROBES}
            picker = await stack.enter_async_context(Picker(endpoints_file(endpoints, directory), config=config))
            settings = GatewaySettings(endpoints=endpoints, picker=picker.address, processing_mode=mode.filter)
            gateway = await stack.enter_async_context(Envoy(settings))
            sides.append(Side(picker, gateway.url))
        for side in sides:
            await _send(side, chunks=FEW, over_s=0.1, begin_s=1.0)
        at_rest = await _rest(sides)
        routed_before = [await side.server.routed() for side in sides]
        few, many = [], []
        for index in range(ROUNDS):
            first, second = (FEW, MANY) if index % 2 else (MANY, FEW)
            async with asyncio.TaskGroup() as both:
                tasks = [
                    both.create_task(_send(side, chunks=chunks, over_s=OVER_S, begin_s=BEGIN_S, at_rest=rest))
                    for side, chunks, rest in zip(sides, (first, second), at_rest, strict=True)
                ]
            spent = {first: tasks[0].result(), second: tasks[1].result()}
            few.append(spent[FEW])
            many.append(spent[MANY])
        for side, before in zip(sides, routed_before, strict=True):
            if (routed := await side.server.routed() - before) != ROUNDS * REQUESTS:
                raise BenchError(f"of {ROUNDS * REQUESTS} requests the picker routed {routed:.0f}")
    ratio = Ratio.of(_by_twos(many), _by_twos(few))
    return Result(
        name=f"{MANY:,} chunks, {mode.name}: CPU",
        figure=f"{median(many) * 1e6:.0f} µs",
        reference=f"{median(few) * 1e6:.0f} µs",
        ratio=str(ratio),
        goal=f"± {TOLERANCE:.0%} of {FEW}",
        is_ok=abs(ratio.median - 1) <= TOLERANCE,
    )


def _by_twos(values: Sequence[float]) -> list[float]:
    return [first + second for first, second in zip(values[::2], values[1::2], strict=True)]


async def _rest(sides: Sequence[Side[Picker]]) -> list[float]:
    """Cores that each uses when nothing is asked of it."""
    before_s = [side.server.cpu_s for side in sides]
    await asyncio.sleep(REST_S)
    return [(side.server.cpu_s - before) / REST_S for side, before in zip(sides, before_s, strict=True)]


async def _send(
    side: Side[PythonServer],
    *,
    chunks: int,
    over_s: float,
    begin_s: float,
    at_rest: float = 0.0,
    requests: int = REQUESTS,
) -> float:
    """CPU seconds of the server for each request. Errors: BenchError where an answer has not all of its chunks."""
    loop = asyncio.get_running_loop()
    began_s, before_s = loop.time(), side.server.cpu_s
    async with asyncio.TaskGroup() as answers:
        for index in range(requests):
            answers.create_task(_ask(side.url, index, chunks, over_s, delay_s=begin_s * index / requests))
    return (side.server.cpu_s - before_s - at_rest * (loop.time() - began_s)) / requests


async def _ask(url: str, index: int, chunks: int, over_s: float, *, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    braces = await read_streamed(url, _request(MODELS[index % len(MODELS)], chunks, over_s).to_http1(), b"{")
    if braces != chunks * EVENT_BRACES:
        raise BenchError(f"an answer had {braces // EVENT_BRACES:,} chunks, not {chunks:,}")


def _request(model: str, chunks: int, over_s: float) -> Request:
    """What `bench.engines` answers with so many chunks over so many seconds."""
    messages = f'"messages":[{{"role":"user","content":"{"a" * 300}"}}]'
    return Request(f'{{"model":"{model}",{messages},"stream":true,"chunks":{chunks},"over_s":{over_s}}}'.encode())


async def _observe(endpoints: Sequence[str]) -> Result:
    """Errors: BenchError where the picker did not see the chunks."""
    per_chunk: dict[str, list[float]] = {}
    requests = [_request(model, OBSERVED_CHUNKS, OVER_S) for model in MODELS]
    async with serve_sides(ISTIO_OBSERVE, endpoints, requests=requests) as sides:
        before = await sides.ours.server.counters(_COUNTER)
        for index in range(-1, OBSERVED_ROUNDS):
            for side in sides.in_turn(index):
                spent_s = await _send(
                    side, chunks=OBSERVED_CHUNKS, over_s=OVER_S, begin_s=1.0, requests=OBSERVED_REQUESTS
                )
                if index >= 0:  # the first one warms up
                    per_chunk.setdefault(side.url, []).append(spent_s / OBSERVED_CHUNKS * 1e6)
        after = await sides.ours.server.counters(_COUNTER)
        ours, theirs = per_chunk[sides.ours.url], per_chunk[sides.reference.url]
    key = 'direction="in",kind="response_body"'
    pieces = (after[key] - before.get(key, 0.0)) / ((1 + OBSERVED_ROUNDS) * OBSERVED_REQUESTS)
    if pieces < 0.9 * OBSERVED_CHUNKS:
        raise BenchError(f"of {OBSERVED_CHUNKS} chunks of an answer {pieces:.0f} came one by one")
    return Result(
        name="A chunk, Istio's filter, observe: CPU",
        figure=f"{median(ours):.0f} µs",
        reference=f"{median(theirs):.0f} µs",
        ratio=str(Ratio.of(ours, theirs)),
    )
