"""The streamed load: whose first event came, what was still open, and what failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from bench.shared_prefixes import Arrival
from bench.streamed import FirstTokens, send_streamed
from tests.raw_server import raw_server

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
EVENT = b"data: {}\n\n"
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def serve(answer: bytes, *, ends: bool) -> AsyncIterator[str]:
    """A server that gives this answer, and then closes the connection or leaves it open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(answer)
        if ends:
            writer.close()

    async with raw_server(handle) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("answer", "ends", "answered", "still_open", "failed"),
    [
        pytest.param(HEAD + EVENT + DONE, True, 3, 0, 0, id="whole"),
        pytest.param(HEAD + EVENT, True, 3, 0, 3, id="cut"),
        pytest.param(HEAD + EVENT, False, 3, 0, 0, id="begun-and-open"),
        pytest.param(HEAD, False, 0, 3, 0, id="open"),
        pytest.param(b"", False, 0, 3, 0, id="open-without-a-head"),
        pytest.param(b"", True, 0, 0, 3, id="closed"),
        pytest.param(b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}", True, 0, 0, 3, id="refused"),
    ],
)
async def test_each_request_is_counted_by_what_came_of_it(
    answer: bytes, ends: bool, answered: int, still_open: int, failed: int
) -> None:
    async with serve(answer, ends=ends) as url:
        times = await send_streamed(url, [Arrival(due_s, b"{}") for due_s in (0.0, 0.01, 0.02)], patience_s=0.3)
    assert (len(times.answered_s), len(times.open_s), times.failed) == (answered, still_open, failed)


@pytest.mark.parametrize(
    ("open_s", "percent", "time_s", "is_bound"),
    [
        pytest.param([], 50, 2.0, False, id="all-answered"),
        pytest.param([9.0], 50, 3.0, False, id="open-beyond"),
        pytest.param([9.0, 8.0], 90, 9.0, True, id="open-at"),
        pytest.param([0.5], 50, 2.0, True, id="open-before"),
    ],
)
def test_a_percentile_is_a_bound_where_open_requests_may_exceed_it(
    open_s: list[float], percent: float, time_s: float, is_bound: bool
) -> None:
    times = FirstTokens([1.0, 2.0, 3.0], open_s, 0, 0.0)
    assert (times.percentile_s(percent), times.is_bound(percent)) == (time_s, is_bound)
