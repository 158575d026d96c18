"""Load at a fixed rate, in an open loop: requests are sent when they are due, whether or not others are answered.

Latencies count from when a request was due, not from when it could be sent: a server that stalls is charged with all
the requests that it kept waiting (no "coordinated omission"). `wrk` has no such rate, and wrk2 is no Debian package.
Arrivals are Poisson with a fixed seed. It runs as `python -m bench.paced`, in a process of its own so that nothing else
of a benchmark delays it; the requests come as JSON on its standard input.
"""

import asyncio
import gc
import selectors
import sys
from collections import deque
from collections.abc import Sequence
from random import Random

import msgspec

from bench.chat import Request
from bench.http1 import Answer, Connection
from bench.results import BenchError

CONNECTIONS = 64
"""Open from the start. A request that finds none free waits, and its wait counts."""
SETTLE_S = 0.2
"""What is due in the first moments is sent and not counted."""


class Plan(msgspec.Struct, frozen=True):
    """What to send."""

    url: str
    requests_per_s: float
    duration_s: float
    requests: Sequence[bytes]
    """As HTTP/1.1, sent in turn."""


class Latencies(msgspec.Struct, frozen=True):
    """What came of it, in microseconds from when each request was due."""

    requests: int
    p50_us: float
    p99_us: float
    late_p99_us: float
    """How late requests were sent that found a connection free: the load's own part in the figures above."""


async def run_paced(url: str, requests: Sequence[Request], *, requests_per_s: float, duration_s: float) -> Latencies:
    """Sends `requests` in turn at that rate, from a process of its own. Errors: BenchError unless each got a 200."""
    plan = Plan(url, requests_per_s, duration_s, [request.to_http1() for request in requests])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.paced"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate(msgspec.json.encode(plan))
    try:
        return msgspec.json.decode(printed, type=Latencies)
    except msgspec.DecodeError as exc:
        raise BenchError(f"the paced load failed:\n{printed.decode(errors='replace')}") from exc


async def send_paced(plan: Plan, rng: Random) -> Latencies:
    """Carries out `plan`. Errors: BenchError unless every request was answered with a 200."""
    connections = [await Connection.open(plan.url) for _ in range(CONNECTIONS)]
    try:
        return await _Sender(plan, connections, rng).run()
    finally:
        for connection in connections:
            connection.close()


class _Sender:
    def __init__(self, plan: Plan, connections: Sequence[Connection], rng: Random) -> None:
        self._plan = plan
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._free = deque(connections)
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._counts_from_s = 0.0
        self._open = 0
        self._latencies_s: list[float] = []
        self._late_s: list[float] = []
        self._failure: BaseException | None = None
        self._is_idle = asyncio.Event()

    async def run(self) -> Latencies:
        plan = self._plan
        due_s = self._loop.time()
        self._counts_from_s = due_s + SETTLE_S
        end_s = self._counts_from_s + plan.duration_s
        turn = 0
        while due_s < end_s and self._failure is None:
            if (wait_s := due_s - self._loop.time()) > 0:
                await asyncio.sleep(wait_s)
            self._begin(due_s, plan.requests[turn % len(plan.requests)])
            turn += 1
            due_s += self._rng.expovariate(plan.requests_per_s)
        while self._open and self._failure is None:
            self._is_idle.clear()
            await self._is_idle.wait()
        if self._failure is not None:
            raise self._failure
        return self._summary()

    def _begin(self, due_s: float, request: bytes) -> None:
        self._open += 1
        if not self._free:
            self._waiting.append((due_s, request))
            return
        if due_s >= self._counts_from_s:
            self._late_s.append(self._loop.time() - due_s)
        self._send(self._free.popleft(), due_s, request)

    def _send(self, connection: Connection, due_s: float, request: bytes) -> None:
        connection.ask(request).add_done_callback(lambda answer: self._end(connection, due_s, answer))

    def _end(self, connection: Connection, due_s: float, future: asyncio.Future[Answer]) -> None:
        self._open -= 1
        self._is_idle.set()
        if (error := future.exception()) is not None:
            self._failure = error
            return
        answer = future.result()
        if answer.status != 200:
            self._failure = BenchError(f"an answer was {answer.status}: {answer.body[:200]!r}")
            return
        if due_s >= self._counts_from_s:
            self._latencies_s.append(answer.at_s - due_s)
        if self._waiting:
            self._send(connection, *self._waiting.popleft())
        else:
            self._free.append(connection)

    def _summary(self) -> Latencies:
        if not self._latencies_s:
            raise BenchError("the paced load sent nothing")
        return Latencies(
            len(self._latencies_s),
            percentile(self._latencies_s, 50) * 1e6,
            percentile(self._latencies_s, 99) * 1e6,
            percentile(self._late_s, 99) * 1e6 if self._late_s else 0.0,
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that is not exceeded by `percent` of them."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def _main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    # A pause of the collector would look like one of the server.
    gc.disable()
    # epoll's timeouts are whole milliseconds in Python 3.11, select's are not.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        try:
            latencies = runner.run(send_paced(plan, Random(2)))
        except BenchError as exc:
            sys.exit(str(exc))
    sys.stdout.buffer.write(msgspec.json.encode(latencies))


if __name__ == "__main__":
    _main()
