"""Upstreams with known answers and known timing, on raw asyncio protocols: fast enough to lose a race or to win it.

Each reads HTTP/1.1 as Envoy sends it (keep-alive, `content-length` and chunked bodies), names itself in `x-served-by`,
and is told of two moments, the end of the headers and the end of the body. The classes differ in what they do there.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Literal, Self

from tests.e2e.changes import Changes

# Off, after zero seconds: closing then sends RST and drops what is not sent.
_LINGER_NOT = struct.pack("ii", 1, 0)


class Upstream:
    """An HTTP/1.1 server on a port of its own; a subclass says when it answers and what.

    `GET /v1/models` it answers itself, with its one `model`, so that a picker finds it fit to be picked, and
    `GET /metrics` with 404: neither counts.
    `address` is `ip:port` from `start()` on. `served` counts finished answers, `received_bytes` the bodies' bytes;
    `changes.until(lambda: …)` waits for them.
    """

    def __init__(self) -> None:
        self.address = ""
        self.model = "llama"
        self.served = 0
        self.received_bytes = 0
        self._server: asyncio.Server | None = None
        self.exchanges: set[Exchange] = set()
        self.changes = Changes()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address} served={self.served}>"

    def on_headers(self, exchange: Exchange) -> None:
        """The request's headers are here; its body may not be."""

    def on_body_end(self, exchange: Exchange) -> None:
        """The request's body is whole; `on_headers` came before."""

    def on_gone(self, exchange: Exchange) -> None:
        """The connection is lost, whoever ended it."""

    def make_exchange(self) -> Exchange:
        """The protocol of a new connection."""
        return Exchange(self)

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        # A burst of connections past the backlog waits a second for its next try: Envoy's connect timeout.
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.make_exchange, "127.0.0.1", 0, backlog=4096)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for exchange in list(self.exchanges):
            exchange.abort()
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def list_models(self, exchange: Exchange) -> None:
        """Answers `GET /v1/models`. It does not count as served."""
        body = b'{"object": "list", "data": [{"id": "%b", "object": "model"}]}' % self.model.encode()
        exchange.send(self.head("200 OK", "content-type: application/json", f"content-length: {len(body)}") + body)

    def head(self, status: str, *fields: str) -> bytes:
        """The status line and headers of an answer, `x-served-by` among them."""
        lines = [f"HTTP/1.1 {status}", f"x-served-by: {self.address}", *fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class InstantUpstream(Upstream):
    """200 with `body_bytes` known bytes, when the headers are here (`early`) or else when the body is whole."""

    def __init__(self, *, body_bytes: int = 1_000, early: bool = True) -> None:
        super().__init__()
        self.body = b"x" * body_bytes
        self._early = early

    def on_headers(self, exchange: Exchange) -> None:
        if self._early:
            self._answer(exchange)

    def on_body_end(self, exchange: Exchange) -> None:
        if not self._early:
            self._answer(exchange)

    def _answer(self, exchange: Exchange) -> None:
        fields = ("content-type: text/plain", f"content-length: {len(self.body)}")
        exchange.send(self.head("200 OK", *fields) + self.body)
        self.served += 1


class EarlyRefusal(Upstream):
    """401 with a known body, before the request's body is here, as an API-key check does it.

    It reads the rest of the request and drops it, as a careful server does: closing at once with unread data would make
    the kernel send RST, which cuts answers by itself and would hide who cut them. With `closes` the answer says
    `connection: close` and its sending side ends with it.
    """

    def __init__(self, *, body: bytes = b'{"error": "no such key"}', closes: bool = False) -> None:
        super().__init__()
        self.body = body
        self._closes = closes

    def on_headers(self, exchange: Exchange) -> None:
        fields = ["content-type: application/json", f"content-length: {len(self.body)}"]
        if self._closes:
            fields.append("connection: close")
        exchange.send(self.head("401 Unauthorized", *fields) + self.body)
        self.served += 1
        if self._closes:
            exchange.end_sending()


class StreamingUpstream(Upstream):
    """Once the request is whole: 200 and `chunks` server-sent events, the first at once, then one every `delay_s`."""

    def __init__(self, *, chunks: int, delay_s: float, chunk: bytes = b'data: {"token": "x"}\n\n') -> None:
        super().__init__()
        self.body = chunk * chunks
        self._chunks = chunks
        self._delay_s = delay_s
        self._framed_chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)

    def on_body_end(self, exchange: Exchange) -> None:
        exchange.send(self.head("200 OK", "content-type: text/event-stream", "transfer-encoding: chunked"))
        self._send_from(0, exchange)

    def _send_from(self, index: int, exchange: Exchange) -> None:
        while index < self._chunks:
            if exchange.is_gone:
                return
            exchange.send(self._framed_chunk)
            index += 1
            # The end follows the last chunk at once, as with a model server.
            if self._delay_s and index < self._chunks:
                asyncio.get_running_loop().call_later(self._delay_s, self._send_from, index, exchange)
                return
        exchange.send(b"0\r\n\r\n")
        self.served += 1


class HeldUpstream(Upstream):
    """Answers that stay open until `release()`: what an engine counts as running, at each moment.

    An answer opens when the request is whole, with the head and the first piece of the body, or with `sends_head=False`
    with nothing at all. It closes when it is released, and when the client is gone, which counts as `abandoned`.
    `open_answers` is how many are open now, `most_open` how many were at once.
    """

    def __init__(self, *, sends_head: bool = True) -> None:
        super().__init__()
        self.body = b"first, last."
        self.abandoned = 0
        self.most_open = 0
        self._sends_head = sends_head
        self._open: dict[Exchange, None] = {}

    def __repr__(self) -> str:
        return f"<HeldUpstream {self.address} open_answers={self.open_answers} served={self.served}>"

    @property
    def open_answers(self) -> int:
        return len(self._open)

    def release(self, count: int | None = None) -> None:
        """End this many open answers, the oldest first; by default all of them."""
        for exchange in list(self._open)[:count]:
            del self._open[exchange]
            if not self._sends_head:
                self._send_head(exchange)
            exchange.send(self.body[6:])
            self.served += 1
        self.changes.notify()

    def on_body_end(self, exchange: Exchange) -> None:
        self._open[exchange] = None
        self.most_open = max(self.most_open, len(self._open))
        if self._sends_head:
            self._send_head(exchange)

    def on_gone(self, exchange: Exchange) -> None:
        if exchange in self._open:
            del self._open[exchange]
            self.abandoned += 1

    def _send_head(self, exchange: Exchange) -> None:
        fields = ("content-type: text/plain", f"content-length: {len(self.body)}")
        exchange.send(self.head("200 OK", *fields) + self.body[:6])


class ResettingUpstream(Upstream):
    """Resets (RST) the connection: once the request is whole, or after the answer's head and a part of its body.

    Amid the response it waits for `reset_all()`, so that the client has what was sent before: a reset overtakes it.
    `resets` counts them; `half_answered` how many wait.
    """

    def __init__(self, stage: Literal["before the response", "amid the response"]) -> None:
        super().__init__()
        self.body = b"x" * 1_000
        self.resets = 0
        self._stage = stage
        self._half_answered: list[Exchange] = []

    @property
    def half_answered(self) -> int:
        return len(self._half_answered)

    def reset_all(self) -> None:
        """Reset every connection with a half answer on it."""
        for exchange in self._half_answered:
            self._reset(exchange)
        self._half_answered.clear()

    def on_body_end(self, exchange: Exchange) -> None:
        if self._stage == "before the response":
            self._reset(exchange)
            return
        fields = ("content-type: text/plain", f"content-length: {len(self.body)}")
        exchange.send(self.head("200 OK", *fields) + self.body[:500])
        self._half_answered.append(exchange)

    def on_gone(self, exchange: Exchange) -> None:
        if exchange in self._half_answered:
            self._half_answered.remove(exchange)

    def _reset(self, exchange: Exchange) -> None:
        exchange.reset()
        self.resets += 1


class Exchange(asyncio.Protocol):
    """One connection: finds the requests in the bytes and hands the two moments of each to its upstream.

    Envoy does not pipeline, so a request's answer is never asked for while another is being sent.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.is_gone = False
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._step = self._read_head
        self._rest_bytes = 0

    def send(self, data: bytes) -> None:
        if self._transport is not None and not self.is_gone:
            self._transport.write(data)
            self._upstream.changes.notify()

    def end_sending(self) -> None:
        """FIN after what was sent; what the client still sends is read and dropped."""
        if self._transport is not None and not self.is_gone:
            self._transport.write_eof()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """RST, with the response's bytes that are still unsent lost."""
        if self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._upstream.exchanges.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._upstream.exchanges.discard(self)
        self._upstream.on_gone(self)
        self._upstream.changes.notify()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._step():
            pass
        self._upstream.changes.notify()

    # Each step takes what it can from the buffer and tells whether the next may be tried.

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[: end + 2]).lower()
        del self._buffer[: end + 4]
        if head.startswith(b"get /v1/models "):
            self._upstream.list_models(self)
            return True
        if head.startswith(b"get /metrics "):
            self.send(self._upstream.head("404 Not Found", "content-length: 0"))
            return True
        length_at = head.find(b"\r\ncontent-length:")
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            self._step = self._read_chunk_size
        else:
            self._rest_bytes = int(head[length_at + 17 :].split(b"\r\n", 1)[0]) if length_at >= 0 else 0
            self._step = self._read_body
        self._upstream.on_headers(self)
        return True

    def _read_body(self) -> bool:
        if not self._drop_rest():
            return False
        self._end_body()
        return True

    def _read_chunk_size(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        self._rest_bytes = int(self._buffer[:end].split(b";", 1)[0], 16)
        del self._buffer[: end + 2]
        self._step = self._read_chunk if self._rest_bytes else self._read_trailers
        return True

    def _read_chunk(self) -> bool:
        if not self._drop_rest() or len(self._buffer) < 2:
            return False
        del self._buffer[:2]
        self._step = self._read_chunk_size
        return True

    def _read_trailers(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        del self._buffer[: end + 2]
        if end == 0:
            self._end_body()
        return True

    def _drop_rest(self) -> bool:
        taken = min(self._rest_bytes, len(self._buffer))
        del self._buffer[:taken]
        self._rest_bytes -= taken
        self._upstream.received_bytes += taken
        return self._rest_bytes == 0

    def _end_body(self) -> None:
        self._step = self._read_head
        self._upstream.on_body_end(self)
