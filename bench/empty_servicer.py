"""The reference: an empty ext_proc servicer on grpc.aio that reads what the picker reads and answers with constants.

Run as `python -m bench.empty_servicer MODE BODY_FILE ENDPOINT…`, MODE being the name of one of `bench.modes.MODES`.
Server options, handler kind (stream-unary on raw bytes where the picker leaves, stream-stream where it stays), reads,
writes and the answers' bytes are the picker's own in that mode, so that the difference is what it does in between.
"""

import asyncio
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from bench.modes import MODES, Mode
from extproc.protocol.codec import METHOD_NAME, SERVICE_NAME, decode, encode
from extproc.protocol.commands import Answer, AwaitBody, Chunk, Continue, Pass, Replace, RouteBody
from extproc.protocol.events import ResponseBody
from extproc.servers.listen import build_grpc_server

# The first byte of a message: the tag of what it is.
_REQUEST_BODY, _RESPONSE_HEADERS, _RESPONSE_BODY, _RESPONSE_TRAILERS = 0x22, 0x1A, 0x2A, 0x3A
# `end_of_stream: true`, field 2 of HttpBody, comes last but for an empty metadata_context, and no JSON body ends so.
_END_OF_STREAM = (b"\x10\x01", b"\x10\x01B\x00")
# The picker's with its default maxBodyBytes.
_MAX_RECEIVE_BYTES = 2 * (64 << 20) + (1 << 20)

_AWAIT_BODY = encode(AwaitBody())
_PASSES = {
    _RESPONSE_HEADERS: encode(Pass("response_headers")),
    _RESPONSE_TRAILERS: encode(Pass("response_trailers")),
}


class _Servicer:
    """What a stream of one mode reads and writes."""

    def __init__(self, mode: Mode, body: bytes, endpoints: Sequence[str]) -> None:
        self._sends = mode.filter.request_body
        self._stays = mode.response_phase != "detach"
        self._answers = itertools.cycle([encode(self._answer(endpoint, body)) for endpoint in endpoints])
        self._echoes: dict[bytes, bytes] = {}
        """The answer to each piece of a response that was ever seen: the benchmarks' responses are all the same."""

    def add_to(self, server: grpc.aio.Server) -> None:
        if self._stays:
            method = grpc.stream_stream_rpc_method_handler(self._stay)
        else:
            method = grpc.stream_unary_rpc_method_handler(self._leave)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, {METHOD_NAME: method}),))

    def _answer(self, endpoint: str, body: bytes) -> Answer:
        match self._sends:
            case "NONE":
                return Continue(endpoint)
            case "BUFFERED" | "BUFFERED_PARTIAL":
                return RouteBody(endpoint, clears_route=self._sends == "BUFFERED")
            case _:
                return Replace(endpoint, body)

    async def _leave(self, _requests: object, context: Any) -> bytes:
        match self._sends:
            case "NONE":
                await context.read()
            case "BUFFERED" | "BUFFERED_PARTIAL":
                await context.read()
                await context.write(_AWAIT_BODY)
                await context.read()
            case _:
                while not (data := await context.read()).endswith(_END_OF_STREAM) or data[0] != _REQUEST_BODY:
                    pass
        return next(self._answers)

    async def _stay(self, requests: object, context: Any) -> None:
        await context.write(await self._leave(requests, context))
        while (data := await context.read()) is not grpc.aio.EOF:
            await context.write(self._echo(data) if data[0] == _RESPONSE_BODY else _PASSES[data[0]])

    def _echo(self, data: bytes) -> bytes:
        """The answer to a piece of the response, made once."""
        answer = self._echoes.get(data)
        if answer is None:
            event = decode(data)
            assert isinstance(event, ResponseBody)
            answer = self._echoes[data] = encode(Chunk("response_body", event.chunk, event.end_of_stream))
        return answer


async def _serve(mode_name: str, body_file: str, endpoints: Sequence[str]) -> None:
    mode = next(mode for mode in MODES if mode.name == mode_name)
    server = build_grpc_server(max_receive_bytes=_MAX_RECEIVE_BYTES)
    _Servicer(mode, Path(body_file).read_bytes(), endpoints).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2], sys.argv[3:]))
