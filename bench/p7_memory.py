"""P7: memory of the picker, with 100 endpoints, and with 1,000 endpoints and a full prefix index.

It is the resident set of the real process at default settings. The endpoints' metrics pages have 62 KB and are read.
The index is filled as it is in use: by requests through a real Envoy, each with a prompt of 128 KB that nobody sent
before, until it stands at its bound of 1,000,000 blocks of 256 bytes.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from bench.chat import MODELS, Request
from bench.endpoints import serve_nets
from bench.http1 import Connection
from bench.modes import FULL_DUPLEX
from bench.pods import address_of
from bench.processes import Picker, endpoints_file
from bench.results import BenchError, Result
from bench.scan import fetch_page
from extproc.cli.demo.envoy import Envoy, GatewaySettings

SMALL, LARGE = 100, 1_000
GOAL_BYTES = {SMALL: 150_000_000, LARGE: 400_000_000}
SETTLE_S = 12.0
"""By then each endpoint was probed twice and its page read several times."""
PROMPT_BYTES = 128 * 1024
CONNECTIONS = 8
FULL = 0.95
"""Of the bound: what is dropped is dropped in parts, and the endpoints' shares are rounded down."""
MOST_REQUESTS = 20_000
BATCH = 200


async def run() -> AsyncIterator[Result]:
    """A line for each size of the pool, and for the larger one how much of it the index is."""
    page = (await fetch_page()).decode()
    with tempfile.TemporaryDirectory(prefix="extproc-bench-") as directory:
        async with serve_nets(MODELS, max_body_bytes=2 * PROMPT_BYTES, metrics_page=page) as port:
            for size in (SMALL, LARGE):
                nets = len(MODELS)
                endpoints = [f"{address_of(index // nets, index % nets)}:{port}" for index in range(size)]
                async with Picker(endpoints_file(endpoints, Path(directory))) as picker:
                    await asyncio.sleep(SETTLE_S)
                    idle_bytes = picker.resident_bytes
                    if size == SMALL:
                        yield _result("P7 100 endpoints: memory", idle_bytes, size)
                        continue
                    settings = GatewaySettings(
                        endpoints=endpoints, picker=picker.address, processing_mode=FULL_DUPLEX.filter
                    )
                    async with Envoy(settings) as gateway:
                        blocks, requests = await _fill(picker, gateway.url)
                    yield _result("P7 1,000 endpoints, full index: memory", picker.resident_bytes, size)
                    yield Result(name="   of that before the first request", figure=_megabytes(idle_bytes))
                    yield Result(
                        name="   blocks in the index", figure=f"{blocks:,.0f}", reference=f"{requests:,} requests"
                    )


def _result(name: str, resident_bytes: int, size: int) -> Result:
    goal = GOAL_BYTES[size]
    return Result(
        name=name, figure=_megabytes(resident_bytes), goal=f"≤ {_megabytes(goal)}", is_ok=resident_bytes <= goal
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


async def _fill(picker: Picker, url: str) -> tuple[float, int]:
    """Blocks in the index at the end, and requests. Errors: BenchError where it does not become full."""
    rng, sent = Random(11), 0
    limit = (await picker.counters("extproc_prefix_limit_blocks"))[""]
    connections = [await Connection.open(url) for _ in range(CONNECTIONS)]
    try:
        while (blocks := (await picker.counters("extproc_prefix_blocks"))[""]) < FULL * limit:
            if sent >= MOST_REQUESTS:
                raise BenchError(f"after {sent:,} requests the index has {blocks:,.0f} of {limit:,.0f} blocks")
            async with asyncio.TaskGroup() as senders:
                for connection in connections:
                    senders.create_task(_send(connection, rng, BATCH // CONNECTIONS))
            sent += BATCH
    finally:
        for connection in connections:
            connection.close()
    return blocks, sent


async def _send(connection: Connection, rng: Random, count: int) -> None:
    """Errors: BenchError for an answer that is no 200."""
    for _ in range(count):
        prompt = rng.randbytes(PROMPT_BYTES // 2).hex()
        body = f'{{"model":"{rng.choice(MODELS)}","messages":[{{"role":"user","content":"{prompt}"}}]}}'
        answer = await connection.ask(Request(body.encode()).to_http1())
        if answer.status != 200:
            raise BenchError(f"an answer was {answer.status}: {answer.body[:200]!r}")
