"""The paced load: what a server keeps waiting counts, and a wrong answer ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from bench.chat import Request
from bench.paced import CONNECTIONS, Plan, percentile, send_paced
from bench.results import BenchError
from tests.raw_server import raw_server

REQUEST = Request(b"{}").to_http1()
STALL_S = 0.5
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def serve(*, answer: bytes, stalls: bool = False) -> AsyncIterator[str]:
    """A server; one that stalls keeps all requests waiting that come in its first moments."""
    loop = asyncio.get_running_loop()
    opens_at_s = loop.time() + STALL_S if stalls else 0.0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            await asyncio.sleep(opens_at_s - loop.time())
            writer.write(answer)

    async with raw_server(handle) as port:
        yield f"http://127.0.0.1:{port}"


async def test_a_stall_is_charged_with_every_request_that_was_due_in_it() -> None:
    rate = 4 * CONNECTIONS / STALL_S
    async with serve(answer=GOOD, stalls=True) as url:
        latencies = await send_paced(Plan(url, rate, 2 * STALL_S, [REQUEST]), Random(1))
    # Counted from when they could be sent, those that had to wait for a connection would look fast.
    assert latencies.p99_us > STALL_S / 4 * 1e6
    assert latencies.requests > 4 * CONNECTIONS


async def test_every_request_is_sent_whether_or_not_others_are_answered() -> None:
    async with serve(answer=GOOD) as url:
        latencies = await send_paced(Plan(url, 500.0, 0.5, [REQUEST]), Random(1))
    assert 150 < latencies.requests < 350


@pytest.mark.parametrize("answer", [BAD, b"HTTP/1.1 200 OK\r\n\r\n"], ids=["no 200", "no length"])
async def test_a_wrong_answer_ends_it(answer: bytes) -> None:
    async with serve(answer=answer) as url:
        with pytest.raises(BenchError):
            await send_paced(Plan(url, 100.0, 0.1, [REQUEST]), Random(1))


@pytest.mark.parametrize(
    ("values", "percent", "wanted"),
    [([3.0], 99, 3.0), ([2.0, 1.0], 50, 2.0), ([float(n) for n in range(100)], 99, 99.0)],
    ids=["one", "two", "hundred"],
)
def test_percentile(values: list[float], percent: float, wanted: float) -> None:
    assert percentile(values, percent) == wanted
