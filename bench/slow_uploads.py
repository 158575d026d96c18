"""Slow uploads: what 500 clients that send a byte a second, all at once, cost the requests of others.

Through a real Envoy in full duplex, where every one of those bytes comes to the picker as a message of its own, on a
stream that it keeps open. The others come at a fixed rate, in an open loop, in rounds with the uploads and without.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from statistics import median

from bench.chat import ENDPOINT_MODELS, PATH, Request
from bench.endpoints import RECEIVED_BYTES, serve_endpoints
from bench.http1 import Connection
from bench.modes import FULL_DUPLEX
from bench.paced import Latencies, run_paced
from bench.results import BenchError, Ratio, Result
from bench.sides import serve_sides

UPLOADS = 500
BYTE_S = 1.0
"""Between two bytes of one upload."""
REQUESTS_PER_S = 300
ROUNDS = 5
ROUND_S = 4
GOAL = 1.5
# The uploads have to stay open for a round: the default would end them after ten seconds.
MODE = replace(FULL_DUPLEX, settings={"decisionTimeout": "120s"})


async def run() -> AsyncIterator[Result]:
    """A line for the 99th percentile of the others, one for their median."""
    async with serve_endpoints(ENDPOINT_MODELS) as endpoints, serve_sides(MODE, endpoints) as sides:
        url = sides.ours.url

        async def send() -> Latencies:
            return await run_paced(url, sides.requests, requests_per_s=REQUESTS_PER_S, duration_s=ROUND_S)

        await send()
        beside, alone = [], []
        for index in range(ROUNDS):
            for has_uploads in (True, False) if index % 2 else (False, True):
                if has_uploads:
                    async with _slow_uploads(url, sides.requests[0]):
                        beside.append(await send())
                else:
                    alone.append(await send())
    p99 = Ratio.of([latencies.p99_us for latencies in beside], [latencies.p99_us for latencies in alone])
    yield Result(
        name=f"Slow uploads, {UPLOADS}: p99 of others",
        figure=f"{median(latencies.p99_us for latencies in beside):,.0f} µs",
        reference=f"{median(latencies.p99_us for latencies in alone):,.0f} µs",
        ratio=str(p99),
        goal=f"≤ {GOAL} ×",
        is_ok=p99.median <= GOAL,
    )
    yield Result(
        name=f"   their p50, at {REQUESTS_PER_S}/s",
        figure=f"{median(latencies.p50_us for latencies in beside):,.0f} µs",
        reference=f"{median(latencies.p50_us for latencies in alone):,.0f} µs",
        ratio=str(Ratio.of([latencies.p50_us for latencies in beside], [latencies.p50_us for latencies in alone])),
    )


@asynccontextmanager
async def _slow_uploads(url: str, request: Request) -> AsyncIterator[None]:
    """Uploads that all run inside the block, and end well after it. Errors: BenchError where one did not."""
    are_ending = asyncio.Event()
    begun = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as uploads:
        for index in range(UPLOADS):
            delay_s = index / UPLOADS * BYTE_S
            uploads.create_task(_upload(url, request, delay_s=delay_s, begun=begun, are_ending=are_ending))
        try:
            for _ in range(UPLOADS):
                await begun.acquire()
            yield
        finally:
            are_ending.set()


async def _upload(
    url: str, request: Request, *, delay_s: float, begun: asyncio.Semaphore, are_ending: asyncio.Event
) -> None:
    """One request whose body begins with a space a second, which JSON allows."""
    await asyncio.sleep(delay_s)
    connection = await Connection.open(url)
    try:
        answer = connection.ask(f"POST {PATH} HTTP/1.1\r\nhost: bench\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        begun.release()
        spaces = 0
        while not are_ending.is_set():
            connection.send(b"1\r\n \r\n")
            spaces += 1
            try:
                async with asyncio.timeout(BYTE_S):
                    await are_ending.wait()
            except TimeoutError:
                pass
        if answer.done():
            raise BenchError("a slow upload was answered before its end")
        connection.send(f"{len(request.body):x}\r\n".encode() + request.body + b"\r\n0\r\n\r\n")
        ended = await answer
        if ended.status != 200 or f"{RECEIVED_BYTES}: {spaces + len(request.body)}".encode() not in ended.head:
            raise BenchError(f"a slow upload was answered wrongly: {ended.head!r}")
    finally:
        connection.close()
