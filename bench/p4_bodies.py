"""P4: what large bodies cost, ours against an empty servicer with the same body: added time, and memory at its peak.

Memory is the process's own (VmHWM, what it had before the first large body taken off): it counts every copy that exists
at one time, gRPC's included. The reference reads the same, drops it and answers from one copy made before.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median

from bench.chat import ENDPOINT_MODELS, Request
from bench.endpoints import RECEIVED_BYTES, serve_endpoints
from bench.http1 import Connection
from bench.modes import BUFFERED, FULL_DUPLEX, Mode
from bench.processes import PythonServer
from bench.results import BenchError, Result
from bench.sides import Side, Sides, serve_sides

MODES = (FULL_DUPLEX, BUFFERED)
ENDPOINTS = 3


@dataclass(frozen=True)
class Size:
    """Bodies of one size, and what is hoped for."""

    body_bytes: int
    goal_ms: float
    rounds: int
    measures_memory: bool = False

    def __str__(self) -> str:
        return f"{self.body_bytes // 1_000_000} MB"


SIZES = (Size(1_000_000, 15.0, rounds=31), Size(20_000_000, 300.0, rounds=11, measures_memory=True))
AT_A_TIME = (1, 4)
MEMORY_ROUNDS = 3
MEMORY_GOAL = 4.0


async def run() -> AsyncIterator[Result]:
    """For each mode and size the time, and for the largest size the memory."""
    largest = max(size.body_bytes for size in SIZES)
    async with serve_endpoints(ENDPOINT_MODELS[:ENDPOINTS], max_body_bytes=2 * largest) as endpoints:
        for mode in MODES:
            for size in SIZES:
                async with serve_sides(mode, endpoints, body_bytes=size.body_bytes) as sides:
                    for result in await _measure(mode, size, sides):
                        yield result


async def _measure(mode: Mode, size: Size, sides: Sides) -> list[Result]:
    routed_before = await sides.ours.server.routed()
    async with AsyncExitStack() as stack:
        ours = await _Client.open(sides.ours, sides.requests, stack)
        theirs = await _Client.open(sides.reference, sides.requests, stack)
        # Memory first: what was used once is not all given back to the system, and the idle value would be of that.
        memory = [await _memory(mode, size, ours, theirs, count) for count in AT_A_TIME if size.measures_memory]
        time = await _time(mode, size, ours, theirs)
        routed = await sides.ours.server.routed() - routed_before
        if routed < ours.sent:
            raise BenchError(f"{mode.name}: of {ours.sent} requests the picker routed {routed:.0f}")
    return [time, *memory]


class _Client:
    """Sends large bodies to one side, several at a time."""

    def __init__(self, side: Side[PythonServer], requests: Sequence[Request], connections: list[Connection]) -> None:
        self.server = side.server
        self.sent = 0
        self.idle_bytes = side.server.resident_bytes
        self._requests = [request.to_http1() for request in requests]
        self._received = f"{RECEIVED_BYTES}: {len(requests[0].body)}".encode()
        self._connections = connections

    @classmethod
    async def open(cls, side: Side[PythonServer], requests: Sequence[Request], stack: AsyncExitStack) -> "_Client":
        connections = [await Connection.open(side.url) for _ in range(max(AT_A_TIME))]
        for connection in connections:
            stack.callback(connection.close)
        return cls(side, requests, connections)

    async def send(self, count: int = 1) -> float:
        """Sends so many at a time and returns the seconds to the last answer. Errors: BenchError for a wrong one."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        asked = []
        for connection in self._connections[:count]:
            asked.append(connection.ask(self._requests[self.sent % len(self._requests)]))
            self.sent += 1
        for answer in await asyncio.gather(*asked):
            if answer.status != 200 or self._received not in answer.head:
                raise BenchError(f"a wrong answer: {answer.head!r}")
        return loop.time() - began_s


async def _time(mode: Mode, size: Size, ours: _Client, theirs: _Client) -> Result:
    times_ms: dict[_Client, list[float]] = {ours: [], theirs: []}
    for index in range(1 + size.rounds):
        for client in (ours, theirs) if index % 2 else (theirs, ours):
            time_s = await client.send()
            if index:  # the first one warms up
                times_ms[client].append(time_s * 1e3)
    added_ms = [mine - other for mine, other in zip(*times_ms.values(), strict=True)]
    return Result(
        name=f"P4 {size} {mode.name}, added",
        figure=f"{median(times_ms[ours]):.1f} ms",
        reference=f"{median(times_ms[theirs]):.1f} ms",
        ratio=f"{median(added_ms):+.1f} ({min(added_ms):+.1f}–{max(added_ms):+.1f})",
        goal=f"≤ +{size.goal_ms:g} ms",
        is_ok=median(added_ms) <= size.goal_ms,
    )


async def _memory(mode: Mode, size: Size, ours: _Client, theirs: _Client, count: int) -> Result:
    bodies = {client: await _peak_bytes(client, count) / (size.body_bytes * count) for client in (ours, theirs)}
    return Result(
        name=f"   peak memory, {count} at a time",
        figure=f"{bodies[ours]:.1f} × body",
        reference=f"{bodies[theirs]:.1f} × body",
        goal=f"≤ {MEMORY_GOAL:g} ×",
        is_ok=bodies[ours] <= MEMORY_GOAL,
    )


async def _peak_bytes(client: _Client, count: int) -> int:
    peaks = []
    for _ in range(MEMORY_ROUNDS):
        client.server.reset_peak()
        await client.send(count)
        peaks.append(client.server.peak_bytes - client.idle_bytes)
    return max(peaks)
