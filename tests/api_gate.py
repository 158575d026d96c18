"""A reverse proxy on loopback that breaks what passes, before the API server double as before a real one.

Plain HTTP to the client under test; requests, `Authorization` included, and answers are passed on as they are. Watches
are passed on line by line, each as it comes.
"""

import asyncio
import json
import socket
import ssl
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from tests.api_faults import Answer, How, Kind, Loss, kind_of, reset
from tests.api_objects import Manifest
from tests.api_status import status as status_of
from yarl import URL

__all__ = ["Gate", "How", "Kind"]

WAIT_S = 20.0
_HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"})


@dataclass(eq=False, slots=True)
class _Stream:
    """An open watch: lines that wait to be passed on, and how it ends."""

    path: str
    lines: deque[bytes] = field(default_factory=deque)
    end: How | None = None
    is_cut: bool = False  # ends before the lines that wait
    wakes: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, line: bytes) -> None:
        self.lines.append(line)
        self.wakes.set()

    def finish(self, how: How, *, cut: bool = False) -> None:
        self.end = self.end or how
        self.is_cut |= cut
        self.wakes.set()


class Gate:
    """Listens on a free port of loopback and passes on to `upstream`; every switch holds until it is taken back.

    `counts`: connections, requests by kind (those that the gate answered itself too), `answered` by the gate, `dropped`
    events. `delay_s`: how long each request and each watch line is held up.
    """

    def __init__(self, upstream: str, *, tls: ssl.SSLContext | None = None):
        self.counts: Counter[str] = Counter()
        self._asked: Counter[tuple[Kind, str]] = Counter()
        self.delay_s = 0.0
        self.port = 0
        self._upstream = URL(upstream)
        self._tls = tls
        self._answers: list[Answer] = []
        self._losses: list[Loss] = []
        self._streams: set[_Stream] = set()
        self._clients: set[web.RequestHandler] = set()
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._changed = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None
        self._server: web.Server | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where the client under test is sent to."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Opens the gate."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._server = web.Server(self._handle, handler_cancellation=True, keepalive_timeout=3600)
        await self.accept()

    async def stop(self) -> None:
        """Closes the gate and drops every connection."""
        self.refuse()
        if self._placeholder is not None:
            self._placeholder.close()
        if self._server is not None:
            await self._server.shutdown(0.1)
        if self._session is not None:
            await self._session.close()

    # Switches.

    def refuse(self) -> None:
        """The server is gone: open connections are reset, new ones refused."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            # bound but not listening: nobody else gets the port, and nobody connects to it, or to himself
            self._placeholder = socket.socket()
            self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._placeholder.bind(("127.0.0.1", self.port))
        for client in list(self._clients):
            reset(client.transport)

    async def accept(self) -> None:
        """Listens, again on the same port."""
        if self._listener is not None:
            return
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connect, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._listener.sockets[0].getsockname()[1]

    def answer(
        self,
        code: int,
        body: bytes | str | Manifest | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        path_part: str = "",
        kinds: Sequence[Kind] = (),
        times: int | None = None,
    ) -> Answer:
        """Answers so (with a Status object, if there is no body), `times` times or until `pass_on`."""
        if body is None:
            body = status_of(code, f"the gate answers {code}")
        if isinstance(body, dict):
            body = json.dumps(body)
            headers = {"Content-Type": "application/json", **(headers or {})}
        raw = body.encode() if isinstance(body, str) else body
        given = Answer(code, raw, dict(headers or {}), path_part, tuple(kinds), times)
        self._answers.append(given)
        return given

    def drop_events(self, predicate: Callable[[Manifest], bool], *, times: int | None = 1) -> Loss:
        """Loses watch events of which the predicate holds, `times` times or until `pass_on`."""
        loss = Loss(predicate, times)
        self._losses.append(loss)
        return loss

    def pass_on(self) -> None:
        """Takes back `answer` and `drop_events`."""
        self._answers.clear()
        self._losses.clear()

    def cut_streams(self, how: How = "eof", *, path_part: str = "") -> int:
        """Ends the open watches; returns how many.

        "clean": the chunked body ends between two lines. "torn": it ends amid a line. "eof": the connection is closed
        amid a line. "reset": TCP reset.
        """
        streams = [stream for stream in self._streams if path_part in stream.path and stream.end is None]
        for stream in streams:
            stream.finish(how, cut=True)
        return len(streams)

    def inject_event(self, line: bytes, *, path_part: str = "") -> int:
        """Puts a line into the open watches; returns how many."""
        streams = [stream for stream in self._streams if path_part in stream.path and stream.end is None]
        for stream in streams:
            stream.put(line if line.endswith(b"\n") else line + b"\n")
        return len(streams)

    def go_silent(self) -> None:
        """A black hole: connections stay open and new ones are accepted, but no byte passes, either way."""
        self._speaks.clear()

    def speak(self) -> None:
        """The end of silence: what was held up passes."""
        self._speaks.set()
        for stream in self._streams:
            stream.wakes.set()

    # What was seen.

    def open_watches(self, path_part: str = "") -> int:
        """How many watches are open whose path holds the text."""
        return sum(path_part in stream.path for stream in self._streams)

    def count(self, kind: Kind, path_part: str) -> int:
        """How many requests of a kind came whose path holds the text."""
        return sum(count for (each, path), count in self._asked.items() if each == kind and path_part in path)

    async def wait_for(self, kind: Kind, at_least: int) -> None:
        """Returns once so many were counted; fails after `WAIT_S`."""
        await self.wait_until(lambda: self.counts[kind] >= at_least)

    async def wait_for_watch(self, path_part: str = "", count: int = 1) -> None:
        """Returns once so many watches are open."""
        await self.wait_until(lambda: self.open_watches(path_part) >= count)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Returns once a condition on the gate holds; asked whenever something passed; fails after `WAIT_S`."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await self._changed.wait()

    def _tell(self, *kinds: Kind) -> None:
        self.counts.update(kinds)
        self._changed.set()
        self._changed = asyncio.Event()

    # Passing on.

    def _connect(self) -> asyncio.Protocol:
        assert self._server is not None
        client = self._server()
        self._clients.add(client)
        self._tell("connection")
        return client

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        await self._speaks.wait()
        kind = kind_of(request)
        self._asked[kind, request.path] += 1
        given = next((answer for answer in self._answers if answer.fits(kind, request.path)), None)
        if given is not None:
            given.count += 1
            self._tell(kind, "answered")
            return web.Response(status=given.code, body=given.body, headers=given.headers)
        self._tell(kind)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = self._upstream.join(URL(request.raw_path, encoded=True))
        asked = self._session.request(
            request.method, url, headers=headers, data=await request.read() or None, allow_redirects=False
        )
        try:
            async with asked as answered:
                headers = {name: value for name, value in answered.headers.items() if name.lower() not in _HOP_BY_HOP}
                if kind == "watch" and answered.status == 200:
                    response = web.StreamResponse(status=200, headers=headers)
                    response.enable_chunked_encoding()
                    return await self._stream(request, response, answered)
                body = await answered.read()
        except aiohttp.ClientConnectionError as error:
            return web.Response(status=502, text=f"the gate: {error}")
        await self._speaks.wait()
        return web.Response(status=answered.status, body=body, headers=headers)

    async def _stream(
        self, request: web.BaseRequest, response: web.StreamResponse, answered: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        stream = _Stream(request.path)
        reading = asyncio.create_task(self._read(stream, answered))
        try:
            await self._speaks.wait()
            await response.prepare(request)
            self._streams.add(stream)
            self._tell()
            while (line := await self._next_line(stream)) is not None:
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await response.write(line)
            if stream.end in ("eof", "torn"):
                await response.write(b'{"type":"MODIFIED","object":{"ki')
            if stream.end == "eof" and request.transport is not None:
                request.transport.close()
            elif stream.end == "reset":
                reset(request.transport)
            else:
                await response.write_eof()
        except ConnectionError:  # the client went away
            pass
        finally:  # before the first await: the handler may be cancelled there
            self._streams.discard(stream)
            self._tell()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return response

    async def _next_line(self, stream: _Stream) -> bytes | None:
        while not stream.is_cut:
            if stream.lines and self._speaks.is_set():
                return stream.lines.popleft()
            if stream.end and self._speaks.is_set():
                break
            stream.wakes.clear()
            await stream.wakes.wait()
        return None

    async def _read(self, stream: _Stream, answered: aiohttp.ClientResponse) -> None:
        """Takes lines of any length from the server, however it cuts them into pieces."""
        rest = b""
        try:
            async for piece in answered.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if self._is_lost(line):
                        self._tell("dropped")
                    else:
                        stream.put(line + b"\n")
        except (aiohttp.ClientError, ConnectionError):
            stream.finish("reset")
            return
        if rest:
            stream.put(rest)
        stream.finish("clean")

    def _is_lost(self, line: bytes) -> bool:
        if not self._losses:
            return False
        event: Any = json.loads(line)
        return any(loss.takes(event) for loss in self._losses)
