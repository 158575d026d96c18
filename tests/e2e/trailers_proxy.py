"""A TCP proxy between Envoy and the picker that delays the gRPC trailers, and so makes a rare race the rule.

The picker's last message and its status leave in one segment, or nearly so; what happens when they do not is only seen
when something parts them. Here each trailers frame waits `hold_s` after the bytes before it were sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from types import TracebackType
from typing import Self

_FRAME_HEAD_BYTES = 9
_HEADERS, _PING, _WINDOW_UPDATE = 0x1, 0x6, 0x8
_END_STREAM = 0x1


class TrailersProxy:
    """Listens on `address` and joins each connection to `target` (`ip:port`).

    Client to picker the bytes pass untouched. Picker to client each frame passes in order, and a HEADERS frame that
    ends its stream without being the stream's first HEADERS waits `hold_s`, with all that follows on the connection:
    header blocks share one compression state, so their order must stay. Only PING and WINDOW_UPDATE, which carry none
    and would slow the request direction, go past. Streams of one connection are thus answered one after another, at
    most 1 / `hold_s` in a second. `held` counts the frames that waited or still do.
    """

    def __init__(self, target: str, hold_s: float) -> None:
        self.address = ""
        self.held = 0
        self._target = target
        self.hold_s = hold_s
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<TrailersProxy {self.address} to {self._target} held={self.held}>"

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1; the target is called per connection."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._join(reader, writer), name=f"trailers-proxy-{self.address}")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _join(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        try:
            picker, to_picker = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            to_client.transport.abort()
            return
        frames = _DelayedFrames(to_client, self)
        tasks = [
            asyncio.create_task(_pass_raw(client, to_picker)),
            asyncio.create_task(_pass_frames(picker, frames)),
            asyncio.create_task(frames.release()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            to_client.close()
            to_picker.close()


class _DelayedFrames:
    """The queue of frames behind a held one; empty and idle most of the time, when frames go straight out."""

    def __init__(self, to_client: asyncio.StreamWriter, proxy: TrailersProxy) -> None:
        self._to_client = to_client
        self._proxy = proxy
        self._begun_streams: set[int] = set()
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._arrived = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def put(self, frame: bytes) -> None:
        """Send this frame now, or queue it."""
        kind, flags = frame[3], frame[4]
        stream_id = int.from_bytes(frame[5:_FRAME_HEAD_BYTES]) & 0x7FFF_FFFF
        is_trailers = kind == _HEADERS and bool(flags & _END_STREAM) and stream_id in self._begun_streams
        if is_trailers:
            self._proxy.held += 1
            self._begun_streams.discard(stream_id)
        elif kind == _HEADERS and not flags & _END_STREAM:
            self._begun_streams.add(stream_id)
        if is_trailers or (self._waiting and kind not in (_PING, _WINDOW_UPDATE)):
            self._waiting.append((frame, is_trailers))
            self._drained.clear()
            self._arrived.set()
        else:
            self._to_client.write(frame)

    async def release(self) -> None:
        """Send the queued frames in order, a trailers frame `hold_s` after all before it. Runs until cancelled."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                frame, is_trailers = self._waiting[0]
                if is_trailers:
                    await self._to_client.drain()
                    await asyncio.sleep(self._proxy.hold_s)
                self._to_client.write(frame)
                self._waiting.popleft()
            self._arrived.clear()
            self._drained.set()

    async def drained(self) -> None:
        """Return when no frame waits."""
        await self._drained.wait()


async def _pass_raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def _pass_frames(reader: asyncio.StreamReader, frames: _DelayedFrames) -> None:
    """Until the picker closes, and what it sent before is out."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(_FRAME_HEAD_BYTES)
            frames.put(head + await reader.readexactly(int.from_bytes(head[:3])))
    await frames.drained()
