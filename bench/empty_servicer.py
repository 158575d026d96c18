"""The reference: an empty ext_proc servicer on grpc.aio that reads what the picker reads and answers with constants.

Run as `python -m bench.empty_servicer BODY ENDPOINT…`. Server options, handler kind (stream-unary on raw bytes), way of
reading and the answers' bytes are the picker's own, so that the difference is what the picker does in between.
"""

import asyncio
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import grpc

from extproc.protocol.codec import METHOD_NAME, SERVICE_NAME, encode
from extproc.protocol.commands import Replace
from extproc.servers.listen import build_grpc_server

# `end_of_stream: true`, field 2 of HttpBody, comes last but for an empty metadata_context, and no JSON body ends so.
_END_OF_STREAM = (b"\x10\x01", b"\x10\x01B\x00")
# The picker's with its default maxBodyBytes.
_MAX_RECEIVE_BYTES = 2 * (64 << 20) + (1 << 20)


async def _serve(body: bytes, endpoints: Sequence[str]) -> None:
    answers = itertools.cycle([encode(Replace(endpoint, body)) for endpoint in endpoints])

    async def process(_requests: object, context: Any) -> bytes:
        while not (await context.read()).endswith(_END_OF_STREAM):
            pass
        return next(answers)

    server = build_grpc_server(max_receive_bytes=_MAX_RECEIVE_BYTES)
    method = grpc.stream_unary_rpc_method_handler(process)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, {METHOD_NAME: method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1].encode(), sys.argv[2:]))
