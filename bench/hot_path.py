"""Instructions of the handler of a stream, request by request, counted by valgrind: the same each time, on any machine.

`python -m bench.hot_path MODE` serves requests of P1 in a loop, on a stand-in for the gRPC call that hands over the
bytes that Envoy sends: what is counted is the picker's own code and the libraries that it calls, without gRPC, kernel
and network. It runs below valgrind, which counts nothing until the loop has warmed up.
"""

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import grpc

from bench.chat import ENDPOINT_MODELS, chat_requests
from bench.results import BenchError
from extproc._gen.envoy.config.core.v3 import base_pb2
from extproc._gen.envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from extproc._gen.envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from extproc.app import App, build
from extproc.protocol.codec import METHOD_NAME, SERVICE_NAME
from extproc.registry.changes import ModelsListed, PoolListed
from extproc.settings import load
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard

REQUESTS = 1_000
WARM_UP = 300
"""Some of what is kept by key is made at the first requests."""
_METADATA = (("x-envoy-internal", "true"), ("x-forwarded-for", "127.0.0.1"), ("content-type", "application/grpc"))
_HEADERS = {
    ":method": "POST",
    ":path": "/v1/chat/completions",
    ":authority": "bench",
    ":scheme": "http",
    "content-type": "application/json",
    "content-length": "512",
    "x-request-id": "7f9c4b1e-6a53-4e0c-9a55-b4d8e4f1c2aa",
    "x-forwarded-proto": "http",
    "user-agent": "wrk",
    "accept": "*/*",
}
MODES = ("detach", "track")


class NotReachedError(BenchError):
    """The handler of that tree is not reached as it is here."""


def count_instructions(mode: str, *, tree: Path) -> float:
    """Instructions for each request of the picker whose sources are in `tree`, in full duplex.

    Errors: BenchError where valgrind is missing; `NotReachedError`.
    """
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--instr-atstart=no"]
    environment = os.environ | {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{Path(__file__).parent.parent}"}
    environment["PYTHONHASHSEED"] = "0"
    try:
        done = subprocess.run(
            [*command, sys.executable, "-m", "bench.hot_path", mode],
            env=environment,
            capture_output=True,
            text=True,
            cwd=tree,
        )
    except FileNotFoundError as exc:
        raise BenchError("valgrind is not installed: apt-get install valgrind") from exc
    counted = [line.split()[-1] for line in done.stderr.splitlines() if " Collected : " in line]
    if done.returncode or not counted:
        raise NotReachedError(f"nothing could be counted in {tree}:\n{done.stderr[-2000:]}")
    return int(counted[-1]) / REQUESTS


class _Call:
    """What the handler sees of a gRPC call."""

    def __init__(self, received: Sequence[bytes]) -> None:
        self.written: list[bytes] = []
        self._received = iter(received)
        self._done: Callable[[Any], object] = lambda _: None

    async def read(self) -> object:
        return next(self._received, grpc.aio.EOF)

    async def write(self, message: bytes) -> None:
        self.written.append(message)

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._done = callback

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return _METADATA

    def end(self) -> None:
        """As gRPC does after the last message."""
        self._done(self)


class _Registrar:
    """Takes what a service adds to a server."""

    def __init__(self) -> None:
        self.handlers: Any = None

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.handlers = handlers[0]


class _Details:
    method = f"/{SERVICE_NAME}/{METHOD_NAME}"
    invocation_metadata = _METADATA


def _build_app(mode: str, file: Path) -> App:
    """A picker that knows the ten endpoints of P1, without a socket."""
    file.write_text("pools: [{name: bench}]")
    loaded = load.load(
        text="{}" if mode == "detach" else '{"envoy": {"responsePhase": "track"}}',
        flag_values={"endpoints-file": str(file), "secure-serving": "false"},
    )
    app = build(loaded, environ={}, clock=time.monotonic, wall_clock=time.time, rng=Random(1))
    endpoints = [Endpoint(f"bench/{n}", f"pod-{n}", f"10.0.0.{n}:8000") for n in range(len(ENDPOINT_MODELS))]
    app._report(PoolListed.of(endpoints))
    for endpoint, model in zip(endpoints, ENDPOINT_MODELS, strict=True):
        app._report(ModelsListed(endpoint.id, time.monotonic(), (ModelCard(model),)))
    return app


def _messages(mode: str) -> list[list[bytes]]:
    """What Envoy sends in one stream, for each model."""
    headers = messages.HttpHeaders()
    for name, value in _HEADERS.items():
        headers.headers.headers.append(base_pb2.HeaderValue(key=name, raw_value=value.encode()))
    begin = messages.ProcessingRequest(request_headers=headers)
    begin.protocol_config.request_body_mode = processing_mode_pb2.ProcessingMode.FULL_DUPLEX_STREAMED
    answered = messages.HttpHeaders()
    answered.headers.headers.append(base_pb2.HeaderValue(key=":status", raw_value=b"200"))
    tail = [] if mode == "detach" else [messages.ProcessingRequest(response_headers=answered)]
    return [
        [
            message.SerializeToString()
            for message in (
                begin,
                messages.ProcessingRequest(request_body=messages.HttpBody(body=request.body, end_of_stream=True)),
                *tail,
            )
        ]
        for request in chat_requests()
    ]


class Loop:
    """Serves streams of one of `MODES`, one after the other."""

    def __init__(self, mode: str) -> None:
        registrar = _Registrar()
        with tempfile.TemporaryDirectory() as directory:
            _build_app(mode, Path(directory) / "endpoints.yaml")._ext_proc.add_to(registrar)
        self._handlers = registrar.handlers
        self._streams = _messages(mode)

    async def serve(self, count: int) -> list[bytes]:
        """Serves so many, and returns what the last of them was answered."""
        call = _Call([])
        for number in range(count):
            handler = self._handlers.service(_Details)
            call = _Call(self._streams[number % len(self._streams)])
            if last := await (handler.stream_unary or handler.stream_stream)(None, call):
                call.written.append(last)
            call.end()
        return call.written


async def _count(mode: str) -> None:
    """From the last request of the warm-up on valgrind counts."""
    loop = Loop(mode)
    await loop.serve(WARM_UP)
    gc.collect()
    gc.freeze()
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], stdout=subprocess.DEVNULL, check=True)
    await loop.serve(REQUESTS)
    os._exit(0)  # what Python takes to end is nobody's figure


if __name__ == "__main__":
    asyncio.run(_count(sys.argv[1]))
