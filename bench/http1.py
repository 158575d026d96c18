"""A client's connection over HTTP/1.1, kept, with as little work per request as Python can do."""

import asyncio
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from bench.results import BenchError

END_OF_CHUNKS = b"\r\n0\r\n\r\n"
"""The end of an answer that comes in chunks, after its last one."""

_HEAD_END = b"\r\n\r\n"
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\ncontent-length: (\d+)\r\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    head: bytes
    """Status line and headers."""
    body: bytes
    at_s: float
    """When the last of it came, by the event loop's clock."""


class Connection(asyncio.Protocol):
    """One request at a time. Its answers must tell their `content-length`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, url: str) -> Self:
        """A connection to the host and port of `url`."""
        host, _, port = urlsplit(url).netloc.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, int(port))
        return connection

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Sends a request, whole or its beginning, and returns its answer to come. Errors of that: BenchError."""
        self._answer = self._loop.create_future()
        self.send(request)
        return self._answer

    def send(self, data: bytes) -> None:
        """Sends more of the request."""
        if self._transport is None or self._transport.is_closing():
            raise BenchError("the gateway closed a connection")
        self._transport.write(data)

    def close(self) -> None:
        """Closes it. Nothing more is to be read from it."""
        self._answer = None
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        received = self._received = self._received + data
        end = received.find(_HEAD_END)
        if end < 0:
            return
        found = _HEAD.match(received, 0, end + 2)
        if found is None:
            self._fail(f"an answer of an unknown kind: {received[:200]!r}")
            return
        body_at, size = end + len(_HEAD_END), int(found[2])
        if len(received) < body_at + size:
            return
        self._received = b""
        if (answer := self._answer) is not None and not answer.done():
            answer.set_result(Answer(int(found[1]), received[:end], received[body_at:], now))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the gateway closed a connection")

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchError(why))


async def read_streamed(url: str, request: bytes, mark: bytes) -> int:
    """How often `mark`, one byte, is in an answer that comes in chunks.

    Errors: BenchError for one that is no 200, or is cut.
    """
    host, _, port = urlsplit(url).netloc.rpartition(":")
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(lambda: _MarkReader(loop.create_future(), mark), host, int(port))
    try:
        transport.write(request)
        return await reader.count
    finally:
        transport.close()


class _MarkReader(asyncio.Protocol):
    """Keeps nothing of an answer but its beginning and its last bytes."""

    def __init__(self, count: asyncio.Future[int], mark: bytes) -> None:
        self.count = count
        self._mark = mark
        self._found = 0
        self._last = b""

    def data_received(self, data: bytes) -> None:
        if not self._last and not data.startswith(b"HTTP/1.1 200"):
            self._fail(f"an answer was {data[:200]!r}")
        self._found += data.count(self._mark)
        self._last = (self._last + data)[-len(END_OF_CHUNKS) :]
        if self._last == END_OF_CHUNKS and not self.count.done():
            self.count.set_result(self._found)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("an answer was cut")

    def _fail(self, why: str) -> None:
        if not self.count.done():
            self.count.set_exception(BenchError(why))
