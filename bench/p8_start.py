"""P8: from the start of the picker's process to SERVING on its health port, with 10 endpoints.

The health service is watched as the kubelet would ask it; the other times are the picker's own log's. Imports are those
of `extproc.cli.serve` in a Python of its own, the start of that Python included: what no setting changes.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc
from grpc_health.v1 import health_pb2

from bench.chat import ENDPOINT_MODELS
from bench.endpoints import serve_endpoints
from bench.picker_log import NEW_ENDPOINT, READY, SERVING, LoggedPicker
from bench.processes import endpoints_file
from bench.results import BenchError, Result

ROUNDS = 7
GOAL_S = 2.0
_WATCH = "/grpc.health.v1.Health/Watch"


@dataclass(frozen=True)
class _Start:
    """Seconds from the start of the process, but for the last."""

    healthy_s: float
    serving_s: float
    listed_s: float
    ready_s: float
    imports_s: float


class _WatchedPicker(LoggedPicker):
    """One whose readiness is asked for over gRPC from the moment at which that can be done."""

    healthy_after_s = 0.0

    async def _become_ready(self) -> None:
        ports = await self._line(r" serving .* health=(\d+) ")
        self._health = asyncio.create_task(_wait_until_serving(f"127.0.0.1:{ports[1]}"), name="health")
        await self._line(r" ready endpoints=")
        self.healthy_after_s = await self._health - self.begun_at_s


async def run() -> AsyncIterator[Result]:
    """A line for the whole, and what it is made of."""
    with tempfile.TemporaryDirectory(prefix="extproc-bench-") as directory:
        async with serve_endpoints(ENDPOINT_MODELS) as endpoints:
            source = endpoints_file(endpoints, Path(directory))
            starts = [await _start(source) for _ in range(ROUNDS)]
    healthy_s = median(start.healthy_s for start in starts)
    yield Result(
        name=f"P8 start to readiness, {len(endpoints)} endpoints",
        figure=f"{healthy_s:.2f} s",
        ratio=_spread([start.healthy_s for start in starts]),
        goal=f"≤ {GOAL_S:g} s",
        is_ok=healthy_s <= GOAL_S,
    )
    for name, seconds in (
        ("until it serves", [start.serving_s for start in starts]),
        ("   of that: Python and imports", [start.imports_s for start in starts]),
        ("endpoints read", [start.listed_s - start.serving_s for start in starts]),
        ("first probes", [start.ready_s - start.listed_s for start in starts]),
    ):
        yield Result(name=f"   {name}", figure=f"{median(seconds):.3f} s", ratio=_spread(seconds))


async def _start(source: str) -> _Start:
    imports_s = await _import_s()
    async with _WatchedPicker(source) as picker:
        return _Start(
            healthy_s=picker.healthy_after_s,
            serving_s=picker.after_start_s(SERVING),
            listed_s=picker.after_start_s(NEW_ENDPOINT),
            ready_s=picker.after_start_s(READY),
            imports_s=imports_s,
        )


async def _wait_until_serving(address: str) -> float:
    """The time of the day at which the health service says SERVING."""
    async with grpc.aio.insecure_channel(address) as channel:
        watch = channel.unary_stream(
            _WATCH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        call = watch(health_pb2.HealthCheckRequest(service="readiness"))
        async for told in call:
            if told.status == health_pb2.HealthCheckResponse.SERVING:
                at_s = time.time()
                call.cancel()
                return at_s
    raise BenchError("the health service ended before it said SERVING")


async def _import_s() -> float:
    """Seconds from the start of a Python until it has imported the server."""
    code = "import extproc.cli.serve, time; print(time.time())"
    begun_s = time.time()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    if process.returncode:
        raise BenchError("extproc.cli.serve cannot be imported")
    return float(printed) - begun_s


def _spread(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.2f}–{max(seconds):.2f}"
