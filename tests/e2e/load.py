"""A raw HTTP/1.1 load client that tells whole answers from cut ones, and processes that keep the CPUs busy beside it.

Few Python costs per request: a request is one write of bytes made before, an answer is counted, not kept.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_CLOSED = "closed before a response"
_HOG_BOUND_S = 120
_HOG = f"import time\nend = time.monotonic() + {_HOG_BOUND_S}\nwhile time.monotonic() < end: pass"


@dataclass(slots=True)
class Outcome:
    """What came back for one request."""

    status: int = 0
    """0: no complete response head came."""
    received_bytes: int = 0
    """Of the body, without chunk framing."""
    promised_bytes: int | None = None
    """The `content-length`; None: there was none."""
    served_by: str = ""
    """The upstream's `x-served-by`; empty when Envoy itself answered."""
    error: str = ""
    """Why the answer has no regular end: a connection closed too soon, a timeout. Empty when framed to its end."""
    whole: bool = False
    """Framed to its end and, where the load knows the upstream's body, of exactly that length."""

    @property
    def is_cut(self) -> bool:
        """The client got an upstream's status, 200 or its own refusal, without its body; no status metric shows it."""
        return (self.status == 200 or self.served_by != "") and not self.whole


def post(body: bytes, *, path: str = "/v1/chat/completions", headers: str = "") -> bytes:
    """A POST request as bytes; `headers` are further lines, each with its CRLF."""
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def run_load(
    port: int,
    requests: int,
    concurrency: int,
    make_request: Callable[[int], bytes],
    *,
    body_bytes: int | None = None,
    timeout_s: float = 30.0,
    on_outcome: Callable[[int, Outcome], None] | None = None,
) -> list[Outcome]:
    """Send `make_request(0)` … `make_request(requests - 1)`, `concurrency` at a time; the outcomes in that order.

    `body_bytes` is the length of the body that the upstream is known to send; an answer of any other length, a refusal
    by Envoy too, is then not whole. A connection is used again after an answer that allows it. An answer is read while
    the request is still being written, and is complete although the rest of the request then fails. A used connection
    that closes before the first byte of an answer is tried once more on a new one: the server closed it as idle.
    `on_outcome` is called with a request's number and outcome the moment it is known.
    Never raises for what the server does: see `Outcome.error`.
    """
    outcomes = [Outcome() for _ in range(requests)]
    indexes = iter(range(requests))

    async def work() -> None:
        connection: _Connection | None = None
        try:
            for index in indexes:
                request = make_request(index)
                is_used = connection is not None
                connection = await _exchange(connection, port, request, outcomes[index], timeout_s)
                if is_used and connection is None and outcomes[index] == Outcome(error=_CLOSED):
                    outcomes[index].error = ""
                    connection = await _exchange(None, port, request, outcomes[index], timeout_s)
                outcome = outcomes[index]
                outcome.whole = not outcome.error and body_bytes in (None, outcome.received_bytes)
                if on_outcome is not None:
                    on_outcome(index, outcome)
        finally:
            if connection is not None:
                connection.abort()

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(concurrency, requests)):
            workers.create_task(work())
    return outcomes


@asynccontextmanager
async def cpu_hogs(n: int) -> AsyncIterator[list[int]]:
    """`n` processes that each keep one CPU busy inside the block, as their ids. After 120 s they end by themselves."""
    processes: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(n):
            hog = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", _HOG)
            processes.append(hog)  # known before the next can fail
        yield [hog.pid for hog in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
        for process in processes:
            await process.wait()


async def _exchange(
    connection: _Connection | None, port: int, request: bytes, outcome: Outcome, timeout_s: float
) -> _Connection | None:
    """One request and its answer, on `connection` or a new one; the connection if it can be used again."""
    try:
        async with asyncio.timeout(timeout_s):
            if connection is None or connection.is_closed:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
            await connection.exchange(request, outcome)
    except TimeoutError:
        outcome.error = f"no end within {timeout_s:g} s"
    except OSError as exc:
        outcome.error = f"cannot connect: {exc}"
    if connection is not None and not connection.is_reusable:
        connection.abort()
        return None
    return connection


class _Connection(asyncio.Protocol):
    """One connection; counts the bytes of one answer at a time."""

    def __init__(self) -> None:
        self.is_closed = False
        self.is_reusable = False
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._done: asyncio.Future[None] | None = None
        self._outcome = Outcome()
        self._step = self._read_head
        self._rest_bytes = 0
        self._may_keep_alive = False

    async def exchange(self, request: bytes, outcome: Outcome) -> None:
        """Write, and wait until the answer's end is seen, whatever end that is."""
        assert self._transport is not None
        self._outcome = outcome
        self._step = self._read_head
        self._done = asyncio.get_running_loop().create_future()
        self.is_reusable = False
        if self.is_closed:
            self._finish(_CLOSED)
        else:
            self._transport.write(request)  # what does not fit goes out while we read
        await self._done

    def abort(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._is_reading and self._step():
            pass

    def eof_received(self) -> bool:
        self._end_by_close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_by_close()

    @property
    def _is_reading(self) -> bool:
        return self._done is not None and not self._done.done()

    def _end_by_close(self) -> None:
        self.is_closed = True
        self.is_reusable = False
        if not self._is_reading:
            return
        if self._outcome.status == 0:
            self._finish("closed inside the response head" if self._buffer else _CLOSED)
        elif self._step == self._read_to_close:
            self._finish("")
        else:
            self._finish("closed inside the response body")

    def _finish(self, error: str) -> None:
        self._outcome.error = error
        if self._done is not None:
            self._done.set_result(None)

    def _finish_framed(self) -> bool:
        """An answer that came before the request was out leaves no usable connection."""
        assert self._transport is not None
        self.is_reusable = self._may_keep_alive and not self._transport.get_write_buffer_size() and not self._buffer
        self._finish("")
        return False

    # Each step takes what it can from the buffer and tells whether the next may be tried.

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        status = int(lines[0].split(" ", 2)[1])
        if status < 200:
            return True
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        outcome = self._outcome
        outcome.status = status
        outcome.served_by = fields.get("x-served-by", "")
        self._may_keep_alive = fields.get("connection", "").lower() != "close"
        if "chunked" in fields.get("transfer-encoding", ""):
            self._step = self._read_chunk_size
        elif "content-length" in fields:
            outcome.promised_bytes = self._rest_bytes = int(fields["content-length"])
            self._step = self._read_body
        elif status in (204, 304):
            return self._finish_framed()
        else:
            self._step = self._read_to_close
        return True

    def _read_body(self) -> bool:
        return self._take_rest() and self._finish_framed()

    def _read_to_close(self) -> bool:
        self._rest_bytes = len(self._buffer)
        self._take_rest()
        return False

    def _read_chunk_size(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        self._rest_bytes = int(self._buffer[:end].split(b";", 1)[0], 16)
        del self._buffer[: end + 2]
        self._step = self._read_chunk if self._rest_bytes else self._read_trailers
        return True

    def _read_chunk(self) -> bool:
        if not self._take_rest() or len(self._buffer) < 2:
            return False
        del self._buffer[:2]
        self._step = self._read_chunk_size
        return True

    def _read_trailers(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        del self._buffer[: end + 2]
        return True if end else self._finish_framed()

    def _take_rest(self) -> bool:
        taken = min(self._rest_bytes, len(self._buffer))
        del self._buffer[:taken]
        self._rest_bytes -= taken
        self._outcome.received_bytes += taken
        return self._rest_bytes == 0
