"""Engines that cost little, tell when they were asked, and change when told to: one process on all of loopback.

Each address of 127.1.0.0/16 serves the first of `models` until told otherwise, and so on. A request for a model that
its address does not serve gets a 404 and is counted. An answer is one JSON object, or as many chunks as the request's
`chunks` says, spread over its `over_s`. It runs as `python -m bench.engines`; what to serve it is told as JSON.
"""

import asyncio
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

from bench.http1 import END_OF_CHUNKS
from bench.processes import PythonServer

EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"llama-8b","choices":'
    b'[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}\n\n'
)
"""A chunk of an answer, as vLLM's are: all are the same."""
EVENT_BRACES = EVENT.count(b"{")

_TICK_S = 0.001
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: chunked\r\n", re.IGNORECASE)
_METRICS = b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n"
_FRAME = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Plan(msgspec.Struct, frozen=True):
    """What is served."""

    models: Sequence[str]


class Told(msgspec.Struct, frozen=True):
    """What an address serves from now on."""

    listed: Sequence[str]
    lingering: Sequence[str] = ()


class Asked(msgspec.Struct, frozen=True):
    """A request that was read, at this time of the day."""

    address: str
    at_s: float
    is_probe: bool
    """For the models, answered there and then; else one of a client."""


class Seen(msgspec.Struct, frozen=True):
    """What came since it was last asked for."""

    asked: Sequence[Asked]
    wrong: int
    """Requests for a model that the endpoint did not serve."""


class Engines(PythonServer):
    """The process. All of its addresses have one port."""

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__("bench.engines", msgspec.json.encode(Plan(models)).decode())
        self.port = 0

    async def _become_ready(self) -> None:
        self.port = int((await self._line(r"^listening on (\d+)"))[1])

    async def serve(self, models: Mapping[str, Sequence[str]], *, lingering: Sequence[str] = ()) -> None:
        """From now on these addresses list these models. The `lingering` are not listed there, and still served."""
        told = {address: Told(listed, lingering) for address, listed in models.items()}
        await self._post("serve", msgspec.json.encode(told))

    async def seen(self) -> Seen:
        """What came since this was last called."""
        return msgspec.json.decode(await self._post("seen", b""), type=Seen)

    async def _post(self, what: str, body: bytes) -> bytes:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.post(f"http://127.0.0.1:{self.port}/control/{what}", data=body) as response:
                return await response.read()


class _Wanted(msgspec.Struct):
    """Of a request's body."""

    model: str
    chunks: int = 0
    over_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Stream:
    """An answer that is being written."""

    transport: asyncio.Transport
    left: int
    due_s: float
    step_s: float


class _Server:
    """What all connections share."""

    def __init__(self, plan: Plan) -> None:
        self.streams: set[_Stream] = set()
        self._models = plan.models
        self._told: dict[str, Told] = {}
        self._asked: list[Asked] = []
        self._wrong = 0

    def answer(self, address: str, target: bytes, body: bytes) -> bytes | _Wanted:
        """Bytes of an answer, or what is to be streamed."""
        net = int(address.split(".")[1]) or 1
        told = self._told.get(address) or Told(self._models[net - 1 : net])
        if target == b"/v1/models":
            self._note(address, is_probe=True)
            cards = [{"id": model, "object": "model", "created": 1, "owned_by": "vllm"} for model in told.listed]
            return _response(200, msgspec.json.encode({"object": "list", "data": cards}))
        if target == b"/metrics":
            return _response(200, _METRICS)
        if target == b"/control/serve":
            self._told |= msgspec.json.decode(body, type=dict[str, Told])
            return _response(200, b"{}")
        if target == b"/control/seen":
            seen, self._asked, self._wrong = Seen(self._asked, self._wrong), [], 0
            return _response(200, msgspec.json.encode(seen))
        self._note(address, is_probe=False)
        wanted = msgspec.json.decode(body, type=_Wanted)
        if wanted.model not in (*told.listed, *told.lingering):
            self._wrong += 1
            return _response(404, b'{"error": "no such model"}')
        return wanted if wanted.chunks else _response(200, b'{"object": "chat.completion"}')

    def _note(self, address: str, *, is_probe: bool) -> None:
        self._asked.append(Asked(address, time.time(), is_probe))

    async def write_streams(self) -> None:
        """Writes what is due, for ever: one timer for all of them, each chunk in a call of its own."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_TICK_S)
            now = clock()
            for stream in [each for each in self.streams if each.due_s <= now]:
                while stream.left and stream.due_s <= now:
                    stream.transport.write(_FRAME)
                    stream.left -= 1
                    stream.due_s += stream.step_s
                if not stream.left and not stream.transport.is_closing():
                    stream.transport.write(END_OF_CHUNKS[2:])
                if not stream.left or stream.transport.is_closing():
                    self.streams.discard(stream)


class _Connection(asyncio.Protocol):
    """HTTP/1.1, one request at a time."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = b""
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._address = transport.get_extra_info("sockname")[0]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        if _CHUNKED.search(head + b"\r\n"):
            if not body.endswith(b"0\r\n\r\n"):
                return
            body = _join_chunks(body)
        elif (length := _LENGTH.search(head + b"\r\n")) and len(body) < int(length[1]):
            return
        self._received = b""
        answer = self._server.answer(self._address, head.split(b" ", 2)[1], body)
        if isinstance(answer, bytes):
            self._transport.write(answer)
            return
        self._transport.write(_STREAM_HEAD)
        now, step_s = asyncio.get_running_loop().time(), answer.over_s / answer.chunks
        self._server.streams.add(_Stream(self._transport, answer.chunks, now + step_s, step_s))


def _join_chunks(body: bytes) -> bytes:
    joined = []
    while body:
        size, _, body = body.partition(b"\r\n")
        joined.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(joined)


def _response(status: int, body: bytes) -> bytes:
    head = b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    return head + body


async def _serve(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    server = _Server(plan)
    listening = await loop.create_server(lambda: _Connection(server), "0.0.0.0", 0, backlog=4096)
    print(f"listening on {listening.sockets[0].getsockname()[1]}", flush=True)
    await server.write_streams()


if __name__ == "__main__":
    asyncio.run(_serve(msgspec.json.decode(sys.argv[1], type=Plan)))
