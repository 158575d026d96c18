"""An HTTP/2 client over cleartext (prior knowledge): trailers after a body, many streams at once, aborts at any stage.

What the Python clients of the other tests cannot do. It hides nothing: a reset is an `Answer` with what came before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from tests.e2e.changes import Changes

Stage = Literal["after the headers", "amid the body", "after the body", "amid the response"]

_ABORTED = "aborted"


@dataclass(slots=True)
class Answer:
    """What came back on one stream."""

    status: int = 0
    """0: no response headers came."""
    headers: dict[str, str] = field(default_factory=dict)
    """Without the pseudo headers."""
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    error: str = ""
    """Why there is no regular end: `aborted` by us, `reset: <code>` by the server, a lost connection."""


class Http2Stream:
    """One request and its answer, piece by piece."""

    def __init__(self, client: Http2Client, stream_id: int) -> None:
        self.stream_id = stream_id
        self.is_over = False
        """The answer has ended, by whatever end; what is sent from here on goes nowhere."""
        self._client = client
        self._answer = Answer()

    def __repr__(self) -> str:
        return f"<Http2Stream {self.stream_id} status={self._answer.status} is_over={self.is_over}>"

    async def send(self, data: bytes) -> None:
        """DATA frames as the server's windows allow them; returns when all is written, or the answer is over."""
        connection, rest = self._client.connection, memoryview(data)
        while rest and not self.is_over:
            size = min(connection.local_flow_control_window(self.stream_id), connection.max_outbound_frame_size)
            if size <= 0:
                await self._client.changes.until(lambda: self.is_over or self._window() > 0)
                continue
            connection.send_data(self.stream_id, bytes(rest[:size]))
            rest = rest[size:]
            await self._client.flush()

    async def end(self, trailers: Mapping[str, str] | None = None) -> None:
        """END_STREAM, on a HEADERS frame with `trailers`, or without them on an empty DATA frame."""
        if self.is_over:
            return
        if trailers:
            self._client.connection.send_headers(self.stream_id, list(trailers.items()), end_stream=True)
        else:
            self._client.connection.end_stream(self.stream_id)
        await self._client.flush()

    async def reset(self) -> None:
        """RST_STREAM with CANCEL, as a client does whose user went away. The answer ends with `aborted`."""
        if not self.is_over:
            self._client.connection.reset_stream(self.stream_id, ErrorCodes.CANCEL)
            self.finish(_ABORTED)
            await self._client.flush()

    async def head(self) -> Answer:
        """The answer as it is once its headers are here, or it has ended without any."""
        await self._client.changes.until(lambda: self.is_over or self._answer.status > 0)
        return self._answer

    async def first_bytes(self) -> Answer:
        """The answer as it is once some of its body is here, or it has ended without one."""
        await self._client.changes.until(lambda: self.is_over or self._answer.body != b"")
        return self._answer

    async def answer(self) -> Answer:
        """The answer, once it has ended."""
        await self._client.changes.until(lambda: self.is_over)
        return self._answer

    def receive(self, event: Event) -> None:
        """Takes an event of this stream."""
        if self.is_over:
            return
        match event:
            case ResponseReceived(headers=headers):
                fields = decode_fields(headers)
                self._answer.status = int(fields.pop(":status"))
                self._answer.headers = fields
            case DataReceived(data=data):
                self._answer.body += data or b""
            case TrailersReceived(headers=headers):
                self._answer.trailers = decode_fields(headers)
            case StreamReset(error_code=code):
                self.finish(f"reset: {ErrorCodes(code).name}")
            case StreamEnded():
                self.finish("")

    def finish(self, error: str) -> None:
        """Ends the answer here, unless it has ended before."""
        if not self.is_over:
            self.is_over = True
            self._answer.error = error

    def _window(self) -> int:
        return self._client.connection.local_flow_control_window(self.stream_id)


class Http2Client(asyncio.Protocol):
    """One connection to `127.0.0.1:port`, open inside its `async with` block."""

    def __init__(self, port: int) -> None:
        self.connection = H2Connection(H2Configuration(client_side=True))
        self.changes = Changes()
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Http2Stream] = {}
        self._is_lost = False
        self._may_write = True

    async def __aenter__(self) -> Self:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def open(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, has_body: bool = True
    ) -> Http2Stream:
        """Send the headers; without a body END_STREAM is on them. Names must be lower case."""
        stream = Http2Stream(self, self.connection.get_next_available_stream_id())
        self._streams[stream.stream_id] = stream
        pseudo = {":method": method, ":scheme": "http", ":authority": "gateway", ":path": path}
        fields = list((pseudo | dict(headers or {})).items())
        self.connection.send_headers(stream.stream_id, fields, end_stream=not has_body)
        await self.flush()
        return stream

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        trailers: Mapping[str, str] | None = None,
        abort_at: Stage | None = None,
    ) -> Answer:
        """One whole exchange. With `trailers` END_STREAM is on them and on no DATA frame.

        With `abort_at` it is reset there: amid the body once half of it is written, amid the response once some of its
        body is here. What was written just before may reach the server in one piece with the reset; where that
        matters use `open` and wait for the other side. An answer that ends before all is written is the answer: the
        rest is not sent. Cancelled, it resets the stream.
        """
        stream = await self.open(method, path, headers, has_body=bool(body or trailers))
        try:
            if abort_at == "after the headers":
                await stream.reset()
            await stream.send(body[: len(body) // 2])
            if abort_at == "amid the body":
                await stream.reset()
            await stream.send(body[len(body) // 2 :])
            if body or trailers:
                await stream.end(trailers)
            if abort_at == "after the body":
                await stream.reset()
            if abort_at == "amid the response":
                await stream.first_bytes()
                await stream.reset()
            return await stream.answer()
        except asyncio.CancelledError:
            await stream.reset()
            raise

    async def abort(self) -> None:
        """Drop the connection; every open answer ends with it. Safe to repeat."""
        if self._transport is not None:
            self._transport.abort()
            await self.changes.until(lambda: self._is_lost)

    async def flush(self) -> None:
        """Write what the connection has to say, and wait while the socket is full."""
        self._write()
        await self.changes.until(lambda: self._may_write or self._is_lost)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.connection.initiate_connection()
        self._write()

    def data_received(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            if isinstance(event, ConnectionTerminated):
                self._finish_all(f"goaway: {event.error_code}")
                continue
            if isinstance(event, DataReceived):
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            stream = self._streams.get(getattr(event, "stream_id", None) or 0)
            if stream is not None:
                stream.receive(event)
        self._write()
        self.changes.notify()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self.changes.notify()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._finish_all("connection lost")
        self.changes.notify()

    def _write(self) -> None:
        data = self.connection.data_to_send()
        if self._transport is not None and data and not self._is_lost:
            self._transport.write(data)

    def _finish_all(self, error: str) -> None:
        for stream in self._streams.values():
            stream.finish(error)


def decode_fields(headers: Iterable[tuple[bytes, bytes]] | None) -> dict[str, str]:
    """A block of headers or trailers, as h2 hands it over, by name."""
    return {name.decode(): value.decode() for name, value in headers or ()}
